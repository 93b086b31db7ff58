//! Backbones: encoders of images, a file each. All else (training, export, import, probes, features) knows only the
//! trait. [`FAMILIES`] lists them.

pub mod resnet;
pub mod vit;

pub use vit::Pool;

use super::Net;
use super::import::Named;
use crate::graph::{Result, TensorId};
use crate::settings::{Field, did_you_mean};
use serde_json::Value;
use std::fmt::Debug;
use std::sync::Arc;
use toml::Table;

/// What an encoder makes of images.
#[derive(Clone, Copy, Debug)]
pub struct Features {
    /// One feature an image, [n,d]: what downstream tasks use.
    pub pooled: TensorId,
    /// One feature a token, [n,tokens,d], where the network has tokens.
    pub tokens: Option<TensorId>,
}

/// The shape of an encoder.
pub trait Backbone: Debug + Send + Sync {
    /// d, the length of a pooled feature.
    fn width(&self) -> usize;

    /// Number of layers, for rates that differ from layer to layer: [`super::Variable::layer`] runs from 0 (stem) to
    /// this less one.
    fn depth(&self) -> usize;

    /// Number of blocks, which are the layers from 1 on. What stands behind them (a last norm) is no block.
    fn blocks(&self) -> usize {
        self.depth().saturating_sub(1)
    }

    /// Declares the parameters, under their names in files, and returns the layers, ready to be called.
    fn layers(&self, net: &mut Net<'_>) -> Box<dyn Network>;

    /// What files say of the network.
    fn card(&self) -> Card;

    /// The Vision Transformer that it is, if it is one: methods that hide patches need its tokens.
    fn vit(&self) -> Option<&vit::Vit> {
        None
    }

    /// Has a file's tensors, under the encoder's names, in the form of this network, where other code bases have them
    /// in another one; `note` is told of each change in one line. `network` is what the file's folder says of its
    /// network ([`Card::network`]). Unless a family says otherwise, nothing is changed.
    ///
    /// # Errors
    /// Weights of a network of another size or kind, in one line that names both.
    fn adapt(
        &self,
        _file: &mut Named,
        _network: Option<&Value>,
        _note: &mut dyn FnMut(String),
    ) -> std::result::Result<(), String> {
        Ok(())
    }
}

/// An encoder with its parameters.
pub trait Network {
    /// Images [n,s,s,3] -> features.
    ///
    /// # Errors
    /// Shapes that do not fit.
    fn call(&self, net: &mut Net<'_>, images: TensorId) -> Result<Features>;

    /// Images [n,s,s,3] -> the mean over the patches' tokens before the last norm [n,d], which MAE fine-tunes; none
    /// where the network has no patches.
    ///
    /// # Errors
    /// Shapes that do not fit.
    fn mean_of_patches(&self, net: &mut Net<'_>, images: TensorId) -> Result<Option<TensorId>> {
        let _ = (net, images);
        Ok(None)
    }

    /// Images [n,s,s,3] -> what the class token looks at, where the network has one: the weights [n,heads,tokens] that
    /// the last attention gives it. The class token itself is the first token, the patches follow row by row.
    ///
    /// # Errors
    /// Shapes that do not fit.
    fn attention(&self, _net: &mut Net<'_>, _images: TensorId) -> Result<Option<TensorId>> {
        Ok(None)
    }

    /// Another reading [n,d] of what [`Network::call`] made of images; none where the network has no such.
    ///
    /// # Errors
    /// Shapes that do not fit.
    fn read(
        &self,
        _net: &mut Net<'_>,
        _features: Features,
        _pool: Pool,
    ) -> Result<Option<TensorId>> {
        Ok(None)
    }
}

/// What files say of a network: `config.json` of an export.
#[derive(Clone, Debug, PartialEq)]
pub struct Card {
    /// timm's name, where timm has a network of this shape, or one that these arguments turn into it.
    pub architecture: Option<&'static str>,
    /// timm's `model_args`, an object: what its function for that name is given; null where nothing is.
    pub arguments: Value,
    /// Name of the first convolution, whose channels timm adapts.
    pub first_conv: &'static str,
    /// Name of the classifier that the export does not have.
    pub classifier: &'static str,
    /// The shape in full, an object: what the loader builds the network from.
    pub network: Value,
}

/// Makes a backbone of a name and complete settings, for square images of this side; or says why it cannot be: a side
/// that its first layers cannot take, say.
pub type Build = fn(&str, &Table, usize) -> std::result::Result<Arc<dyn Backbone>, String>;

/// A family of backbones with settings of its own in `[model]`.
pub struct Family {
    /// Names for `model.encoder`.
    pub names: &'static [&'static str],
    /// Its settings: what is given, checked, with defaults for the rest.
    pub complete: fn(&Table) -> std::result::Result<Table, String>,
    /// Keys of its settings.
    pub keys: fn() -> Vec<String>,
    /// Its settings, with their ranges.
    pub fields: fn() -> Vec<Field>,
    /// A backbone of one of the names with complete settings, for images of a side.
    pub build: Build,
}

/// All families.
pub static FAMILIES: &[&Family] = &[&resnet::FAMILY, &vit::FAMILY];

/// The family that has a backbone of this name.
///
/// # Errors
/// There is none; lists the names.
pub fn family(name: &str) -> std::result::Result<&'static Family, String> {
    let found = FAMILIES.iter().find(|f| f.names.contains(&name));
    found.copied().ok_or_else(|| {
        let all = FAMILIES.iter().flat_map(|f| f.names).copied();
        format!(
            "model.encoder: no encoder `{name}`; {}",
            did_you_mean(name, all)
        )
    })
}
