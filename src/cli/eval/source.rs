//! Where a result comes from: it stands in the result, so that none is taken for another's, and names its file.

use super::super::experiment::plain;
use super::super::opened::On;
use amcl_wgpu::config::Config;
use amcl_wgpu::run::checkpoint::write_atomically;
use anyhow::Context;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The file of a result on the run's own data, within its folder.
pub fn own_file(name: &str) -> String {
    format!("eval-{name}.json")
}

/// Where a result comes from.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The run, and the data where they are not its own.
    pub on: &'a On,
    /// The data's description.
    pub data: &'a str,
    /// Seed of what the protocol draws; the run's where it draws nothing.
    pub seed: u64,
    /// The epoch after which the encoder was saved.
    pub epoch: usize,
}

/// A place of data that other ways to write it lead to as well. `shapes` is no place: it is generated.
fn place(path: &str) -> PathBuf {
    match path {
        "shapes" => path.into(),
        _ => std::fs::canonicalize(path).unwrap_or_else(|_| path.into()),
    }
}

/// The result that a file holds, if it holds one.
pub fn read(file: &Path) -> Option<Value> {
    serde_json::from_str(&std::fs::read_to_string(file).ok()?).ok()
}

impl Source<'_> {
    /// The data's path, and the run's own.
    fn paths(&self) -> anyhow::Result<(String, String)> {
        let config = self.on.run.join("config.toml");
        let text = std::fs::read_to_string(&config)
            .with_context(|| format!("cannot read {}", config.display()))?;
        let own = Config::parse(&text, &[])?.data.path;
        Ok((self.on.data.clone().unwrap_or_else(|| own.clone()), own))
    }

    /// The result's file, before it is written and after: `eval-NAME.json` in the run's folder; of other data than the run's `eval-NAME-DATA.json`, with a number
    /// behind it where a result of other data of that name is there.
    ///
    /// # Errors
    /// No configuration of a run.
    pub fn file(&self, name: &str) -> anyhow::Result<PathBuf> {
        let (path, own) = self.paths()?;
        let whole = place(&path);
        if whole == place(&own) {
            return Ok(self.on.run.join(own_file(name)));
        }
        let last = whole.file_name().unwrap_or(whole.as_os_str());
        let name = format!("{name}-{}", plain(&last.to_string_lossy()));
        let taken = |file: &Path| {
            let of = read(file).and_then(|v| Some(place(v["data_path"].as_str()?)));
            of.is_some_and(|other| other != whole)
        };
        let mut file = self.on.run.join(own_file(&name));
        let mut number = 2;
        while taken(&file) {
            file = self.on.run.join(own_file(&format!("{name}-{number}")));
            number += 1;
        }
        Ok(file)
    }

    /// Adds protocol, data, seed and epoch to a result (an object), and writes it to its [file](Self::file).
    ///
    /// # Errors
    /// As [`Self::file`]; a file that cannot be written.
    pub fn write(&self, name: &str, protocol: &str, mut value: Value) -> anyhow::Result<Value> {
        value["protocol"] = protocol.into();
        value["data"] = self.data.into();
        value["data_path"] = self.paths()?.0.into();
        value["seed"] = self.seed.into();
        value["epoch"] = self.epoch.into();
        write_atomically(&self.file(name)?, format!("{value:#}\n").as_bytes())?;
        Ok(value)
    }
}

/// The data that a run was trained on, in the words of its log.
fn trained_on(run: &Path) -> Option<String> {
    let log = std::fs::read_to_string(run.join("log.txt")).ok()?;
    // What was left out of the data is said after it, in lines that begin alike.
    let mut lines = log.lines().filter_map(|l| l.strip_prefix("data: "));
    lines.next().map(String::from)
}

/// Whether a result is of the run's own data, after this epoch, by this protocol and seed.
pub fn is_own(result: &Value, run: &Path, protocol: &str, seed: u64, epoch: usize) -> bool {
    result["protocol"] == protocol
        && result["seed"] == seed
        && result["epoch"] == epoch
        && trained_on(run).is_some_and(|data| result["data"] == data.as_str())
}
