//! `centre_scores`: scores whose mean is pinned, for the centred temperature. Twin: `reference/centre_scores.rs`.

use super::centre_scores_grad::CentreScoresGrad;
use crate::device::Limits;
use crate::device::recording::Recorder;
use crate::graph::{Bindings, Class, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::Scalar;
use crate::reference::centre_scores::{self, Shape};
use crate::{kernel, twin};

/// x [c,a,n] cosines, gain [1] -> r alike and mean [c]: r = gain (x - mean of the head's pairs) + offset.
#[derive(Clone, Copy, Debug)]
pub struct CentreScores {
    /// x is square, and its diagonal is no pair.
    pub square: bool,
    /// Score at the mean.
    pub offset: f64,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct Params {
    sizes: [u32; 3],
    square: u32,
    k: f32,
    total: u32,
    r: [u32; 2],
}

impl CentreScores {
    pub(super) fn params(&self, d: &[usize]) -> Params {
        Params {
            sizes: [d[0], d[1], d[2]].map(|v| v as u32),
            square: self.square.into(),
            k: self.offset as f32,
            total: (d[0] * d[1] * d[2]) as u32,
            r: [0; 2],
        }
    }

    pub(super) fn shape(&self, d: &[usize]) -> Shape {
        Shape {
            a: d[1],
            n: d[2],
            square: self.square,
        }
    }

    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let f = self.shape(io.input_types[0].dims());
        let (x, gain) = (io.input(0), io.input(1)[0]);
        let [y, mean] = io.outputs_n();
        centre_scores::centre_scores(&f, gain, T::of(self.offset), x, y, mean);
    }
}

impl Op for CentreScores {
    fn name(&self) -> &'static str {
        "centre_scores"
    }
    fn class(&self) -> Class {
        Class::Loss
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let [c, a, n] = inputs[0].rank("x")?;
        if inputs.len() != 2 || inputs[1].dims() != [1] || self.square && (a != n || n < 2) {
            return Err(
                "needs scores [c,a,n] (a square when the diagonal is left out) and a gain [1]"
                    .into(),
            );
        }
        Ok(vec![inputs[0].clone(), TensorType::f32([c])])
    }
    fn workspace(&self, inputs: &[&TensorType], _limits: &Limits) -> Vec<TensorType> {
        let d = inputs[0].dims();
        vec![TensorType::f32([d[0] * d[1]])]
    }
    fn gradient(
        &self,
        g: &mut Graph,
        node: NodeId,
        dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let Some(dy) = dy[0] else {
            return Ok(vec![None; 2]);
        };
        let (x, gain) = (g.node(node).inputs[0], g.node(node).inputs[1]);
        let mean = g.node(node).outputs[1];
        let d = g.push(CentreScoresGrad { scores: *self }, &[dy, x, mean, gain])?;
        Ok(vec![Some(d[0]), Some(d[1])])
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let (x, gain) = (&io.inputs[0], &io.inputs[1]);
        let (y, mean, part) = (&io.outputs[0], &io.outputs[1], &io.workspace[0]);
        let d = x.dims();
        let p = self.params(d);
        let rows = kernel!("centre_scores", "rows").flag("ROWS", true);
        rec.dispatch(&rows, &p, &[x, part], d[0] * d[1])?;
        let heads = kernel!("centre_scores", "heads").flag("HEADS", true);
        rec.dispatch(&heads, &p, &[part, mean], d[0])?;
        let apply = kernel!("centre_scores", "apply").flag("APPLY", true);
        Ok(rec.dispatch(&apply, &p, &[x, mean, gain, y], x.elements().div_ceil(64))?)
    }
    twin!();
}
