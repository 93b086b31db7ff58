//! `l2_normalize`: rows of unit length. Twin: `reference/l2_normalize.rs`.

use super::l2_normalize_grad::L2NormalizeGrad;
use super::rows;
use crate::device::recording::Recorder;
use crate::graph::{Bindings, Class, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::{Scalar, l2_normalize};
use crate::{kernel, twin};

/// x [..,d] -> y alike, each row of unit length (x / max(|x|, eps)).
#[derive(Clone, Copy, Debug)]
pub struct L2Normalize {
    /// Least divisor (PyTorch: 1e-12).
    pub eps: f32,
}

impl Op for L2Normalize {
    fn name(&self) -> &'static str {
        "l2_normalize"
    }
    fn class(&self) -> Class {
        Class::Normalisation
    }
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
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let d = io.inputs[0].dims().last().copied().unwrap_or(1);
        let views = [&io.inputs[0], &io.outputs[0]];
        Ok(rows::record(
            rec,
            &kernel!("l2_normalize", "main"),
            d,
            &views,
            (self.eps, 0.0),
        )?)
    }
    twin!();
}

impl L2Normalize {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let (d, eps) = (rows::width(&io.input_types[0]), T::of(f64::from(self.eps)));
        let x = io.input(0);
        l2_normalize::l2_normalize(d, eps, x, io.output(0));
    }
}
