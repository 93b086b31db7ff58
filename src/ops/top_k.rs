//! `top_k`: the largest candidates of each row, as a threshold. Twin: `reference/top_k.rs`.

use crate::device::recording::Recorder;
use crate::graph::{Bindings, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::Scalar;
use crate::reference::top_k::{self, Candidates};
use crate::{kernel, twin};

/// s [c,a,n] -> threshold value f32 [c,a] and column u32 [c,a]; see `shaders/top_k.wgsl` for what they mean.
#[derive(Clone, Copy, Debug)]
pub struct TopK {
    /// How many, clamped to the candidates.
    pub kappa: usize,
    /// NT-Xent layout: the row itself is no candidate.
    pub ntxent: bool,
    /// The positive is a candidate too.
    pub include_positive: bool,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    a: u32,
    n: u32,
    rows: u32,
    kappa: u32,
    ntxent: u32,
    include_positive: u32,
    r: [u32; 2],
}

impl Op for TopK {
    fn name(&self) -> &'static str {
        "top_k"
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let [c, a, n] = inputs[0].rank("s")?;
        if self.kappa == 0 || n == 0 || self.ntxent && (a != n || a % 2 == 1 || a < 4) {
            return Err("kappa must be at least 1; NT-Xent needs a square matrix of an even size, 4 or more".into());
        }
        Ok(vec![TensorType::f32([c, a]), TensorType::u32([c, a])])
    }
    fn gradient(
        &self,
        _g: &mut Graph,
        _node: NodeId,
        _dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        // A selection is constant almost everywhere.
        Ok(vec![None])
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let s = &io.inputs[0];
        let (a, n) = (s.dims()[1], s.dims()[2]);
        let rows = s.elements() / n;
        let p = Params {
            a: a as u32,
            n: n as u32,
            rows: rows as u32,
            kappa: self.kappa as u32,
            ntxent: self.ntxent.into(),
            include_positive: self.include_positive.into(),
            r: [0; 2],
        };
        Ok(rec.dispatch(
            &kernel!("top_k", "main"),
            &p,
            &[s, &io.outputs[0], &io.outputs[1]],
            rows,
        )?)
    }
    twin!();
}

impl TopK {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let s = io.input(0);
        let d = io.input_types[0].dims();
        let c = Candidates {
            anchors: d[1],
            ntxent: self.ntxent,
            include_positive: self.include_positive,
        };
        let n = d[2];
        let [value, index] = io.outputs.as_mut_slice() else {
            return;
        };
        top_k::top_k(&c, n, self.kappa, s, value.float(), index.u32());
    }
}
