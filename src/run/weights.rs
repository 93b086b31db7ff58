//! Named weights: of a run's newest checkpoint, or of a safetensors file from elsewhere.

use super::checkpoint::{self, Position};
use super::{Result, RunError, io};
use crate::config::Config;
use crate::config::method::{declare, declare_method};
use crate::methods::Method;
use crate::nn::Model;
use crate::nn::import::{self, Named, Weights};
use crate::nn::model::{PARAMS, STATISTICS};
use safetensors::{Dtype, SafeTensors};
use std::path::Path;

/// Largest weight file that is read.
const LARGEST: u64 = 8 << 30;

/// A run, read from its folder.
#[derive(Clone, Debug)]
pub struct Trained {
    /// Its configuration.
    pub config: Config,
    /// Where its newest usable checkpoint stands.
    pub at: Position,
    /// All parameters and running statistics.
    pub weights: Named,
}

/// Reads a run folder: configuration and newest undamaged checkpoint; `warn` is told of damaged ones.
///
/// # Errors
/// No run there; no usable checkpoint.
pub fn of_run(run: &Path, warn: impl FnMut(String)) -> Result<Trained> {
    let config = config_of(run)?;
    let model = declare(&config)?;
    read(run, config, &model, warn)
}

/// [`of_run`] of a run that was trained by this method in place of its configuration's.
///
/// # Errors
/// As [`of_run`].
pub fn of_method(run: &Path, method: &dyn Method, warn: impl FnMut(String)) -> Result<Trained> {
    let config = config_of(run)?;
    let model = declare_method(&config, method)?;
    read(run, config, &model, warn)
}

/// The configuration in a run's folder.
fn config_of(run: &Path) -> Result<Config> {
    let path = run.join("config.toml");
    let text = std::fs::read_to_string(&path).map_err(|e| {
        RunError::Config(format!(
            "{} is no run folder: {}: {e}",
            run.display(),
            path.display()
        ))
    })?;
    Ok(Config::parse(&text, &[])?)
}

/// The weights of a model whose variables are declared.
fn read(run: &Path, config: Config, model: &Model, warn: impl FnMut(String)) -> Result<Trained> {
    let groups = [PARAMS, STATISTICS];
    let dir = run.join("checkpoints");
    let (values, at) = checkpoint::read_latest(&dir, &model.states, &groups, warn)?;
    let weights = import::named(model, |group, range| {
        let found = values.iter().find(|(g, _)| *g == group);
        found
            .map(|(_, v)| v.to_f32()[range].to_vec())
            .unwrap_or_default()
    });
    Ok(Trained {
        config,
        at,
        weights,
    })
}

/// Reads a safetensors file: f32, f16, bf16 and f64 tensors. Names are the file's:
/// [`crate::nn::import::without_prefix`] finds the encoder among them.
///
/// # Errors
/// No such file, no safetensors, a header that does not fit the file.
pub fn of_file(path: &Path) -> Result<Named> {
    let size = std::fs::metadata(path).map_err(io(path))?.len();
    let bad = |e: &dyn std::fmt::Display| {
        RunError::Config(format!(
            "{}: {e}; expected a safetensors file (of torchvision, timm or `amcl-wgpu export`)",
            path.display()
        ))
    };
    if size > LARGEST {
        return Err(bad(&format!("{size} bytes are too many")));
    }
    let bytes = std::fs::read(path).map_err(io(path))?;
    parse(&bytes).map_err(|e| bad(&e))
}

/// [`of_file`] on bytes.
///
/// # Errors
/// What is wrong, in words.
pub fn parse(bytes: &[u8]) -> std::result::Result<Named, String> {
    let st = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
    let mut out = Named::new();
    for (name, t) in st.iter() {
        let data = t.data();
        let values: Vec<f32> = match t.dtype() {
            Dtype::F32 => data
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect(),
            Dtype::F16 => data
                .chunks_exact(2)
                .map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32())
                .collect(),
            Dtype::BF16 => data
                .chunks_exact(2)
                .map(|b| half::bf16::from_le_bytes([b[0], b[1]]).to_f32())
                .collect(),
            Dtype::F64 => data
                .chunks_exact(8)
                .map(|b| {
                    f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32
                })
                .collect(),
            _ => continue,
        };
        out.insert(
            name.to_string(),
            Weights {
                shape: t.shape().to_vec(),
                values,
            },
        );
    }
    Ok(out)
}

/// Weights to start from: a run folder, a folder that `export` wrote, or a safetensors file.
///
/// # Errors
/// As [`of_run`] and [`of_file`].
pub fn of_any(path: &Path, warn: impl FnMut(String)) -> Result<Named> {
    if path.join("config.toml").is_file() {
        return Ok(of_run(path, warn)?.weights);
    }
    let inside = path.join("model.safetensors");
    of_file(if inside.is_file() { &inside } else { path })
}
