//! `l2_normalize`: rows of unit length. Twin: `reference/l2_normalize.rs`.

use crate::device::recording::Recorder;
use crate::graph::{Bindings, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::{Scalar, l2_normalize};
use crate::{kernel, twin};

/// x [..,d] -> y alike, each row of unit length (x / max(|x|, eps)).
#[derive(Clone, Copy, Debug)]
pub struct L2Normalize {
    /// Least divisor (PyTorch: 1e-12).
    pub eps: f32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    rows: u32,
    d: u32,
    eps: f32,
    r: u32,
}

impl Op for L2Normalize {
    fn name(&self) -> &'static str {
        "l2_normalize"
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        if inputs.len() != 1
            || inputs.iter().any(|t| *t != inputs[0])
            || inputs[0].shape.rank() == 0
        {
            return Err("needs 1 input(s) of one shape [..,d]".into());
        }
        Ok(vec![inputs[0].clone()])
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
        Ok(vec![Some(g.push1(
            super::l2_normalize_grad::L2NormalizeGrad { eps: self.eps },
            &[dy, x],
        )?)])
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let x = &io.inputs[0];
        let d = x.dims()[x.dims().len() - 1];
        let rows = x.elements() / d;
        let p = Params {
            rows: rows as u32,
            d: d as u32,
            eps: self.eps,
            r: 0,
        };
        let mut bound: Vec<_> = io.inputs.iter().collect();
        bound.push(&io.outputs[0]);
        Ok(rec.dispatch(&kernel!("l2_normalize", "main"), &p, &bound, rows)?)
    }
    twin!();
}

impl L2Normalize {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let d = io.input_types[0].dims().last().copied().unwrap_or(1);
        let eps = T::of(f64::from(self.eps));
        let x = io.input(0);
        l2_normalize::l2_normalize(d, eps, x, io.output(0));
    }
}
