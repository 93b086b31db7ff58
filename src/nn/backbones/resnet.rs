//! Residual networks (He et al., CVPR 2016; bottlenecks with the stride on the 3x3, torchvision's "v1.5"). Names of
//! parameters are torchvision's.

use super::{Backbone, Card, Family, Features, Network};
use crate::graph::{Result, TensorId};
use crate::nn::Net;
use crate::nn::layers::{BatchNorm, Conv};
use crate::ops::global_avg_pool::GlobalAvgPool;
use crate::ops::max_pool::MaxPool;
use crate::settings::{self, Section, between};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;
use toml::Table;

/// The first layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stem {
    /// 3x3 convolution with this stride, batch norm, ReLU, no max-pool: for images of 32 to 96 px (stride 1; 2 for
    /// speed).
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

/// Names of stems in configurations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StemName {
    /// [`Stem::Small`].
    Cifar,
    /// [`Stem::ImageNet`].
    Imagenet,
}

/// Most channels of the first stage, `width` times `width_multiplier`: 128 times a ResNet's in the papers.
const WIDEST: usize = 8192;

crate::section! {
    /// Settings of `[model]` for a ResNet.
    Settings {
        /// Channels of the first stage (64 in the papers).
        width: usize = 16 => between(1.0, WIDEST as f64),
        /// Factor on all channels (2 and 4: SimCLR's wide networks).
        width_multiplier: usize = 1 => between(1.0, 64.0),
        /// `cifar`: 3x3, no max-pool; `imagenet`: 7x7 stride 2 and max-pool.
        stem: StemName = StemName::Cifar,
        /// Stride of the `cifar` stem (2 for speed).
        stem_stride: usize = 1 => between(1.0, 64.0),
        /// Start the last batch norm of every block at zero.
        zero_init_residual: bool = false,
    }
}

/// ResNets: `tiny` (three stages of one basic block), `resnet18`, `resnet34`, `resnet50`.
pub static FAMILY: Family = Family {
    names: &["tiny", "resnet18", "resnet34", "resnet50"],
    complete: |given| settings::complete::<Settings>("model", given),
    keys: settings::keys::<Settings>,
    fields: Settings::fields,
    build,
};

fn build(name: &str, given: &Table, side: usize) -> std::result::Result<Arc<dyn Backbone>, String> {
    let s: Settings = settings::typed(given)?;
    let stem = match s.stem {
        StemName::Cifar => Stem::Small(s.stem_stride),
        StemName::Imagenet => Stem::ImageNet,
    };
    let stride = match stem {
        Stem::Small(stride) => stride,
        Stem::ImageNet => 4,
    };
    if side < stride {
        return Err(format!(
            "model.image_size {side} is too small for a stem with a stride of {stride}: nothing would be left of it; \
             use {stride} px or more, or model.stem_stride = 1"
        ));
    }
    let width = s.width.checked_mul(s.width_multiplier);
    let width = width.filter(|w| *w <= WIDEST).ok_or_else(|| {
        format!(
            "model.width {} x model.width_multiplier {} channels are too many; their product must be at most {WIDEST}",
            s.width, s.width_multiplier
        )
    })?;
    let mut net = ResNet::named(name, width, stem).ok_or_else(|| format!("no ResNet `{name}`"))?;
    net.zero_init_residual = s.zero_init_residual;
    Ok(Arc::new(net))
}

impl ResNet {
    /// One of the family's networks with this number of channels in the first stage (64 in the papers).
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

    /// Declares a block from `c` channels to `k` (before the expansion).
    fn block(&self, net: &mut Net<'_>, c: usize, k: usize, stride: usize) -> Residual {
        // Output channels, kernel and stride of each convolution.
        let shapes: &[(usize, usize, usize)] = match self.block {
            Block::Basic => &[(k, 3, stride), (k, 3, 1)],
            Block::Bottleneck => &[(k, 1, 1), (k, 3, stride), (4 * k, 1, 1)],
        };
        let out = k * self.expansion();
        let (mut convs, mut norms, mut from, mut shortcut) = (Vec::new(), Vec::new(), c, None);
        for (i, (to, kernel, stride_here)) in shapes.iter().enumerate() {
            let last = i + 1 == shapes.len();
            convs.push(Conv::new(
                net,
                &format!("conv{}", i + 1),
                [from, *to],
                *kernel,
                *stride_here,
            ));
            if last && (stride != 1 || c != out) {
                shortcut = Some(net.scope("downsample", |net| {
                    let conv = Conv::new(net, "0", [c, out], 1, stride);
                    (conv, BatchNorm::new(net, "1", out))
                }));
            }
            let name = format!("bn{}", i + 1);
            norms.push(match last && self.zero_init_residual {
                true => BatchNorm::zero_initialised(net, &name, *to),
                false => BatchNorm::new(net, &name, *to),
            });
            from = *to;
        }
        Residual {
            convs,
            norms,
            shortcut,
        }
    }
}

impl Backbone for ResNet {
    fn width(&self) -> usize {
        (self.width << (self.blocks.len() - 1)) * self.expansion()
    }

    /// The stem, then every block.
    fn depth(&self) -> usize {
        1 + self.blocks.iter().sum::<usize>()
    }

    fn layers(&self, net: &mut Net<'_>) -> Box<dyn Network> {
        let (kernel, stride) = match self.stem {
            Stem::Small(stride) => (3, stride),
            Stem::ImageNet => (7, 2),
        };
        let conv1 = Conv::new(net, "conv1", [3, self.width], kernel, stride);
        let bn1 = BatchNorm::new(net, "bn1", self.width);
        let (mut blocks, mut channels) = (Vec::new(), self.width);
        for (stage, count) in self.blocks.iter().enumerate() {
            let k = self.width << stage;
            for block in 0..*count {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                let name = format!("layer{}.{block}", stage + 1);
                let made = net.layer(blocks.len() + 1, |net| {
                    net.scope(&name, |net| self.block(net, channels, k, stride))
                });
                blocks.push(made);
                channels = k * self.expansion();
            }
        }
        Box::new(Layers {
            conv1,
            bn1,
            max_pool: self.stem == Stem::ImageNet,
            blocks,
        })
    }

    fn card(&self) -> Card {
        let (stem, stem_stride) = match self.stem {
            Stem::Small(stride) => ("cifar", stride),
            Stem::ImageNet => ("imagenet", 2),
        };
        let (block, architecture) = match (self.block, &self.blocks[..], self.width) {
            (Block::Basic, [2, 2, 2, 2], 64) => ("basic", Some("resnet18")),
            (Block::Basic, [3, 4, 6, 3], 64) => ("basic", Some("resnet34")),
            (Block::Bottleneck, [3, 4, 6, 3], 64) => ("bottleneck", Some("resnet50")),
            (Block::Basic, ..) => ("basic", None),
            (Block::Bottleneck, ..) => ("bottleneck", None),
        };
        Card {
            architecture,
            arguments: serde_json::Value::Null,
            first_conv: "conv1",
            classifier: "fc",
            network: json!({
                "block": block, "blocks": self.blocks, "width": self.width, "stem": stem, "stem_stride": stem_stride,
            }),
        }
    }
}

/// A ResNet's layers.
struct Layers {
    conv1: Conv,
    bn1: BatchNorm,
    max_pool: bool,
    blocks: Vec<Residual>,
}

impl Network for Layers {
    fn call(&self, net: &mut Net<'_>, images: TensorId) -> Result<Features> {
        let x = self.conv1.call(net, images)?;
        let mut x = self.bn1.call_relu(net, x)?;
        if self.max_pool {
            let pool = MaxPool {
                kernel: 3,
                stride: 2,
                padding: 1,
            };
            x = net.labelled("maxpool", |net| net.push(pool, &[x]))?[0];
        }
        for block in &self.blocks {
            x = block.call(net, x)?;
        }
        Ok(Features {
            pooled: net.push1(GlobalAvgPool, &[x])?,
            tokens: None,
        })
    }
}

/// relu(F(x) + shortcut(x)): convolutions with their norms, and a projection where shapes change.
struct Residual {
    convs: Vec<Conv>,
    norms: Vec<BatchNorm>,
    shortcut: Option<(Conv, BatchNorm)>,
}

impl Residual {
    fn call(&self, net: &mut Net<'_>, x: TensorId) -> Result<TensorId> {
        let mut y = x;
        for (i, (conv, norm)) in self.convs.iter().zip(&self.norms).enumerate() {
            y = conv.call(net, y)?;
            if i + 1 < self.convs.len() {
                y = norm.call_relu(net, y)?;
                continue;
            }
            let shortcut = match &self.shortcut {
                None => x,
                Some((conv, norm)) => {
                    let s = conv.call(net, x)?;
                    norm.call(net, s)?
                }
            };
            y = norm.call_add_relu(net, y, shortcut)?;
        }
        Ok(y)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Graph, TensorType};
    use crate::nn::{Mode, Model};

    fn parameters(net: &ResNet, size: usize) -> (usize, usize) {
        let (mut g, mut m) = (Graph::new(), Model::default());
        let x = g.input("x", TensorType::f32([1, size, size, 3]));
        let mut c = Net::new(&mut g, &mut m, Mode::Train);
        let f = net.layers(&mut c).call(&mut c, x).unwrap().pooled;
        assert_eq!(g.dims(f)[1], net.width());
        let deepest = m.params.iter().map(|p| p.layer).max();
        assert_eq!(deepest, Some(net.depth() - 1));
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
        net.layers(&mut Net::new(&mut g, &mut m, Mode::Train));
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
