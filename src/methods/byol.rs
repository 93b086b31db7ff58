//! BYOL (Grill et al., NeurIPS 2020), plain: the online network predicts the projections of a momentum network. Loss: 2 - 2 cos, both directions.

use super::loss::{Built, simsiam};
use super::{Method, follow, on_branch};
use crate::graph::{Graph, Result, TensorId, TensorType};
use crate::nn::heads::Mlp;
use crate::nn::resnet::ResNet;
use crate::nn::{Model, Norm};
use crate::ops::add::Add;
use crate::ops::constant::Constant;
use crate::ops::scale::Scale;
use crate::ops::stop_gradient::StopGradient;

/// What the training graph is built from.
#[derive(Clone, Debug)]
pub struct Byol {
    /// Encoder.
    pub encoder: ResNet,
    /// Projector, in the momentum branch too.
    pub projector: Mlp,
    /// Predictor.
    pub predictor: Mlp,
}

impl Byol {
    fn project(&self, g: &mut Graph, m: &mut Model, view: TensorId) -> Result<[TensorId; 2]> {
        let f = self.encoder.build(g, m, view, true)?;
        Ok([f, self.projector.build(g, m, "head", f)?])
    }
}

impl Method for Byol {
    fn encoder(&self) -> &ResNet {
        &self.encoder
    }

    fn head(&self) -> &Mlp {
        &self.projector
    }

    fn loss(&self, g: &mut Graph, m: &mut Model, views: &[TensorId]) -> Result<Built> {
        // Every parameter must be declared before the momentum branch copies them.
        let mut scratch = Graph::new();
        let x = scratch.input("view", TensorType::f32(g.dims(views[0])));
        let [_, z] = self.project(&mut scratch, m, x)?;
        self.predictor.build(&mut scratch, m, "predictor", z)?;
        m.branch();

        let (mut online, mut features) = (Vec::new(), Vec::new());
        for view in views {
            let [f, z] = self.project(g, m, *view)?;
            features.push(f);
            online.push(self.predictor.build(g, m, "predictor", z)?);
        }
        let of_targets = Norm {
            track: false,
            ..Norm::default()
        };
        let mut target = |g: &mut Graph, view: TensorId| {
            let [_, z] = on_branch(m, of_targets, |m| self.project(g, m, view))?;
            // Targets are constants, whatever is asked for a gradient.
            g.push1(StopGradient, &[z])
        };
        let (z1, z2) = (target(g, views[0])?, target(g, views[1])?);
        let built = simsiam::simsiam(g, (online[0], z1), (online[1], z2))?;
        // -1/2 cos a direction becomes 2 - 2 cos.
        let four = Constant {
            shape: [1].into(),
            value: 4.0,
        };
        let scaled = g.push1(Scale { factor: 4.0 }, &[built.loss])?;
        let four = g.push1(four, &[])?;
        let loss = g.push1(Add, &[scaled, four])?;
        Ok(Built {
            loss,
            features,
            embedding: Some(z1),
            ..built
        })
    }

    fn after_step(&self, g: &mut Graph, m: &Model) -> Result<()> {
        follow(g, m)
    }
}
