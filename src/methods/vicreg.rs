//! VICReg (Bardes et al., ICLR 2022), plain: views alike (invariance), channels that vary (variance) and do not
//! repeat each other (covariance).

use super::loss::{Amcl, LossOutput, Pairs};
use super::recipe::{no_check, no_pairs, no_safeguards};
use super::{
    Batch, Diagnostics, Embedded, Embedder, Method, Recipe, Spec, SplitLoss, Temperatures,
    embed_and_loss, pair_temperatures,
};
use crate::graph::{Graph, Result, TensorId};
use crate::nn::heads::Mlp;
use crate::nn::{Backbone, Net};
use crate::ops::add::Add;
use crate::ops::constant::Constant;
use crate::ops::deviation_hinge::DeviationHinge;
use crate::ops::gemm::Gemm;
use crate::ops::l2_normalize::L2Normalize;
use crate::ops::mul::Mul;
use crate::ops::reshape::Reshape;
use crate::ops::row_dot::RowDot;
use crate::ops::scale::Scale;
use crate::ops::sum_all::SumAll;
use crate::settings::{self, at_least};
use std::sync::Arc;

crate::section! {
    /// Settings of `[method]`.
    Settings {
        /// Weights of invariance, variance and covariance.
        weights: [f64; 3] = [25.0, 25.0, 1.0] => at_least(0.0),
    }
}

/// What the training graph is built from.
#[derive(Clone, Debug)]
pub struct VicReg {
    /// Encoder.
    pub encoder: Arc<dyn Backbone>,
    /// Projector (one head).
    pub projector: Mlp,
    /// Weights of invariance, variance and covariance (25, 25, 1 in the paper).
    pub weights: [f64; 3],
}

/// The method for configurations.
pub static SPEC: Spec = Spec {
    name: "vicreg",
    title: "VICReg",
    help: "views agree, channels vary and do not repeat each other; no negatives",
    recipe: &["heads.layers=3", "heads.out=512"],
    amcl: false,
    couples_batch: true,
    has_temperature: false,
    complete: |given| settings::complete::<Settings>("method", given),
    keys: settings::keys::<Settings>,
    safeguards: no_safeguards,
    check: no_check,
    pairs: no_pairs,
    build: |r: &Recipe, encoder| {
        let s: Settings = r.own()?;
        Ok(Box::new(VicReg {
            encoder,
            projector: r.projector(true),
            weights: s.weights,
        }))
    },
};

/// Added to variances.
const EPS: f32 = 1e-4;

fn total(g: &mut Graph, x: TensorId, factor: f64) -> Result<TensorId> {
    let sum = g.push1(SumAll, &[x])?;
    g.push1(Scale { factor }, &[sum])
}

fn minus(g: &mut Graph, a: TensorId, b: TensorId) -> Result<TensorId> {
    let b = g.push1(Scale { factor: -1.0 }, &[b])?;
    g.push1(Add, &[a, b])
}

fn filled(g: &mut Graph, shape: [usize; 2], value: f32) -> Result<TensorId> {
    let op = Constant {
        shape: shape.into(),
        value,
    };
    g.push1(op, &[])
}

/// Variance and covariance terms of z [B,d]: mean over channels of max(0, 1 - deviation), and the sum of squared
/// covariances of different channels over d.
fn spread(g: &mut Graph, z: TensorId) -> Result<[TensorId; 2]> {
    let (b, d) = (g.dims(z)[0], g.dims(z)[1]);
    let row = filled(g, [1, b], 1.0)?;
    let column = filled(g, [b, 1], 1.0 / b as f32)?;
    let sums = g.push1(Gemm::default(), &[row, z])?;
    let means = g.push1(Gemm::default(), &[column, sums])?;
    let centred = minus(g, z, means)?;
    let factor = 1.0 / (b.max(2) - 1) as f64;
    let squares = g.push1(Mul, &[centred, centred])?;
    let sums = g.push1(Gemm::default(), &[row, squares])?;
    let variance = g.push1(Scale { factor }, &[sums])?;
    let lack = g.push1(DeviationHinge { eps: EPS }, &[variance])?;
    let by_columns = Gemm {
        trans_a: true,
        ..Gemm::default()
    };
    let products = g.push1(by_columns, &[centred, centred])?;
    let covariance = g.push1(Scale { factor }, &[products])?;
    let all = g.push1(Mul, &[covariance, covariance])?;
    let own = g.push1(Mul, &[variance, variance])?;
    let (all, own) = (
        total(g, all, 1.0 / d as f64)?,
        total(g, own, 1.0 / d as f64)?,
    );
    Ok([total(g, lack, 1.0 / d as f64)?, minus(g, all, own)?])
}

/// The loss of z1, z2 [B,d]: w0 mean (z1 - z2)^2 + w1/2 (v1 + v2) + w2 (c1 + c2), as the authors' code weighs it.
///
/// # Errors
/// Shapes that do not fit.
pub fn vicreg(g: &mut Graph, z1: TensorId, z2: TensorId, w: [f64; 3]) -> Result<TensorId> {
    g.scope("loss", |g| {
        let difference = minus(g, z1, z2)?;
        let squares = g.push1(Mul, &[difference, difference])?;
        let count = g.ty(z1).elements() as f64;
        let mut loss = total(g, squares, w[0] / count)?;
        for z in [z1, z2] {
            let [variance, covariance] = spread(g, z)?;
            for (term, factor) in [(variance, 0.5 * w[1]), (covariance, w[2])] {
                let term = g.push1(Scale { factor }, &[term])?;
                loss = g.push1(Add, &[loss, term])?;
            }
        }
        Ok(loss)
    })
}

impl Method for VicReg {
    fn encoder(&self) -> &dyn Backbone {
        self.encoder.as_ref()
    }

    fn build(&self, net: &mut Net<'_>, batch: &Batch) -> Result<LossOutput> {
        embed_and_loss(self, net, batch)
    }

    fn split(&self) -> Option<&dyn SplitLoss> {
        Some(self)
    }

    fn diagnostics(&self) -> Option<&dyn Diagnostics> {
        Some(self)
    }
}

impl SplitLoss for VicReg {
    fn embed(&self, net: &mut Net<'_>, views: &[TensorId]) -> Result<Embedded> {
        Embedder::new(net, self.encoder(), &self.projector).each(net, views)
    }

    fn loss(&self, net: &mut Net<'_>, heads: &[TensorId]) -> Result<LossOutput> {
        let (mut z, mut unit) = (Vec::new(), Vec::new());
        for t in heads {
            unit.push(net.push1(L2Normalize { eps: 1e-12 }, &[*t])?);
            let shape = [net.dims(*t)[1], net.dims(*t)[2]].into();
            z.push(net.push1(Reshape { shape }, &[*t])?);
        }
        let loss = vicreg(net, z[0], z[1], self.weights)?;
        let similarity = net.push1(RowDot, &[unit[0], unit[1]])?;
        Ok(LossOutput {
            embedding: Some(unit[0]),
            ..LossOutput::of_pairs(loss, similarity, None, Pairs::All)
        })
    }
}

impl Diagnostics for VicReg {
    fn projector(&self) -> &Mlp {
        &self.projector
    }

    fn temperatures(&self) -> std::result::Result<(Amcl, Temperatures), &'static str> {
        pair_temperatures(None, Temperatures::PositivePairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::host::HostExecutor;
    use crate::graph::{Executor, HostData, StepScalars, TensorType};
    use crate::ops;

    /// The authors' formula in PyTorch (float64) on the same numbers; the means depend on every row, so one entry of
    /// a gradient tells of all terms.
    #[test]
    fn equals_pytorchs() {
        let (b, d) = (7, 5);
        let z1 = (0..b * d).map(|i| ((i * 37) % 41) as f64 / 20.0 - 1.0);
        let z2 = (0..b * d).map(|i| ((i * 29 + 3) % 31) as f64 / 25.0 - 0.5);
        let mut g = Graph::new();
        let inputs = ["z1", "z2"].map(|n| g.input(n, TensorType::f32([b, d])));
        let loss = vicreg(&mut g, inputs[0], inputs[1], [25.0, 25.0, 1.0]).unwrap();
        let grads = ops::backward(&mut g, loss, &inputs).unwrap();
        let grads: Vec<TensorId> = grads.into_iter().flatten().collect();
        let mut exec = HostExecutor::<f64>::new();
        let program = exec.compile(&g, &[loss, grads[0], grads[1]]).unwrap();
        exec.upload(program, inputs[0], &HostData::F64(z1.collect()))
            .unwrap();
        exec.upload(program, inputs[1], &HostData::F64(z2.collect()))
            .unwrap();
        exec.run(program, &StepScalars::default()).unwrap();
        let mut at = |t: TensorId, i: usize| exec.fetch(program, t).unwrap().to_f64()[i];
        // 1/B and eps are f32 constants of the graph: relative errors of 1e-8.
        for (got, want) in [
            (at(loss, 0), 26.395_583_596_656),
            (at(grads[0], 0), -0.554_304_589_612),
            (at(grads[0], 17), 0.634_702_577_174),
            (at(grads[1], 34), -0.113_667_528_268),
        ] {
            assert!((got - want).abs() < 1e-6 * want.abs(), "{got} {want}");
        }
    }
}
