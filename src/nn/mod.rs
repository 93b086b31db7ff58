//! Networks: the build context, layers, heads, backbones. They append nodes to a graph and declare parameters; they
//! hold no GPU code.

pub mod apart;
pub mod backbones;
pub mod decoder;
pub mod heads;
pub mod import;
pub mod layers;
pub mod masking;
pub mod model;
pub mod net;
pub mod positions;
pub mod transformer;

pub use crate::ops::cast_f16::halved;
pub use backbones::{Backbone, Features, Network};
pub use model::{Init, Layout, Model, Part, Variable};
pub use net::{Mode, Net, Norm, Precision, Var};
