//! Residual networks (He et al., CVPR 2016; bottlenecks with the stride on the 3x3, torchvision's "v1.5"). Parameter names are torchvision's.

use super::Model;
use crate::graph::{Graph, Result, TensorId};
use crate::ops::global_avg_pool::GlobalAvgPool;
use crate::ops::max_pool::MaxPool;

/// The first layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stem {
    /// 3x3 convolution with this stride, batch norm, ReLU, no max-pool: for images of 32 to 96 px (stride 1; 2 for speed).
    Small(usize),
    /// 7x7 stride-2 convolution, batch norm, ReLU, 3x3 stride-2 max-pool: for 224 px.
    ImageNet,
}

/// The residual block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// Two 3x3 convolutions.
    Basic,
    /// 1x1, 3x3, 1x1 to four times the channels.
    Bottleneck,
}

/// A network's shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResNet {
    /// Kind of block.
    pub block: Block,
    /// Blocks of each stage.
    pub blocks: Vec<usize>,
    /// Channels of the first stage (before a bottleneck's expansion), the stem's too; each following stage doubles.
    pub width: usize,
    /// First layers.
    pub stem: Stem,
    /// The last batch norm of every block starts at zero, so that blocks start as identities (Goyal et al. 2017).
    pub zero_init_residual: bool,
}

/// Names that [`ResNet::named`] knows.
pub const NAMES: &[&str] = &["tiny", "resnet18", "resnet34", "resnet50"];

impl ResNet {
    /// `tiny` (three stages of one basic block), `resnet18`, `resnet34` or `resnet50`, with the first stage's channels (64 in the papers).
    pub fn named(name: &str, width: usize, stem: Stem) -> Option<Self> {
        let (block, blocks) = match name {
            "tiny" => (Block::Basic, vec![1, 1, 1]),
            "resnet18" => (Block::Basic, vec![2, 2, 2, 2]),
            "resnet34" => (Block::Basic, vec![3, 4, 6, 3]),
            "resnet50" => (Block::Bottleneck, vec![3, 4, 6, 3]),
            _ => return None,
        };
        Some(Self {
            block,
            blocks,
            width,
            stem,
            zero_init_residual: false,
        })
    }

    fn expansion(&self) -> usize {
        match self.block {
            Block::Basic => 1,
            Block::Bottleneck => 4,
        }
    }

    /// Channels of the pooled feature.
    pub fn features(&self) -> usize {
        (self.width << (self.blocks.len() - 1)) * self.expansion()
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
        let (kernel, stride) = match self.stem {
            Stem::Small(stride) => (3, stride),
            Stem::ImageNet => (7, 2),
        };
        let x = m.conv(g, "conv1", x, self.width, kernel, stride)?;
        let mut x = m.batch_norm(g, "bn1", x, true, None, train, 1.0)?;
        if self.stem == Stem::ImageNet {
            let pool = MaxPool {
                kernel: 3,
                stride: 2,
                padding: 1,
            };
            x = g.scope("maxpool", |g| g.push(pool, &[x]))?[0];
        }
        for (stage, count) in self.blocks.iter().enumerate() {
            let channels = self.width << stage;
            for block in 0..*count {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                x = g.scope(&format!("layer{}.{block}", stage + 1), |g| {
                    self.residual(g, m, x, channels, stride, train)
                })?;
            }
        }
        g.push1(GlobalAvgPool, &[x])
    }

    /// relu(F(x) + shortcut(x)).
    fn residual(
        &self,
        g: &mut Graph,
        m: &mut Model,
        x: TensorId,
        k: usize,
        stride: usize,
        train: bool,
    ) -> Result<TensorId> {
        // Output channels (before expansion is applied to the last), kernel, stride of each convolution.
        let layers: &[(usize, usize, usize)] = match self.block {
            Block::Basic => &[(k, 3, stride), (k, 3, 1)],
            Block::Bottleneck => &[(k, 1, 1), (k, 3, stride), (4 * k, 1, 1)],
        };
        let out = k * self.expansion();
        let mut y = x;
        for (i, (k, kernel, stride)) in layers.iter().enumerate() {
            let (conv, bn) = (format!("conv{}", i + 1), format!("bn{}", i + 1));
            y = m.conv(g, &conv, y, *k, *kernel, *stride)?;
            if i + 1 < layers.len() {
                y = m.batch_norm(g, &bn, y, true, None, train, 1.0)?;
                continue;
            }
            let shortcut = if stride_of(layers) != 1 || g.dims(x)[3] != out {
                g.scope("downsample", |g| {
                    let s = m.conv(g, "0", x, out, 1, stride_of(layers))?;
                    m.batch_norm(g, "1", s, false, None, train, 1.0)
                })?
            } else {
                x
            };
            let scale = if self.zero_init_residual { 0.0 } else { 1.0 };
            y = m.batch_norm(g, &bn, y, true, Some(shortcut), train, scale)?;
        }
        Ok(y)
    }
}

/// Stride of a block: that of its convolutions together.
fn stride_of(layers: &[(usize, usize, usize)]) -> usize {
    layers.iter().map(|l| l.2).product()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::TensorType;

    fn parameters(net: &ResNet, size: usize) -> (usize, usize) {
        let (mut g, mut m) = (Graph::new(), Model::default());
        let x = g.input("x", TensorType::f32([1, size, size, 3]));
        let f = net.build(&mut g, &mut m, x, true).unwrap();
        assert_eq!(g.dims(f)[1], net.features());
        (m.sizes().1, g.dims(f)[1])
    }

    /// torchvision's counts without the classifier (11,689,512 - 513,000 and so on).
    #[test]
    fn parameter_counts_are_torchvisions() {
        for (name, stem, size, count, d) in [
            ("resnet18", Stem::ImageNet, 64, 11_176_512, 512),
            ("resnet34", Stem::ImageNet, 64, 21_284_672, 512),
            ("resnet50", Stem::ImageNet, 64, 23_508_032, 2048),
            // The small stem has 3*64*9 weights instead of 3*64*49.
            ("resnet18", Stem::Small(1), 32, 11_168_832, 512),
        ] {
            let net = ResNet::named(name, 64, stem).unwrap();
            assert_eq!(parameters(&net, size), (count, d), "{name}");
        }
        let wide = ResNet::named("resnet50", 128, Stem::ImageNet).unwrap();
        assert_eq!(parameters(&wide, 64).1, 4096);
    }

    #[test]
    fn zero_initialised_blocks_are_marked() {
        let mut net = ResNet::named("resnet50", 8, Stem::Small(1)).unwrap();
        net.zero_init_residual = true;
        let (mut g, mut m) = (Graph::new(), Model::default());
        let x = g.input("x", TensorType::f32([1, 8, 8, 3]));
        net.build(&mut g, &mut m, x, true).unwrap();
        let zero: Vec<&str> = m
            .params
            .iter()
            .filter(|p| p.init == crate::nn::Init::Constant(0.0) && p.name.ends_with("weight"))
            .map(|p| p.name.as_str())
            .collect();
        assert_eq!(zero.len(), 16);
        assert!(zero.iter().all(|n| n.ends_with("bn3.weight")), "{zero:?}");
    }
}
