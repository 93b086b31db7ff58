//! Projection heads: C independent two-layer MLPs run as one batched matrix product, and the shared temperature MLP phi.

use super::{Init, Model};
use crate::graph::{Graph, Result, TensorId};
use crate::ops::gemm::Gemm;

/// features [n,d] -> embeddings [heads,n,out]: Linear-ReLU-Linear per head, without batch norm (SimCLR's and MoCo's head).
///
/// # Errors
/// Shapes that do not fit.
pub fn projection(
    g: &mut Graph,
    m: &mut Model,
    features: TensorId,
    heads: usize,
    hidden: usize,
    out: usize,
) -> Result<TensorId> {
    let d = g.dims(features)[1];
    g.scope("head", |g| {
        let x = linear(g, m, "0", features, &[heads, hidden, d], true, 1.0)?;
        linear(g, m, "2", x, &[heads, out, hidden], false, 1.0)
    })
}

/// phi of Eq. (3): z [c,n,d] -> [c,n,d], Linear(d,hidden)-ReLU-Linear(hidden,d), one MLP for all heads.
///
/// # Errors
/// Shapes that do not fit.
pub fn phi(
    g: &mut Graph,
    m: &mut Model,
    z: TensorId,
    hidden: usize,
    lr_multiplier: f32,
) -> Result<TensorId> {
    let d = g.dims(z)[2];
    g.scope("phi", |g| {
        let x = linear(g, m, "0", z, &[hidden, d], true, lr_multiplier)?;
        linear(g, m, "2", x, &[d, hidden], false, lr_multiplier)
    })
}

/// x W^T + b with `torch.nn.Linear`'s initialisation; `shape` is that of the weights: [(heads,) out, in].
fn linear(
    g: &mut Graph,
    m: &mut Model,
    name: &str,
    x: TensorId,
    shape: &[usize],
    relu: bool,
    lr: f32,
) -> Result<TensorId> {
    let bound = 1.0 / (shape[shape.len() - 1] as f32).sqrt();
    g.scope(name, |g| {
        let w = m.param_with(g, "weight", shape, Init::Uniform(bound), lr);
        let b = m.param_with(
            g,
            "bias",
            &shape[..shape.len() - 1],
            Init::Uniform(bound),
            lr,
        );
        g.push1(
            Gemm {
                trans_b: true,
                bias: true,
                relu,
                ..Gemm::default()
            },
            &[x, w, b],
        )
    })
}
