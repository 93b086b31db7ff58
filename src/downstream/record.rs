//! The file of a result, beside the run. A result says where it comes from, so that none is taken for another's.

use super::{Result, Source};
use crate::config::Config;
use crate::run::checkpoint::write_atomically;
use crate::run::environment::DataRecord;
use crate::run::folder::CONFIG;
use crate::run::io;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Where a result comes from.
#[derive(Clone, Copy, Debug)]
pub struct Provenance<'a> {
    /// The run and the data.
    pub source: &'a Source,
    /// The data's description.
    pub data: &'a str,
    /// Seed of what the protocol draws. The run's where it draws nothing.
    pub seed: u64,
    /// The epoch after which the encoder was saved.
    pub epoch: usize,
}

/// A name that every file system takes: letters, digits and `.-+_`, all else replaced by `_`.
pub fn file_name(text: &str) -> String {
    let keep = |c: char| c.is_ascii_alphanumeric() || ".-+_".contains(c);
    text.chars()
        .map(|c| if keep(c) { c } else { '_' })
        .collect()
}

/// The file of a result on the run's own data.
pub(crate) fn own_file(run: &Path, name: &str) -> PathBuf {
    run.join(format!("eval-{name}.json"))
}

/// The place of data, however its path is written. `shapes` has no place: it is generated.
fn place(path: &str) -> PathBuf {
    match path {
        "shapes" => path.into(),
        _ => std::fs::canonicalize(path).unwrap_or_else(|_| path.into()),
    }
}

/// The JSON that a file holds, if it holds any.
pub(crate) fn read(file: &Path) -> Option<Value> {
    serde_json::from_str(&std::fs::read_to_string(file).ok()?).ok()
}

impl Provenance<'_> {
    /// The data's path, and that of the run's own data.
    fn paths(&self) -> Result<(String, String)> {
        let path = self.source.run.join("config.toml");
        let text = std::fs::read_to_string(&path).map_err(io(&path))?;
        let own = Config::parse(&text, &[])?.data.path;
        let data = self.source.data.clone();
        Ok((data.unwrap_or_else(|| own.clone()), own))
    }

    /// The result's file, before it is written and after: `eval-NAME.json` in the run's folder. A result on
    /// other data than the run's has `eval-NAME-DATA.json`. A number follows where a result on other data of
    /// that name is there already.
    ///
    /// # Errors
    /// No configuration of a run.
    pub fn file(&self, name: &str) -> Result<PathBuf> {
        let run = &self.source.run;
        let (path, own) = self.paths()?;
        let whole = place(&path);
        if whole == place(&own) {
            return Ok(own_file(run, name));
        }
        let last = whole.file_name().unwrap_or(whole.as_os_str());
        let name = format!("{name}-{}", file_name(&last.to_string_lossy()));
        let taken = |file: &Path| {
            let of = read(file).and_then(|v| Some(place(v["data_path"].as_str()?)));
            of.is_some_and(|other| other != whole)
        };
        let mut file = own_file(run, &name);
        let mut number = 2;
        while taken(&file) {
            file = own_file(run, &format!("{name}-{number}"));
            number += 1;
        }
        Ok(file)
    }

    /// Adds protocol, data, seed and epoch to a result (an object), and writes it to its [file](Self::file).
    ///
    /// # Errors
    /// As [`Self::file`]; a file that cannot be written.
    pub fn write(&self, name: &str, protocol: &str, mut value: Value) -> Result<Value> {
        value["protocol"] = protocol.into();
        value["data"] = self.data.into();
        value["data_path"] = self.paths()?.0.into();
        value["seed"] = self.seed.into();
        value["epoch"] = self.epoch.into();
        write_atomically(&self.file(name)?, format!("{value:#}\n").as_bytes())?;
        Ok(value)
    }
}

/// Was a result measured on the data that the run was trained on? A run whose program kept no record of its data is
/// known by their path alone.
fn on_own_data(run: &Path, result: &Value) -> bool {
    if let Some(own) = DataRecord::read(run) {
        return result["data"] == own.description.as_str();
    }
    let text = std::fs::read_to_string(run.join(CONFIG)).unwrap_or_default();
    let own = Config::parse(&text, &[]).map(|c| place(&c.data.path));
    let of = result["data_path"].as_str().map(place);
    own.is_ok_and(|own| of == Some(own))
}

/// Reads the result of the name on the run's own data. None where there is none, or where it is of another
/// protocol, seed, epoch or data.
pub fn read_own(run: &Path, name: &str, protocol: &str, seed: u64, epoch: usize) -> Option<Value> {
    let result = read(&own_file(run, name))?;
    let own = result["protocol"] == protocol
        && result["seed"] == seed
        && result["epoch"] == epoch
        && on_own_data(run, &result);
    own.then_some(result)
}
