//! MACL, a rival of the temperature (Huang et al., ICML 2023): tau = tau0 (1 + alpha (A - A0)), A the mean similarity
//! of the batch's positives, and each anchor's loss weighed with 1 / (1 - P), P the share of its positive.
//! Temperature and weight are constants to the gradient, and computed on the device.

use crate::graph::{Graph, Result, TensorId};
use crate::ops::broadcast_scalar::BroadcastScalar;
use crate::ops::exp::Exp;
use crate::ops::positives::Positives;
use crate::ops::reciprocal::Reciprocal;
use crate::reference::top_k::Layout;

/// Constants of the rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Macl {
    /// How much the temperature follows the alignment, 0 to 1.
    pub alpha: f64,
    /// Alignment at which the temperature is tau0.
    pub a0: f64,
}

impl Macl {
    /// Similarities [c,a,n] times tau0/tau, so that dividing them by tau0 divides them by tau.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub(super) fn scaled(&self, g: &mut Graph, layout: Layout, s: TensorId) -> Result<TensorId> {
        let positives = g.push1(Positives { layout }, &[s])?;
        let count: usize = g.dims(positives).iter().product();
        let sum = g.sum(positives)?;
        let rule = Reciprocal {
            a: self.alpha / count as f64,
            b: 1.0 - self.alpha * self.a0,
        };
        let factor = g.push1(rule, &[sum])?;
        let shape = g.dims(s).into();
        let factor = g.push1(BroadcastScalar { shape }, &[factor])?;
        let factor = g.stop_gradient(factor)?;
        g.mul(s, factor)
    }

    /// Losses -log P [c,a] times 1 / (1 - P).
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub(super) fn weighed(&self, g: &mut Graph, each: TensorId) -> Result<TensorId> {
        let p = g.push1(Exp { factor: -1.0 }, &[each])?;
        let weight = g.push1(Reciprocal { a: -1.0, b: 1.0 }, &[p])?;
        g.mul(each, weight)
    }
}
