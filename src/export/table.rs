//! Features of images as a file: .npy, .safetensors, .csv or .parquet, with file names and labels.

use crate::run::checkpoint::write_atomically;
use crate::train::{Result, TrainError};
use npyz::WriterBuilder;
use parquet::data_type::{ByteArray, ByteArrayType, FloatType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use safetensors::tensor::{Dtype, TensorView};
use std::collections::HashMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Rows of features.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// File name (or number) of each row.
    pub names: Vec<String>,
    /// Label of each row, as text; empty when there are none.
    pub labels: Vec<String>,
    /// [rows, dim].
    pub features: Vec<f32>,
    /// Length of a feature.
    pub dim: usize,
}

/// Endings that [`Table::write`] knows.
pub const ENDINGS: [&str; 4] = ["npy", "safetensors", "csv", "parquet"];

fn fail(e: impl Display) -> TrainError {
    TrainError::Config(format!("features could not be written: {e}"))
}

impl Table {
    fn label(&self, row: usize) -> &str {
        self.labels.get(row).map_or("", String::as_str)
    }

    /// Header and rows as CSV; without features, names and labels alone.
    fn csv(&self, features: bool) -> Result<Vec<u8>> {
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

    fn npy(&self) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        let mut w = npyz::WriteOptions::new()
            .default_dtype()
            .shape(&[self.names.len() as u64, self.dim as u64])
            .writer(&mut out)
            .begin_nd()
            .map_err(fail)?;
        w.extend(self.features.iter().copied()).map_err(fail)?;
        w.finish().map_err(fail)?;
        Ok(out)
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

    fn parquet(&self) -> Result<Vec<u8>> {
        let floats: String = (0..self.dim)
            .map(|i| format!("required float embedding_{i};"))
            .collect();
        let schema = format!(
            "message embeddings {{ required binary filename (UTF8); {floats} required binary label (UTF8); }}"
        );
        let schema = Arc::new(parse_message_type(&schema).map_err(fail)?);
        let properties = Arc::new(WriterProperties::builder().build());
        let mut w = SerializedFileWriter::new(Vec::new(), schema, properties).map_err(fail)?;
        let mut rows = w.next_row_group().map_err(fail)?;
        let text = |v: &str| ByteArray::from(v.as_bytes().to_vec());
        let mut column = 0;
        while let Some(mut c) = rows.next_column().map_err(fail)? {
            if column == 0 || column == self.dim + 1 {
                let values: Vec<ByteArray> = (0..self.names.len())
                    .map(|i| {
                        text(if column == 0 {
                            &self.names[i]
                        } else {
                            self.label(i)
                        })
                    })
                    .collect();
                c.typed::<ByteArrayType>()
                    .write_batch(&values, None, None)
                    .map_err(fail)?;
            } else {
                let values: Vec<f32> = self
                    .features
                    .iter()
                    .skip(column - 1)
                    .step_by(self.dim)
                    .copied()
                    .collect();
                c.typed::<FloatType>()
                    .write_batch(&values, None, None)
                    .map_err(fail)?;
            }
            c.close().map_err(fail)?;
            column += 1;
        }
        rows.close().map_err(fail)?;
        w.into_inner().map_err(fail)
    }

    /// Writes the table in the form that the file's ending names; returns the files. A .npy holds features alone: names and labels go into a .csv beside it.
    ///
    /// # Errors
    /// An unknown ending; a file that cannot be written.
    pub fn write(&self, path: &Path) -> Result<Vec<PathBuf>> {
        let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase());
        let mut files = vec![path.to_path_buf()];
        let bytes = match ending.as_deref() {
            Some("npy") => {
                let beside = path.with_extension("csv");
                write_atomically(&beside, &self.csv(false)?)?;
                files.push(beside);
                self.npy()?
            }
            Some("safetensors") => self.safetensors()?,
            Some("csv") => self.csv(true)?,
            Some("parquet") => self.parquet()?,
            _ => {
                return Err(TrainError::Config(format!(
                    "{}: no known ending; choose one of .{}",
                    path.display(),
                    ENDINGS.join(", .")
                )));
            }
        };
        write_atomically(path, &bytes)?;
        Ok(files)
    }
}
