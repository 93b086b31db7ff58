//! `standardize_rows`: rows of mean 0 and deviation 1 (the pixel targets of a masked autoencoder). Twin:
//! `reference/standardize_rows.rs`.

use super::rows::{self, by_rows};
use crate::graph::{HostIo, Op, TensorType};
use crate::reference::{Scalar, standardize_rows};

/// x [..,d], d of 2 and more -> y alike: (x - mean) / sqrt(variance + eps) of each row, with the unbiased variance
/// (over d - 1). For targets, which are constants: it has no gradient.
#[derive(Clone, Copy, Debug)]
pub struct StandardizeRows {
    /// Added to the variance: 1e-6 in masked autoencoders.
    pub eps: f64,
}

impl Op for StandardizeRows {
    by_rows!("standardize_rows", Normalisation, |op| (op.eps as f32, 0.0));
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let x = rows::alike(inputs, 1)?;
        match rows::width(&x) {
            0 | 1 => {
                Err("a row of one value has no variance: needs x [..,d], d of 2 and more".into())
            }
            _ => Ok(vec![x]),
        }
    }
}

impl StandardizeRows {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let d = rows::width(&io.input_types[0]);
        let x = io.input(0);
        standardize_rows::standardize_rows(d, T::of(self.eps), x, io.output(0));
    }
}
