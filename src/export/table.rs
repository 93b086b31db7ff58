//! Features of images as a file, with file names and labels: .safetensors or .csv. The Cargo feature `tables`
//! adds .npy and .parquet.

use crate::run::output;
use crate::train::{Result, TrainError};
use safetensors::tensor::{Dtype, TensorView};
use std::collections::HashMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};

/// Features of images, a row for each image.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// File name (or number) of each row.
    pub names: Vec<String>,
    /// Label of each row as text. Empty when images are not labelled.
    pub labels: Vec<String>,
    /// Features [rows, dim].
    pub features: Vec<f32>,
    /// Length of a feature.
    pub dim: usize,
}

/// Endings that [`Table::write`] knows.
#[cfg(feature = "tables")]
pub const ENDINGS: &[&str] = &["npy", "safetensors", "csv", "parquet"];
/// Endings that [`Table::write`] knows. The feature `tables` brings .npy and .parquet.
#[cfg(not(feature = "tables"))]
pub const ENDINGS: &[&str] = &["safetensors", "csv"];

pub(super) fn fail(e: impl Display) -> TrainError {
    TrainError::Config(format!("features could not be written: {e}"))
}

impl Table {
    pub(super) fn label(&self, row: usize) -> &str {
        self.labels.get(row).map_or("", String::as_str)
    }

    /// Header and rows as CSV. Without `features`: names and labels only.
    pub(super) fn csv(&self, features: bool) -> Result<Vec<u8>> {
        let mut w = csv::Writer::from_writer(Vec::new());
        let numbers = (0..if features { self.dim } else { 0 }).map(|i| format!("embedding_{i}"));
        let head: Vec<String> = ["filename".to_string()]
            .into_iter()
            .chain(numbers)
            .chain(["label".to_string()])
            .collect();
        w.write_record(&head).map_err(fail)?;
        for (i, name) in self.names.iter().enumerate() {
            w.write_field(name).map_err(fail)?;
            if features {
                for v in &self.features[i * self.dim..(i + 1) * self.dim] {
                    w.write_field(v.to_string()).map_err(fail)?;
                }
            }
            w.write_field(self.label(i)).map_err(fail)?;
            w.write_record(None::<&[u8]>).map_err(fail)?;
        }
        w.into_inner().map_err(fail)
    }

    fn safetensors(&self) -> Result<Vec<u8>> {
        let bytes: Vec<u8> = self.features.iter().flat_map(|v| v.to_le_bytes()).collect();
        let shape = vec![self.names.len(), self.dim];
        let view = TensorView::new(Dtype::F32, shape, &bytes).map_err(fail)?;
        let list = |v: &[String]| serde_json::to_string(v).map_err(fail);
        let meta = HashMap::from([
            ("filenames".to_string(), list(&self.names)?),
            ("labels".to_string(), list(&self.labels)?),
        ]);
        safetensors::serialize([("features", view)], Some(meta)).map_err(fail)
    }

    /// The files that [`Table::write`] writes for a path: the file itself, and beside a .npy, which holds the features
    /// only, a .csv of names and labels.
    ///
    /// # Errors
    /// An unknown ending.
    pub fn files(path: &Path) -> Result<Vec<PathBuf>> {
        let ending = ending(path);
        if !ENDINGS.contains(&ending.as_str()) {
            return Err(TrainError::Config(format!(
                "{}: no known ending; choose one of .{}",
                path.display(),
                ENDINGS.join(", .")
            )));
        }
        let mut files = vec![path.to_path_buf()];
        if ending == "npy" {
            files.push(path.with_extension("csv"));
        }
        Ok(files)
    }

    /// Writes the table in the format that the file's ending names, and returns the [files](Table::files). Those that
    /// are already there are replaced only with `overwrite`.
    ///
    /// # Errors
    /// An unknown ending; a file that is there or cannot be written.
    pub fn write(&self, path: &Path, overwrite: bool) -> Result<Vec<PathBuf>> {
        let files = Self::files(path)?;
        let bytes = match ending(path).as_str() {
            #[cfg(feature = "tables")]
            "npy" => vec![self.npy()?, self.csv(false)?],
            #[cfg(feature = "tables")]
            "parquet" => vec![self.parquet()?],
            "safetensors" => vec![self.safetensors()?],
            _ => vec![self.csv(true)?],
        };
        let files: Vec<(PathBuf, Vec<u8>)> = files.into_iter().zip(bytes).collect();
        output::write(&files, overwrite)?;
        Ok(files.into_iter().map(|(path, _)| path).collect())
    }
}

/// The ending of a file's name, in small letters.
fn ending(path: &Path) -> String {
    let ending = path.extension().unwrap_or_default();
    ending.to_string_lossy().to_lowercase()
}
