//! `masked_mse_grad`: the gradient of the masked mean square error. Twin: `reference/masked_mse_grad.rs`.

use super::masked_mse::MaskedMse;
use super::rows::{self, by_rows};
use crate::graph::{HostIo, Op, TensorType};
use crate::reference::{Scalar, masked_mse_grad};

/// pred, target [..,d], mask, dy [..] -> dpred [..,d].
#[derive(Clone, Copy, Debug)]
pub struct MaskedMseGrad {
    /// The forward op.
    pub forward: MaskedMse,
}

impl Op for MaskedMseGrad {
    by_rows!("masked_mse_grad", Loss, |op| (
        f32::from(u8::from(op.forward.invert)),
        0.0
    ));
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let [forward @ .., dy] = inputs else {
            return Err("needs pred, target [..,d], mask and dy [..]".into());
        };
        match self.forward.infer(forward)?[0] == **dy {
            true => Ok(vec![inputs[0].clone()]),
            false => Err("dy needs a value a row".into()),
        }
    }
}

impl MaskedMseGrad {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let form = (rows::width(&io.input_types[0]), self.forward.invert);
        let all = [0, 1, 2, 3].map(|i| io.input(i));
        masked_mse_grad::masked_mse_grad(form, all, io.output(0));
    }
}
