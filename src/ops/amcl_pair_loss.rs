//! `amcl_pair_loss`: the AMCL loss of pairs without negatives, Eq. (2.2). Twin: `reference/amcl_pair_loss.rs`.

use super::amcl_pair_loss_grad::AmclPairLossGrad;
use super::elementwise;
use crate::device::recording::{Kernel, Recorder, View};
use crate::graph::{Bindings, Class, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::temperature::Temperature;
use crate::reference::{Scalar, amcl_pair_loss};
use crate::{kernel, twin};

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    total: u32,
    reals: [f32; 5],
    r: [u32; 2],
}

/// s, r of one shape -> l alike: -weight s/tau(r) + beta Omega(tau(r)).
#[derive(Clone, Copy, Debug)]
pub struct AmclPairLoss {
    /// Weight of the similarity (SimSiam: 1/2 a direction).
    pub weight: f64,
    /// Weight of Omega.
    pub beta: f64,
    /// Least temperature.
    pub eta: f64,
    /// Range of the temperature.
    pub iota: f64,
    /// d', the heads' output dimension, in Omega.
    pub d: usize,
}

impl Op for AmclPairLoss {
    fn name(&self) -> &'static str {
        "amcl_pair_loss"
    }
    fn class(&self) -> Class {
        Class::Loss
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        match inputs {
            [_, _] => elementwise::same(inputs),
            _ => Err("needs similarities and scores".into()),
        }
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
        let (s, r) = (g.node(node).inputs[0], g.node(node).inputs[1]);
        let d = g.push(AmclPairLossGrad { loss: *self }, &[dy, s, r])?;
        Ok(d.into_iter().map(Some).collect())
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let views = [&io.inputs[0], &io.inputs[1], &io.outputs[0]];
        self.record_flat(rec, &kernel!("amcl_pair_loss", "main"), &views)
    }
    twin!();
}

impl AmclPairLoss {
    pub(super) fn form<T: Scalar>(&self) -> Temperature<T> {
        Temperature {
            beta: T::of(self.beta),
            eta: T::of(self.eta),
            iota: T::of(self.iota),
            half_d: T::of(self.d as f64 / 2.0),
        }
    }

    /// Records a kernel with a thread an element, in pieces where a tensor exceeds one binding.
    pub(super) fn record_flat(
        &self,
        rec: &mut Recorder<'_>,
        kernel: &Kernel,
        views: &[&View],
    ) -> Result<()> {
        for range in views[0].flat_chunks(rec.limits()) {
            let len = range.len();
            let parts: Vec<View> = views.iter().map(|v| v.flat(range.clone())).collect();
            let half_d = self.d as f64 / 2.0;
            let reals = [self.weight, self.beta, self.eta, self.iota, half_d];
            let p = Params {
                total: len as u32,
                reals: reals.map(|v| v as f32),
                r: [0; 2],
            };
            let bound: Vec<&View> = parts.iter().collect();
            rec.dispatch(kernel, &p, &bound, len.div_ceil(64))?;
        }
        Ok(())
    }

    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let (s, r) = (io.input(0), io.input(1));
        amcl_pair_loss::amcl_pair_loss(&self.form(), T::of(self.weight), s, r, io.output(0));
    }
}
