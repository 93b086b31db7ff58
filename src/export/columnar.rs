//! A table of features as .npy or .parquet.

use super::table::{Table, fail};
use crate::train::Result;
use npyz::WriterBuilder;
use parquet::data_type::{ByteArray, ByteArrayType, FloatType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use std::sync::Arc;

impl Table {
    /// The features alone, [rows, dim].
    pub(super) fn npy(&self) -> Result<Vec<u8>> {
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

    /// A column for the names, one for each number of a feature, and one for the labels.
    pub(super) fn parquet(&self) -> Result<Vec<u8>> {
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
}
