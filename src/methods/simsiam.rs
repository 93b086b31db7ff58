//! SimSiam (Chen & He, CVPR 2021), plain and with AMCL's Eq. (2.2): no negatives; a predictor and a stop-gradient keep it from collapsing.

use super::loss::{Amcl, Built, simsiam};
use super::{Method, with_scorer};
use crate::graph::{Graph, Result, TensorId};
use crate::nn::heads::Mlp;
use crate::nn::resnet::ResNet;
use crate::nn::{Model, repeat};
use crate::ops::reshape::Reshape;
use crate::ops::stop_gradient::StopGradient;

/// What the training graph is built from.
#[derive(Clone, Debug)]
pub struct SimSiam {
    /// Encoder.
    pub encoder: ResNet,
    /// Projectors, one a head, or one for all heads: Table 2 of the AMCL paper prints the target h without a head index.
    pub projector: Mlp,
    /// Predictors, one a head; `None`: the projections themselves predict, which collapses (the paper's ablation; a demonstration).
    pub predictor: Option<Mlp>,
    /// The AMCL loss; `None`: the negative cosine.
    pub amcl: Option<Amcl>,
}

impl SimSiam {
    /// View -> features, predictions [c,B,d'] and targets [c,B,d'] without gradient.
    fn branch(&self, g: &mut Graph, m: &mut Model, view: TensorId) -> Result<[TensorId; 3]> {
        let f = self.encoder.build(g, m, view, true)?;
        let z = self.projector.build(g, m, "head", f)?;
        let mut target = g.push1(StopGradient, &[z])?;
        let Some(predictor) = &self.predictor else {
            return Ok([f, z, target]);
        };
        let &[own, b, d] = g.dims(z) else {
            return Ok([f, z, target]);
        };
        let mut input = z;
        if own < predictor.heads {
            let shape = [b, d].into();
            input = g.push1(Reshape { shape }, &[z])?;
            let copies = repeat(g, target, predictor.heads)?;
            let shape = [predictor.heads, b, d].into();
            target = g.push1(Reshape { shape }, &[copies])?;
        }
        Ok([f, predictor.build(g, m, "predictor", input)?, target])
    }
}

impl Method for SimSiam {
    fn encoder(&self) -> &ResNet {
        &self.encoder
    }

    fn head(&self) -> &Mlp {
        &self.projector
    }

    fn anchors(&self, g: &mut Graph, m: &mut Model, z: TensorId) -> Result<TensorId> {
        match &self.predictor {
            Some(predictor) => predictor.build(g, m, "predictor", z),
            None => Ok(z),
        }
    }

    fn loss(&self, g: &mut Graph, m: &mut Model, views: &[TensorId]) -> Result<Built> {
        let [f1, p1, z1] = self.branch(g, m, views[0])?;
        let [f2, p2, z2] = self.branch(g, m, views[1])?;
        let built = match &self.amcl {
            None => simsiam::simsiam(g, (p1, z1), (p2, z2))?,
            Some(a) => with_scorer(g, m, a, |g, s| {
                simsiam::amcl_simsiam(g, (p1, z1), (p2, z2), a, s)
            })?,
        };
        Ok(Built {
            features: vec![f1, f2],
            embedding: Some(z1),
            ..built
        })
    }
}
