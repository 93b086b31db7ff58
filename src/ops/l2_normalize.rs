//! `l2_normalize`: rows of unit length. Twin: `reference/l2_normalize.rs`.

use super::l2_normalize_grad::L2NormalizeGrad;
use super::rows::{self, by_rows};
use crate::graph::{Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::{Scalar, l2_normalize};

/// x [..,d] -> y alike, each row of unit length (x / max(|x|, eps)).
#[derive(Clone, Copy, Debug)]
pub struct L2Normalize {
    /// Least divisor (PyTorch: 1e-12).
    pub eps: f32,
}

impl Op for L2Normalize {
    by_rows!("l2_normalize", Normalisation, |op| (op.eps, 0.0));
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        Ok(vec![rows::alike(inputs, 1)?])
    }
    fn gradient(
        &self,
        g: &mut Graph,
        node: NodeId,
        dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let Some(dy) = dy[0] else {
            return Ok(vec![None]);
        };
        let x = g.node(node).inputs[0];
        let op = L2NormalizeGrad { eps: self.eps };
        Ok(vec![Some(g.push1(op, &[dy, x])?)])
    }
}

impl L2Normalize {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let (d, eps) = (rows::width(&io.input_types[0]), T::of(f64::from(self.eps)));
        let x = io.input(0);
        l2_normalize::l2_normalize(d, eps, x, io.output(0));
    }
}
