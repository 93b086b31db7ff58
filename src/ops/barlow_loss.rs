//! `barlow_loss`: redundancy reduction, plain and Eq. (2.3). Twin: `reference/barlow_loss.rs`.

use super::barlow_loss_grad::BarlowLossGrad;
use crate::device::recording::{Recorder, View};
use crate::graph::{Bindings, Class, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::Scalar;
use crate::reference::barlow_loss::{self, Form};
use crate::reference::temperature::Temperature;
use crate::{kernel, twin};

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct Params {
    rows: u32,
    d: u32,
    reals: [f32; 5],
    total: u32,
    adaptive: [u32; 2],
    constant: [f32; 2],
}

/// k [c,d,d] cross-correlation, r [c,d,d] scores if any temperature adapts -> [c,d], the terms of each row summed;
/// see `shaders/barlow_loss.wgsl`.
#[derive(Clone, Copy, Debug)]
pub struct BarlowLoss {
    /// Temperatures on the diagonal come from the scores; else constant, and no Omega.
    pub adaptive_on: bool,
    /// Those off the diagonal.
    pub adaptive_off: bool,
    /// The temperatures on and off the diagonal where they do not adapt: 1 is the plain loss.
    pub constant: [f64; 2],
    /// Weight of the elements off the diagonal.
    pub lambda: f64,
    /// Weight of Omega.
    pub beta: f64,
    /// Least temperature.
    pub eta: f64,
    /// Range of the temperature.
    pub iota: f64,
}

impl Op for BarlowLoss {
    fn name(&self) -> &'static str {
        "barlow_loss"
    }
    fn class(&self) -> Class {
        Class::Loss
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let [c, d, e] = inputs[0].rank("k")?;
        if d != e
            || inputs.len() != 1 + usize::from(self.adaptive())
            || inputs.iter().any(|t| *t != inputs[0])
        {
            return Err(
                "needs a square matrix a head, and scores alike if the temperature adapts".into(),
            );
        }
        Ok(vec![TensorType::f32([c, d])])
    }
    fn gradient(
        &self,
        g: &mut Graph,
        node: NodeId,
        dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let inputs = g.node(node).inputs.clone();
        let Some(dy) = dy[0] else {
            return Ok(vec![None; inputs.len()]);
        };
        let all = [&[dy], &inputs[..]].concat();
        let d = g.push(BarlowLossGrad { loss: *self }, &all)?;
        Ok(d.into_iter().map(Some).collect())
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let (k, loss) = (&io.inputs[0], &io.outputs[0]);
        let mut bound = vec![k, loss];
        bound.extend(io.inputs.get(1));
        let kernel = kernel!("barlow_loss", "main").flag("ADAPTIVE", self.adaptive());
        let rows = loss.elements();
        Ok(rec.dispatch(&kernel, &self.params(k), &bound, rows)?)
    }
    twin!();
}

impl BarlowLoss {
    /// Any temperature comes from scores.
    pub fn adaptive(&self) -> bool {
        self.adaptive_on || self.adaptive_off
    }

    pub(super) fn form<T: Scalar>(&self, d: usize) -> Form<T> {
        Form {
            temperature: Temperature {
                beta: T::of(self.beta),
                eta: T::of(self.eta),
                iota: T::of(self.iota),
                half_d: T::of(d as f64 / 2.0),
            },
            d,
            lambda: T::of(self.lambda),
            adaptive: [self.adaptive_on, self.adaptive_off],
            constant: self.constant.map(T::of),
        }
    }

    pub(super) fn params(&self, k: &View) -> Params {
        let d = k.dims()[2];
        let half_d = d as f64 / 2.0;
        let reals = [self.lambda, self.beta, self.eta, self.iota, half_d];
        Params {
            rows: (k.elements() / d) as u32,
            d: d as u32,
            reals: reals.map(|v| v as f32),
            total: k.elements() as u32,
            adaptive: [self.adaptive_on.into(), self.adaptive_off.into()],
            constant: self.constant.map(|v| v as f32),
        }
    }

    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let form = self.form(io.input_types[0].dims()[2]);
        let k = io.input(0);
        let r = self.adaptive().then(|| io.input(1));
        barlow_loss::barlow_loss(&form, k, r, io.output(0));
    }
}
