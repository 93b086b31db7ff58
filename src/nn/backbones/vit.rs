//! Vision Transformers (Dosovitskiy et al., ICLR 2021), pre-norm, with a class token. Names of parameters are timm's.

mod files;
mod layers;

pub use layers::{VitLayers, mean_behind_class};

use super::{Backbone, Card, Family, Network};
use crate::nn::Net;
use crate::nn::import::Named;
use crate::nn::transformer::Recompute;
use crate::settings::{self, Section, between};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use toml::Table;

/// Where tokens learn their place from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Positions {
    /// A fixed table of sines and cosines (MAE, MoCo v3).
    #[default]
    Sincos,
    /// Learned numbers, which start as normal with deviation 0.02 (timm).
    Learned,
}

/// What the feature of an image is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pool {
    /// The class token.
    #[default]
    Token,
    /// The mean over the patches' tokens.
    Mean,
}

impl Pool {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Token, Self::Mean];

    /// Its name in settings, flags and results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Mean => "mean",
        }
    }
}

impl std::fmt::Display for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Token => "class token",
            Self::Mean => "mean over patches",
        })
    }
}

/// A network's shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Vit {
    /// Side of the images.
    pub image: usize,
    /// Side of a patch, which divides the image's.
    pub patch: usize,
    /// Numbers of a token.
    pub dim: usize,
    /// Blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Hidden numbers of a block's MLP.
    pub hidden: usize,
    /// Position embeddings.
    pub positions: Positions,
    /// The feature.
    pub pool: Pool,
    /// The projection of patches stays as it was drawn (MoCo v3's frozen random projection).
    pub frozen_patches: bool,
    /// What the backward pass makes a second time.
    pub recompute: Recompute,
}

crate::section! {
    /// Settings of `[model]` for a Vision Transformer.
    Settings {
        /// Side of a patch in pixels. It divides the image's side.
        patch: usize = 4 => between(1.0, 1024.0),
        /// Numbers of a token; 0: the name's (tiny 192, small 384, base 768, large 1024). The heads divide it.
        dim: usize = 0 => between(0.0, 16384.0),
        /// Blocks; 0: the name's (12; large 24).
        depth: usize = 0 => between(0.0, 256.0),
        /// Attention heads; 0: the name's (3, 6, 12, 16).
        heads: usize = 0 => between(0.0, 256.0),
        /// Hidden numbers of a block's MLP for each of a token's.
        mlp_ratio: f32 = 4.0 => between(0.01, 64.0),
        /// `sincos`: a fixed table of sines and cosines; `learned`.
        positions: Positions = Positions::Sincos,
        /// The feature of an image: the class `token`, or the `mean` over the patches.
        pool: Pool = Pool::Token,
        /// Leave the projection of patches as it was drawn, which steadies contrastive training (MoCo v3). All else then
        /// starts as in MoCo v3's code too: queries, keys and values each by itself, the class token near zero.
        frozen_patches: bool = false,
        /// What training makes a second time in the backward pass to save memory: `none`; `pointwise`, layer norm and
        /// GELU; `blocks`, all of a block from its input, at the price of a second forward pass.
        recompute: Recompute = Recompute::None,
    }
}

/// Vision Transformers.
pub static FAMILY: Family = Family {
    names: &["vit_tiny", "vit_small", "vit_base", "vit_large"],
    complete: |given| settings::complete::<Settings>("model", given),
    keys: settings::keys::<Settings>,
    fields: Settings::fields,
    build,
};

/// Most tokens of an image.
const TOKENS: usize = 1 << 16;

/// Sizes by name: numbers of a token, blocks, heads (Dosovitskiy et al.; Touvron et al., ICML 2021).
fn sizes(name: &str) -> Option<[usize; 3]> {
    match name {
        "vit_tiny" => Some([192, 12, 3]),
        "vit_small" => Some([384, 12, 6]),
        "vit_base" => Some([768, 12, 12]),
        "vit_large" => Some([1024, 24, 16]),
        _ => None,
    }
}

fn build(name: &str, given: &Table, side: usize) -> std::result::Result<Arc<dyn Backbone>, String> {
    let s: Settings = settings::typed(given)?;
    let named = sizes(name).ok_or_else(|| format!("no Vision Transformer `{name}`"))?;
    let or = |value: usize, default| if value == 0 { default } else { value };
    let (dim, depth) = (or(s.dim, named[0]), or(s.depth, named[1]));
    let heads = or(s.heads, named[2]);
    if !side.is_multiple_of(s.patch) {
        let near: Vec<String> = (1..=side)
            .filter(|p| side.is_multiple_of(*p) && p.abs_diff(s.patch) <= s.patch)
            .map(|p| p.to_string())
            .collect();
        return Err(format!(
            "model.patch {} does not divide model.image_size {side}; patches of {} px do",
            s.patch,
            near.join(", ")
        ));
    }
    let grid = side / s.patch;
    if grid * grid >= TOKENS {
        return Err(format!(
            "model.patch {} cuts an image of {side} px into {} patches; there must be fewer than {TOKENS}",
            s.patch,
            grid * grid
        ));
    }
    if !dim.is_multiple_of(heads) {
        return Err(format!("model.heads {heads} do not divide model.dim {dim}"));
    }
    if s.positions == Positions::Sincos && !dim.is_multiple_of(4) {
        return Err(format!(
            "model.dim {dim} is no multiple of 4, which a table of sines and cosines needs; or \
             model.positions = \"learned\""
        ));
    }
    Ok(Arc::new(Vit {
        image: side,
        patch: s.patch,
        dim,
        depth,
        heads,
        hidden: ((dim as f32 * s.mlp_ratio).round() as usize).max(1),
        positions: s.positions,
        pool: s.pool,
        frozen_patches: s.frozen_patches,
        recompute: s.recompute,
    }))
}

impl Vit {
    /// Patches along a side.
    pub fn grid(&self) -> usize {
        self.image / self.patch
    }
}

impl Backbone for Vit {
    fn width(&self) -> usize {
        self.dim
    }

    /// Embeddings, every block, the last norm: MAE's layer ids.
    fn depth(&self) -> usize {
        self.depth + 2
    }

    fn blocks(&self) -> usize {
        self.depth
    }

    fn layers(&self, net: &mut Net<'_>) -> Box<dyn Network> {
        Box::new(self.declare(net))
    }

    fn vit(&self) -> Option<&Vit> {
        Some(self)
    }

    fn adapt(
        &self,
        file: &mut Named,
        network: Option<&Value>,
        note: &mut dyn FnMut(String),
    ) -> std::result::Result<(), String> {
        self.adapt_file(file, network, note)
    }

    /// timm's function for ViT-Ti takes every size. Its mean has the norm in front (`fc_norm` false), as ours has it.
    fn card(&self) -> Card {
        let shape = (self.dim, self.depth, self.heads);
        let architecture = match (shape, self.patch, self.image) {
            ((384, 12, 6), 16, 224) => "vit_small_patch16_224",
            ((768, 12, 12), 16, 224) => "vit_base_patch16_224",
            ((1024, 24, 16), 16, 224) => "vit_large_patch16_224",
            _ => "vit_tiny_patch16_224",
        };
        // timm rounds the product with the width down.
        let exact = self.hidden as f64 / self.dim as f64;
        let ratio = match (self.dim as f64 * exact) as usize == self.hidden {
            true => exact,
            false => (self.hidden as f64 + 0.5) / self.dim as f64,
        };
        let pool = match self.pool {
            Pool::Token => "token",
            Pool::Mean => "avg",
        };
        Card {
            architecture: Some(architecture),
            arguments: json!({
                "img_size": self.image, "patch_size": self.patch, "embed_dim": self.dim, "depth": self.depth,
                "num_heads": self.heads, "mlp_ratio": ratio, "global_pool": pool, "fc_norm": false,
            }),
            first_conv: "patch_embed.proj",
            classifier: "head",
            network: json!({
                "family": "vit", "image_size": self.image, "patch": self.patch, "dim": self.dim, "depth": self.depth,
                "heads": self.heads, "hidden": self.hidden, "pool": self.pool,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Graph, TensorType};
    use crate::nn::{Mode, Model};

    fn vit(name: &str, set: &str, side: usize) -> std::result::Result<Arc<dyn Backbone>, String> {
        let given = (FAMILY.complete)(&set.parse().unwrap())?;
        (FAMILY.build)(name, &given, side)
    }

    fn declared(net: &dyn Backbone) -> Model {
        let (mut g, mut m) = (Graph::new(), Model::default());
        net.layers(&mut Net::new(&mut g, &mut m, Mode::Train));
        m
    }

    /// timm's counts with `pos_embed` and `cls_token`, without the classifier.
    #[test]
    fn parameter_counts_are_timms() {
        for (name, count) in [
            ("vit_tiny", 5_524_416),
            ("vit_small", 21_665_664),
            ("vit_base", 85_798_656),
            ("vit_large", 303_301_632),
        ] {
            let net = vit(name, "patch = 16", 224).unwrap();
            let m = declared(net.as_ref());
            let found: usize = m
                .params
                .iter()
                .map(|p| m.dims(p).iter().product::<usize>())
                .sum();
            assert_eq!(found, count, "{name}");
            let timm = format!("{name}_patch16_224");
            assert_eq!(net.card().architecture, Some(timm.as_str()));
        }
        // Any other shape is ViT-Ti with arguments.
        let set = "patch = 4\ndim = 49\nheads = 7\nmlp_ratio = 2.0\npool = \"mean\"\npositions = \"learned\"";
        let card = vit("vit_base", set, 32).unwrap().card();
        let args = card.arguments;
        assert_eq!(card.architecture, Some("vit_tiny_patch16_224"));
        assert_eq!(
            (&args["img_size"], &args["num_heads"]),
            (&json!(32), &json!(7))
        );
        assert_eq!(
            (&args["global_pool"], &args["fc_norm"]),
            (&json!("avg"), &json!(false))
        );
        for dim in 1..400 {
            let net = vit(
                "vit_tiny",
                &format!("heads = 1\ndim = {dim}\npositions = \"learned\"\nmlp_ratio = 1.7"),
                8,
            );
            let card = net.unwrap().card();
            let hidden = dim as f64 * card.arguments["mlp_ratio"].as_f64().unwrap();
            assert_eq!(json!(hidden as usize), card.network["hidden"], "{dim}");
        }
    }

    #[test]
    fn names_are_timms_and_what_is_fixed_does_not_train() {
        let of = |set: &str| declared(vit("vit_tiny", set, 8).unwrap().as_ref());
        let m = of("depth = 1");
        let names: Vec<&str> = m.params.iter().map(|p| p.file_name.as_str()).collect();
        let mut want = vec![
            "patch_embed.proj.weight",
            "patch_embed.proj.bias",
            "cls_token",
            "pos_embed",
        ];
        let block = [
            "norm1",
            "attn.qkv",
            "attn.proj",
            "norm2",
            "mlp.fc1",
            "mlp.fc2",
        ];
        let block: Vec<String> = block
            .iter()
            .flat_map(|l| ["weight", "bias"].map(|leaf| format!("blocks.0.{l}.{leaf}")))
            .collect();
        want.extend(block.iter().map(String::as_str));
        want.extend(["norm.weight", "norm.bias"]);
        assert_eq!(names, want);
        let fixed = |m: &Model| -> Vec<String> {
            let fixed = m.params.iter().filter(|p| !p.trained);
            fixed.map(|p| p.name.clone()).collect()
        };
        assert_eq!(fixed(&m), ["pos_embed"]);
        assert_eq!(fixed(&of("positions = \"learned\"")), [""; 0]);
        assert_eq!(
            fixed(&of("frozen_patches = true")),
            [
                "patch_embed.proj.weight",
                "patch_embed.proj.bias",
                "pos_embed"
            ]
        );
    }

    #[test]
    fn shapes_that_cannot_be_are_refused_in_words() {
        for (set, side, want) in [
            (
                "patch = 5",
                32,
                "does not divide model.image_size 32; patches of 1, 2, 4, 8 px do",
            ),
            ("patch = 1", 512, "into 262144 patches"),
            ("heads = 5", 32, "model.heads 5 do not divide model.dim 192"),
            ("dim = 6\nheads = 2", 32, "no multiple of 4"),
            ("width = 3", 32, "no key model.width"),
        ] {
            let e = vit("vit_tiny", set, side).unwrap_err();
            assert!(e.contains(want), "{set}: {e}");
        }
        assert!(
            vit(
                "vit_tiny",
                "dim = 6\nheads = 2\npositions = \"learned\"",
                32
            )
            .is_ok()
        );
    }

    #[test]
    fn features_are_the_token_or_the_mean() {
        let (mut g, mut m) = (Graph::new(), Model::default());
        let x = g.input("x", TensorType::f32([2, 8, 8, 3]));
        for pool in ["token", "mean"] {
            let net = vit("vit_tiny", &format!("depth = 1\npool = \"{pool}\""), 8).unwrap();
            let mut c = Net::new(&mut g, &mut m, Mode::Train);
            let f = net.layers(&mut c).call(&mut c, x).unwrap();
            assert_eq!(c.dims(f.pooled), [2, 192]);
            assert_eq!(c.dims(f.tokens.unwrap()), [2, 5, 192]);
        }
    }
}
