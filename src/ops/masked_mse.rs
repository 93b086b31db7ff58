//! `masked_mse`: the mean square error of every patch, where the mask asks for it. Twin: `reference/masked_mse.rs`.

use super::masked_mse_grad::MaskedMseGrad;
use super::rows::{self, by_rows};
use crate::graph::{Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::{Scalar, masked_mse};

/// pred, target [..,d], mask [..] -> [..]: mask times the mean of (pred - target)^2 of each row. A masked autoencoder's
/// loss is the sum of these over the number of patches that were taken out. The target gets no gradient.
#[derive(Clone, Copy, Debug)]
pub struct MaskedMse {
    /// The weight is 1 - mask: the loss is that of the visible patches.
    pub invert: bool,
}

impl Op for MaskedMse {
    by_rows!("masked_mse", Loss, |op| (
        f32::from(u8::from(op.invert)),
        0.0
    ));
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let [pred, target, mask] = inputs else {
            return Err("needs pred, target [..,d] and mask [..]".into());
        };
        let x = rows::alike(&[pred, target], 2)?;
        match **mask == rows::per_row(&x) {
            true => Ok(vec![rows::per_row(&x)]),
            false => Err("needs pred, target [..,d] and mask [..]".into()),
        }
    }
    fn gradient(
        &self,
        g: &mut Graph,
        node: NodeId,
        dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let Some(dy) = dy[0] else {
            return Ok(vec![None; 3]);
        };
        let mut inputs = g.node(node).inputs.clone();
        inputs.push(dy);
        let op = MaskedMseGrad { forward: *self };
        Ok(vec![Some(g.push1(op, &inputs)?), None, None])
    }
}

impl MaskedMse {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let form = (rows::width(&io.input_types[0]), self.invert);
        let (pred, target, mask) = (io.input(0), io.input(1), io.input(2));
        masked_mse::masked_mse(form, pred, target, mask, io.output(0));
    }
}
