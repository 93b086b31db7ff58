//! Layer-grafted pre-training (Jiang et al., ICLR 2023), plain and with AMCL: MoCo v3 from the weights of a masked
//! autoencoder, whose early layers hardly move. Both encoders start from them; the projector and the predictor are
//! drawn. The projection of patches and the position embeddings stay as the autoencoder left them. The blocks' rates
//! differ by depth (`optim.layer_rates`); a large model is pulled to its start besides.

use super::loss::LossOutput;
use super::mocov3::{self, MocoV3};
use super::recipe::Chosen;
use super::{Batch, Diagnostics, Embedded, Given, Method, Recipe, Spec, SplitLoss, embed_and_loss};
use crate::graph::{Result, StateId, TensorId};
use crate::nn::backbones::vit::Positions;
use crate::nn::{Backbone, Net, Part};
use crate::ops::abs_difference::AbsDifference;
use crate::settings::{Field, Section, between};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

crate::section! {
    /// What it has beside MoCo v3.
    Own {
        /// Weight of the distance from the starting weights, the sum of |w - start| over embeddings and the first
        /// half of the blocks (the paper: 1e-5 for ViT-L); 0: none.
        pull: f64 = 0.0 => between(0.0, 1.0),
    }
}

/// Settings of `[method]`: those of mocov3, and the pull.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    #[serde(flatten)]
    own: Own,
    #[serde(flatten)]
    contrast: mocov3::Settings,
}

impl Section for Settings {
    fn fields() -> Vec<Field> {
        [Own::fields(), mocov3::Settings::fields()].concat()
    }

    fn check_ranges(&self, section: &str) -> std::result::Result<(), String> {
        self.own.check_ranges(section)?;
        self.contrast.check_ranges(section)
    }
}

/// What the training graph is built from.
#[derive(Clone, Debug)]
pub struct Lgp {
    /// MoCo v3, on the encoder that starts from a masked autoencoder's weights.
    pub contrast: MocoV3,
    /// Weight of the distance from the starting weights.
    pub pull: f64,
    /// Layers of the encoder that are pulled to their start: the embeddings, layer 0, and so many blocks.
    pub pulled: usize,
}

/// The method for configurations.
pub static SPEC: Spec = Spec {
    recipe: &["heads.layers=3", "heads.out=256"],
    amcl: true,
    couples_batch: true,
    needs_vit: true,
    starts_from: Some("a masked autoencoder's encoder"),
    has_temperature: true,
    safeguards,
    check,
    ..Spec::new::<Settings>(
        "lgp",
        "LGP",
        "MoCo v3 from the weights of a masked autoencoder, whose early layers hardly move",
        build,
    )
};

fn build(r: &Recipe, encoder: Arc<dyn Backbone>) -> std::result::Result<Box<dyn Method>, String> {
    let s: Settings = r.own()?;
    let blocks = encoder.vit().map_or(0, |v| v.depth);
    Ok(Box::new(Lgp {
        contrast: MocoV3::of(r, &s.contrast, encoder),
        pull: s.own.pull,
        pulled: blocks / 2,
    }))
}

/// MoCo v3's, and the authors' rates: a tenth for the first two thirds of the blocks.
fn safeguards(r: &mut Recipe, given: Given<'_>) {
    mocov3::safeguards(r, given);
    if !given("optim", "layer_rates") && !given("optim", "layer_decay") {
        r.layer_rates = vec![0.1, 0.1, 1.0];
    }
}

fn check(r: &Recipe, encoder: &Chosen<'_>) -> std::result::Result<(), String> {
    let positions = encoder.backbone.vit().map(|v| v.positions);
    if positions == Some(Positions::Learned) {
        return Err(
            "lgp leaves position embeddings as the weights of --init have them, learned ones too: \
             set model.positions to sincos, whose table does not train"
                .into(),
        );
    }
    mocov3::check(r, encoder)
}

impl Lgp {
    /// The distance of the pulled weights from where they started [1].
    fn distance(&self, net: &mut Net<'_>) -> Result<Option<TensorId>> {
        let params = net.model.params.iter();
        let pulled =
            params.filter(|p| p.part == Part::Encoder && p.trained && p.layer <= self.pulled);
        let pulled: Vec<StateId> = pulled.map(|p| p.id).collect();
        let mut sum: Option<TensorId> = None;
        for id in pulled {
            let start = net.model.start_of(id);
            let at = [net.state(id), net.state(start)];
            let each = net.push1(AbsDifference, &at)?;
            let of_one = net.sum(each)?;
            sum = Some(match sum {
                Some(sum) => net.add(sum, of_one)?,
                None => of_one,
            });
        }
        Ok(sum)
    }
}

impl Method for Lgp {
    fn encoder(&self) -> &dyn Backbone {
        self.contrast.encoder()
    }

    fn build(&self, net: &mut Net<'_>, batch: &Batch) -> Result<LossOutput> {
        embed_and_loss(self, net, batch)
    }

    fn split(&self) -> Option<&dyn SplitLoss> {
        Some(self)
    }

    fn momentum(&self) -> Option<[f32; 2]> {
        self.contrast.momentum()
    }

    fn momentum_ahead(&self) -> usize {
        self.contrast.momentum_ahead()
    }

    fn after_step(&self, net: &mut Net<'_>) -> Result<()> {
        self.contrast.after_step(net)
    }

    fn diagnostics(&self) -> Option<&dyn Diagnostics> {
        self.contrast.diagnostics()
    }
}

impl SplitLoss for Lgp {
    fn embed(&self, net: &mut Net<'_>, batch: &Batch) -> Result<Embedded> {
        self.contrast.embed(net, batch)
    }

    /// MoCo v3's loss, and the pull to the start.
    fn loss(&self, net: &mut Net<'_>, z: &[TensorId]) -> Result<LossOutput> {
        let out = self.contrast.loss(net, z)?;
        if self.pull == 0.0 {
            return Ok(out);
        }
        let Some(distance) = net.labelled("pull", |net| self.distance(net))? else {
            return Ok(out);
        };
        let pull = net.scale(distance, self.pull)?;
        let loss = net.add(out.loss, pull)?;
        let terms = vec![("contrast", out.loss), ("distance", distance)];
        Ok(LossOutput { loss, terms, ..out })
    }
}
