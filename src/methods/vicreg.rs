//! VICReg (Bardes et al., ICLR 2022), plain: views alike (invariance), channels that vary (variance) and do not
//! repeat each other (covariance).

use super::loss::{Amcl, LossOutput, Pairs};
use super::{
    Batch, Diagnostics, Embedded, Embedder, Method, Recipe, Spec, SplitLoss, Temperatures,
    embed_and_loss, pair_temperatures,
};
use crate::graph::{Graph, Result, TensorId};
use crate::nn::heads::Mlp;
use crate::nn::{Backbone, Net};
use crate::ops::deviation_hinge::DeviationHinge;
use crate::settings::between;
use std::sync::Arc;

crate::section! {
    /// Settings of `[method]`.
    Settings {
        /// Weights of invariance, variance and covariance.
        weights: [f64; 3] = [25.0, 25.0, 1.0] => between(0.0, 1e6),
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
    recipe: &["heads.layers=3", "heads.out=512"],
    couples_batch: true,
    needs_large_norm: true,
    ..Spec::new::<Settings>(
        "vicreg",
        "VICReg",
        "views agree, channels vary and do not repeat each other; no negatives",
        build,
    )
};

fn build(r: &Recipe, encoder: Arc<dyn Backbone>) -> std::result::Result<Box<dyn Method>, String> {
    let s: Settings = r.own()?;
    Ok(Box::new(VicReg {
        encoder,
        projector: r.projector(true),
        weights: s.weights,
    }))
}

/// Added to variances.
const EPS: f32 = 1e-4;

/// Variance and covariance terms of z [B,d]: mean over channels of max(0, 1 - deviation), and the sum of squared
/// covariances of different channels over d.
fn spread(g: &mut Graph, z: TensorId) -> Result<[TensorId; 2]> {
    let (b, d) = (g.dims(z)[0], g.dims(z)[1]);
    let row = g.constant([1, b], 1.0)?;
    let column = g.constant([b, 1], 1.0 / b as f32)?;
    let sums = g.matmul(row, z)?;
    let means = g.matmul(column, sums)?;
    let centred = g.sub(z, means)?;
    let factor = 1.0 / (b.max(2) - 1) as f64;
    let squares = g.mul(centred, centred)?;
    let sums = g.matmul(row, squares)?;
    let variance = g.scale(sums, factor)?;
    let lack = g.push1(DeviationHinge { eps: EPS }, &[variance])?;
    let products = g.matmul_tn(centred, centred)?;
    let covariance = g.scale(products, factor)?;
    let all = g.mul(covariance, covariance)?;
    let own = g.mul(variance, variance)?;
    let each = 1.0 / d as f64;
    let (all, own) = (g.scaled_sum(all, each)?, g.scaled_sum(own, each)?);
    Ok([g.scaled_sum(lack, each)?, g.sub(all, own)?])
}

/// The loss of z1, z2 [B,d]: w0 mean (z1 - z2)^2 + w1/2 (v1 + v2) + w2 (c1 + c2), as the authors' code weighs it.
///
/// # Errors
/// Shapes that do not fit.
pub fn vicreg(g: &mut Graph, z1: TensorId, z2: TensorId, w: [f64; 3]) -> Result<TensorId> {
    g.scope("loss", |g| {
        let difference = g.sub(z1, z2)?;
        let squares = g.mul(difference, difference)?;
        let count = g.ty(z1).elements() as f64;
        let mut loss = g.scaled_sum(squares, w[0] / count)?;
        for z in [z1, z2] {
            let [variance, covariance] = spread(g, z)?;
            for (term, factor) in [(variance, 0.5 * w[1]), (covariance, w[2])] {
                let term = g.scale(term, factor)?;
                loss = g.add(loss, term)?;
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
    fn embed(&self, net: &mut Net<'_>, batch: &Batch) -> Result<Embedded> {
        Embedder::new(net, self.encoder(), &self.projector).each(net, &batch.views)
    }

    fn loss(&self, net: &mut Net<'_>, heads: &[TensorId]) -> Result<LossOutput> {
        let (mut z, mut unit) = (Vec::new(), Vec::new());
        for t in heads {
            unit.push(net.l2_normalize(*t)?);
            let shape = [net.dims(*t)[1], net.dims(*t)[2]];
            z.push(net.reshape(*t, shape)?);
        }
        let loss = vicreg(net, z[0], z[1], self.weights)?;
        let similarity = net.row_dot(unit[0], unit[1])?;
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
    use crate::graph::{Executor, HostData, TensorType};
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
        let values = [z1.collect(), z2.collect()].map(HostData::F64);
        let inputs: Vec<_> = inputs.into_iter().zip(values).collect();
        let wanted = [loss, grads[0], grads[1]];
        let mut exec = HostExecutor::<f64>::new();
        let got = exec.evaluate(&g, &inputs, &wanted).unwrap();
        let at = |t: usize, i: usize| got[t].to_f64()[i];
        // 1/B and eps are f32 constants of the graph: relative errors of 1e-8.
        for (got, want) in [
            (at(0, 0), 26.395_583_596_656),
            (at(1, 0), -0.554_304_589_612),
            (at(1, 17), 0.634_702_577_174),
            (at(2, 34), -0.113_667_528_268),
        ] {
            assert!((got - want).abs() < 1e-6 * want.abs(), "{got} {want}");
        }
    }
}
