//! `positives`: the similarity of each anchor's positive. Twin: `reference/positives.rs`.

use super::top_k::{check_layout, runs};
use crate::device::recording::Recorder;
use crate::graph::{Bindings, Class, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::Scalar;
use crate::reference::positives;
use crate::reference::top_k::{Candidates, Layout};
use crate::{kernel, twin};

/// s [c,a,n] -> [c,a], for what is measured of a batch: it has no gradient.
#[derive(Clone, Copy, Debug)]
pub struct Positives {
    /// Arrangement of the columns.
    pub layout: Layout,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    a: u32,
    n: u32,
    rows: u32,
    first: u32,
    off_s: u32,
    off_row: u32,
    layout: u32,
    include_positive: u32,
}

impl Op for Positives {
    fn name(&self) -> &'static str {
        "positives"
    }
    fn class(&self) -> Class {
        Class::Layout
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let [c, a, n] = inputs[0].rank("s")?;
        check_layout(self.layout, a, n)?;
        Ok(vec![TensorType::f32([c, a])])
    }
    fn gradient(
        &self,
        _: &mut Graph,
        _: NodeId,
        _: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        Ok(vec![None])
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let s = &io.inputs[0];
        let (a, n) = (s.dims()[1], s.dims()[2]);
        for r in runs(s.elements() / n, n, rec.limits()) {
            let (part, off_s) = s.window(r.start * n..r.end * n);
            let (y, off_row) = io.outputs[0].window(r.clone());
            let p = Params {
                a: a as u32,
                n: n as u32,
                rows: r.len() as u32,
                first: r.start as u32,
                off_s,
                off_row,
                layout: self.layout as u32,
                include_positive: 1,
            };
            let kernel = kernel!("positives", "main");
            rec.dispatch(&kernel, &p, &[&part, &y], r.len().div_ceil(64))?;
        }
        Ok(())
    }
    twin!();
}

impl Positives {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let d = io.input_types[0].dims();
        let c = Candidates {
            anchors: d[1],
            layout: self.layout,
            include_positive: true,
        };
        let (n, s) = (d[2], io.input(0));
        positives::positives(&c, n, s, io.output(0));
    }
}
