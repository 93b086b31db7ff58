//! Weights of other code bases for a Vision Transformer: timm, MAE, MoCo v3, DINO. Their names and layouts are ours;
//! what differs is told here.
//!
//! Position embeddings are taken as they are in the file, whichever way they were made: MoCo v3's table of sines and
//! cosines has rows before columns, MAE's and ours columns before rows, and what matters is the table that the weights
//! were trained with. Those of another number of patches are resized as MAE does it
//! ([`positions::resized`]); timm resizes with a filter against aliasing, which differs.

use super::{Positions, Vit};
use crate::nn::import::{Named, Weights};
use crate::nn::positions;
use serde_json::Value;
use std::collections::BTreeSet;

type Result<T> = std::result::Result<T, String>;

/// What a block's tensors are called.
const OF_BLOCKS: [&str; 6] = [
    "norm1",
    "attn.qkv",
    "attn.proj",
    "norm2",
    "mlp.fc1",
    "mlp.fc2",
];

/// Tensors outside the blocks with which a network computes something else.
const FOREIGN: [&str; 4] = ["reg_token", "register_tokens", "dist_token", "norm_pre."];

/// Largest difference of two tables of sines and cosines that are the same: both are rounded to f32, or one to half
/// precision (2^-11 of values up to 1).
const ALIKE: f32 = 1e-3;

/// The number of a name's block, and the rest of the name.
fn of_block(name: &str) -> Option<(usize, &str)> {
    let (number, leaf) = name.strip_prefix("blocks.")?.split_once('.')?;
    Some((number.parse().ok()?, leaf))
}

/// Whether this Vision Transformer has such a tensor in its blocks.
fn is_known(leaf: &str) -> bool {
    let layer = leaf.strip_suffix(".weight").or(leaf.strip_suffix(".bias"));
    layer.is_some_and(|l| OF_BLOCKS.contains(&l))
}

/// `a, b and c`.
fn listed(parts: &[String]) -> String {
    match parts {
        [first @ .., last] if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        _ => parts.concat(),
    }
}

impl Vit {
    /// Refuses weights of another size in one line that names both and the settings that would fit.
    fn same_size(&self, file: &Named, network: Option<&Value>) -> Result<()> {
        let shape = |name: &str, axis: usize| {
            let w = file.get(name)?;
            w.shape.get(axis).copied()
        };
        let projection = "patch_embed.proj.weight";
        let dim = shape(projection, 0).or(shape("cls_token", 2));
        let dim = dim.or(shape("blocks.0.norm1.weight", 0));
        let depth = file.keys().filter_map(|n| Some(of_block(n)?.0 + 1)).max();
        let heads = network
            .and_then(|n| n["heads"].as_u64())
            .map(|h| h as usize);
        let hidden = shape("blocks.0.mlp.fc1.weight", 0);
        let theirs = [
            ("dim", dim, self.dim),
            ("depth", depth, self.depth),
            ("heads", heads, self.heads),
            ("patch", shape(projection, 2), self.patch),
            ("hidden", hidden, self.hidden),
        ];
        let (mut file_has, mut model_has, mut settings) = (Vec::new(), Vec::new(), Vec::new());
        for (what, theirs, ours) in theirs {
            let Some(theirs) = theirs.filter(|t| *t != ours) else {
                continue;
            };
            // Another width of tokens changes the MLP's with it: only another ratio is told.
            let width = dim.unwrap_or(self.dim).max(1);
            if what == "hidden" && theirs * self.dim == ours * width {
                continue;
            }
            file_has.push(format!("{what} {theirs}"));
            model_has.push(format!("{what} {ours}"));
            settings.push(match what {
                "hidden" => format!("model.mlp_ratio = {}", theirs as f64 / width as f64),
                _ => format!("model.{what} = {theirs}"),
            });
        }
        if settings.is_empty() {
            return Ok(());
        }
        Err(format!(
            "these are weights of a Vision Transformer of {}, and this model has {}: set {}, or take other weights",
            listed(&file_has),
            listed(&model_has),
            listed(&settings)
        ))
    }

    /// Refuses weights of a network that computes something else with them.
    fn same_form(file: &Named) -> Result<()> {
        let foreign = |name: &&String| {
            let of_block = of_block(name).is_some_and(|(_, leaf)| !is_known(leaf));
            of_block || FOREIGN.iter().any(|f| name.starts_with(f))
        };
        let foreign: BTreeSet<&String> = file.keys().filter(foreign).collect();
        let Some(first) = foreign.first() else {
            return Ok(());
        };
        Err(format!(
            "these are weights of another kind of Vision Transformer: {} of their tensors, such as `{first}`, have no \
             place in this one, whose features would not be theirs; take weights of a plain one (timm's vit_*, MAE, \
             MoCo v3, DINO)",
            foreign.len()
        ))
    }

    /// Position embeddings for this number of patches.
    fn adapt_positions(&self, file: &mut Named, note: &mut dyn FnMut(String)) {
        let Some(w) = file.get_mut("pos_embed") else {
            return;
        };
        let &[1, rows, d] = w.shape.as_slice() else {
            return;
        };
        let (n, m) = (rows.isqrt(), self.grid());
        let prefix = rows - n * n;
        if d != self.dim || rows == 0 || prefix > 1 {
            return;
        }
        if prefix == 0 {
            w.values.splice(..0, vec![0.0; d]);
            note("pos_embed: the file has no position of the class token, which gets zeros".into());
        }
        if n != m {
            w.values = positions::resized(&w.values, (n, m), d, 1);
            note(format!(
                "pos_embed: the file's {n}x{n} positions were resized to {m}x{m} (bicubic, as MAE does it)"
            ));
        }
        w.shape = vec![1, 1 + m * m, d];
        let table = positions::sin_cos(m, d, 1);
        let other = w
            .values
            .iter()
            .zip(&table)
            .any(|(a, b)| (a - b).abs() > ALIKE);
        if self.positions == Positions::Sincos && n == m && other {
            note(
                "pos_embed: the file's is not the table of sines and cosines with columns first; it is taken as it is, \
                 and training does not change it (model.positions = \"learned\" does)"
                    .into(),
            );
        }
    }

    /// [`crate::nn::Backbone::adapt`].
    pub(super) fn adapt_file(
        &self,
        file: &mut Named,
        network: Option<&Value>,
        note: &mut dyn FnMut(String),
    ) -> Result<()> {
        self.same_size(file, network)?;
        Self::same_form(file)?;
        let has_norm = ["norm.weight", "norm.bias"].map(|n| file.contains_key(n));
        let of_mean = ["weight", "bias"].map(|leaf| file.get(&format!("fc_norm.{leaf}")).cloned());
        if let ([false, false], [Some(weight), Some(bias)]) = (has_norm, of_mean) {
            let mut rename = |leaf: &str, w: Weights| {
                file.remove(&format!("fc_norm.{leaf}"));
                file.insert(format!("norm.{leaf}"), w);
            };
            rename("weight", weight);
            rename("bias", bias);
            note(
                "fc_norm: the file normalises the mean of the tokens, this model every token (norm); it starts from \
                 fc_norm's scale and shift, and its features are not that network's"
                    .into(),
            );
        }
        self.adapt_positions(file, note);
        let stated = network.is_some_and(|n| n["heads"].is_u64());
        if !stated && file.keys().any(|n| of_block(n).is_some()) {
            note(format!(
                "heads: weights alone do not tell how many attention heads they were trained with; model.heads {} are \
                 assumed (MoCo v3's ViT-S has 12, other ViT-S 6)",
                self.heads
            ));
        }
        Ok(())
    }
}
