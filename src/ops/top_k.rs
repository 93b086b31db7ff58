//! `top_k`: the largest candidates of each row, as a threshold. Twin: `reference/top_k.rs`.

use crate::device::Limits;
use crate::device::recording::Recorder;
use crate::graph::{Bindings, Class, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::Scalar;
use crate::reference::top_k::{self, Candidates, Layout};
use crate::{kernel, twin};
use std::ops::Range;

/// s [c,a,n] -> threshold value f32 [c,a] and column u32 [c,a]; see `shaders/top_k.wgsl` for what they mean.
#[derive(Clone, Copy, Debug)]
pub struct TopK {
    /// How many, clamped to the candidates.
    pub kappa: usize,
    /// Arrangement of the columns.
    pub layout: Layout,
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
    layout: u32,
    include_positive: u32,
    first: u32,
    off_s: u32,
    off_row: u32,
    r: [u32; 3],
}

/// Do similarities [c,a,n] fit the layout?
pub(super) fn check_layout(layout: Layout, a: usize, n: usize) -> std::result::Result<(), String> {
    match layout {
        Layout::NtXent if a != n || a % 2 == 1 || a < 4 => {
            Err("NT-Xent needs a square matrix a head, of both views of at least two images".into())
        }
        Layout::Pairs if n < 2 => Err("needs the positive and at least one negative".into()),
        Layout::Diagonal if a != n || n < 2 => {
            Err("needs a square matrix a head, of at least two queries and their keys".into())
        }
        _ if n == 0 => Err("needs candidates".into()),
        _ => Ok(()),
    }
}

/// Runs of the rows of matrices with `n` columns such that a slice of one fits a binding wherever it starts.
pub(super) fn runs(rows: usize, n: usize, limits: &Limits) -> Vec<Range<usize>> {
    let fits = if rows * n * 4 <= limits.max_binding {
        rows
    } else {
        // A slice may have to begin up to 63 elements early.
        ((limits.max_binding / 4).saturating_sub(64) / n).max(1)
    };
    (0..rows)
        .step_by(fits.max(1))
        .map(|a| a..(a + fits).min(rows))
        .collect()
}

impl Op for TopK {
    fn name(&self) -> &'static str {
        "top_k"
    }
    fn class(&self) -> Class {
        Class::Search
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let [c, a, n] = inputs[0].rank("s")?;
        check_layout(self.layout, a, n)?;
        if self.kappa == 0 {
            return Err("kappa must be at least 1".into());
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
        for r in runs(s.elements() / n, n, rec.limits()) {
            let (part, off_s) = s.window(r.start * n..r.end * n);
            let (value, off_row) = io.outputs[0].window(r.clone());
            let (index, _) = io.outputs[1].window(r.clone());
            let p = Params {
                a: a as u32,
                n: n as u32,
                rows: r.len() as u32,
                kappa: self.kappa.min(n) as u32,
                layout: self.layout as u32,
                include_positive: self.include_positive.into(),
                first: r.start as u32,
                off_s,
                off_row,
                r: [0; 3],
            };
            let kernel = kernel!("top_k", "main");
            rec.dispatch(&kernel, &p, &[&part, &value, &index], r.len())?;
        }
        Ok(())
    }
    twin!();
}

impl TopK {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let s = io.input(0);
        let d = io.input_types[0].dims();
        let c = Candidates {
            anchors: d[1],
            layout: self.layout,
            include_positive: self.include_positive,
        };
        let n = d[2];
        let [value, index] = io.outputs.as_mut_slice() else {
            return;
        };
        top_k::top_k(&c, n, self.kappa, s, value.float(), index.u32());
    }
}
