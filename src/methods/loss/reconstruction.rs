//! Losses of masked autoencoders: pixels of patches against what a decoder makes of them.

use crate::graph::{Graph, Result, TensorId};
use crate::nn::masking::Masks;
use crate::ops::masked_mse::MaskedMse;
use crate::ops::standardize_rows::StandardizeRows;

/// Added to a patch's variance (MAE).
pub const EPS: f64 = 1e-6;

/// Images [b,s,s,3] -> the patches' pixels [b,l,3pp], each pixel's channels together; `norm_pix`: each patch less its
/// mean, over its deviation sqrt(variance + 1e-6), the variance unbiased (MAE). No gradient passes.
///
/// # Errors
/// Shapes that do not fit.
pub fn pixel_target(
    g: &mut Graph,
    images: TensorId,
    patch: usize,
    norm_pix: bool,
) -> Result<TensorId> {
    g.scope("target", |g| {
        let t = g.patches(images, patch)?;
        match norm_pix {
            true => g.push1(StandardizeRows { eps: EPS }, &[t]),
            false => Ok(t),
        }
    })
}

/// The mean over hidden patches of all images together of the mean square error of a patch's values [1]: MAE's loss.
/// pred and target [b,l,3pp]. Every image hides as many, so it is a mean over images too.
///
/// # Errors
/// Shapes that do not fit.
pub fn hidden(g: &mut Graph, pred: TensorId, target: TensorId, masks: &Masks) -> Result<TensorId> {
    masked(g, [pred, target, masks.mask], false, masks.hidden)
}

/// The same over visible patches: CAN's loss of the noise.
///
/// # Errors
/// Shapes that do not fit.
pub fn visible(g: &mut Graph, pred: TensorId, target: TensorId, masks: &Masks) -> Result<TensorId> {
    masked(g, [pred, target, masks.mask], true, masks.visible)
}

fn masked(g: &mut Graph, inputs: [TensorId; 3], invert: bool, count: usize) -> Result<TensorId> {
    g.scope("loss", |g| {
        let each = g.push1(MaskedMse { invert }, &inputs)?;
        g.scaled_sum(each, 1.0 / count as f64)
    })
}
