//! Residual networks of basic blocks with the CIFAR stem (He et al., CVPR 2016): 3x3 stride-1 convolution, batch norm, ReLU, no max-pool.
//! Parameter names are torchvision's.

use super::Model;
use crate::graph::{Graph, Result, TensorId};
use crate::ops::global_avg_pool::GlobalAvgPool;

/// A network's shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResNet {
    /// Basic blocks of each stage.
    pub blocks: Vec<usize>,
    /// Channels of the first stage; each following one doubles.
    pub width: usize,
    /// Stride of the stem's convolution (1, or 2 for speed).
    pub stem_stride: usize,
}

impl ResNet {
    /// `resnet18`, `resnet34` or `tiny` (three stages of one block), with the first stage's channels.
    pub fn named(name: &str, width: usize, stem_stride: usize) -> Option<Self> {
        let blocks = match name {
            "tiny" => vec![1, 1, 1],
            "resnet18" => vec![2, 2, 2, 2],
            "resnet34" => vec![3, 4, 6, 3],
            _ => return None,
        };
        Some(Self {
            blocks,
            width,
            stem_stride,
        })
    }

    /// Channels of the pooled feature.
    pub fn features(&self) -> usize {
        self.width << (self.blocks.len() - 1)
    }

    /// x [n,h,w,3] -> pooled features [n,d].
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn build(
        &self,
        g: &mut Graph,
        m: &mut Model,
        x: TensorId,
        train: bool,
    ) -> Result<TensorId> {
        let x = m.conv(g, "conv1", x, self.width, 3, self.stem_stride)?;
        let mut x = m.batch_norm(g, "bn1", x, true, None, train, 1.0)?;
        for (stage, count) in self.blocks.iter().enumerate() {
            let channels = self.width << stage;
            for block in 0..*count {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                x = g.scope(&format!("layer{}.{block}", stage + 1), |g| {
                    basic_block(g, m, x, channels, stride, train)
                })?;
            }
        }
        g.push1(GlobalAvgPool, &[x])
    }
}

fn basic_block(
    g: &mut Graph,
    m: &mut Model,
    x: TensorId,
    k: usize,
    stride: usize,
    train: bool,
) -> Result<TensorId> {
    let y = m.conv(g, "conv1", x, k, 3, stride)?;
    let y = m.batch_norm(g, "bn1", y, true, None, train, 1.0)?;
    let y = m.conv(g, "conv2", y, k, 3, 1)?;
    let shortcut = if stride != 1 || g.dims(x)[3] != k {
        g.scope("downsample", |g| {
            let s = m.conv(g, "0", x, k, 1, stride)?;
            m.batch_norm(g, "1", s, false, None, train, 1.0)
        })?
    } else {
        x
    };
    m.batch_norm(g, "bn2", y, true, Some(shortcut), train, 1.0)
}
