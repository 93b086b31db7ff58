//! Networks: the build context, layers, heads, backbones. They append nodes to a graph and declare parameters; they
//! hold no GPU code.

pub mod backbones;
pub mod heads;
pub mod import;
pub mod layers;
pub mod model;
pub mod net;
pub mod positions;
pub mod transformer;

pub use backbones::{Backbone, Features, Network};
pub use model::{Init, Layout, Model, Part, Variable};
pub use net::{Mode, Net, Norm, Precision, Var};

use crate::graph::{DType, Graph, Result, TensorId};
use crate::ops::cast_f16::CastF16;

/// x in f16, as it is or rounded.
///
/// # Errors
/// None is expected.
pub fn halved(g: &mut Graph, x: TensorId) -> Result<TensorId> {
    match g.ty(x).dtype {
        DType::F16 => Ok(x),
        _ => g.push1(CastF16, &[x]),
    }
}
