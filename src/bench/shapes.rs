//! What is timed: kernels at the shapes of training ResNets and Vision Transformers.

use super::Subject;
use crate::check::{self, Case, Feed};
use crate::data::augment::Policy;
use crate::graph::{DType, Op, TensorType};
use crate::ops;
use crate::reference::augment::{Filter, ROW};
use std::collections::BTreeMap;
use std::sync::Arc;

fn subject(name: String, op: impl Op + 'static, inputs: Vec<TensorType>) -> Subject {
    Subject {
        name,
        op: Arc::new(op),
        inputs: inputs.into_iter().map(Subject::uniform).collect(),
        updates: Vec::new(),
    }
}

/// The same on halves, where mixed precision uses it so: activations and weights are halves, vectors and what the loss
/// compares stay f32.
fn halved(s: &Subject) -> Option<Subject> {
    let matrix = |f: &Feed| f.ty.dtype == DType::F32 && f.ty.shape.rank() > 1;
    if !s.op.takes_f16() || s.name.contains("similarity") || !s.inputs.iter().any(matrix) {
        return None;
    }
    let inputs = s.inputs.iter().cloned().map(|f| match matrix(&f) {
        true => Feed {
            ty: TensorType::f16(f.ty.shape),
            ..f
        },
        false => f,
    });
    let inputs: Vec<Feed> = inputs.collect();
    let types = inputs.iter().chain(&s.updates).map(|f| &f.ty);
    s.op.infer(&types.collect::<Vec<_>>()).ok()?;
    Some(Subject {
        name: format!("{} f16", s.name),
        inputs,
        ..s.clone()
    })
}

/// A convolution's three passes. n images of h x h x c, k filters of r x r.
fn conv(n: usize, h: usize, c: usize, k: usize, r: usize, stride: usize) -> Vec<Subject> {
    let padding = r / 2;
    let o = (h + 2 * padding - r) / stride + 1;
    let (x, w, y) = (
        TensorType::f32([n, h, h, c]),
        TensorType::f32([k, r, r, c]),
        TensorType::f32([n, o, o, k]),
    );
    let note = format!("{r}x{r}/{stride} {n}x{h}x{h} {c}->{k}");
    vec![
        subject(
            format!("conv2d {note}"),
            ops::conv2d::Conv2d { stride, padding },
            vec![x.clone(), w.clone()],
        ),
        subject(
            format!("conv2d_input_grad {note}"),
            ops::conv2d_input_grad::Conv2dInputGrad {
                input: x.shape.clone(),
                stride,
                padding,
            },
            vec![y.clone(), w.clone()],
        ),
        subject(
            format!("conv2d_weight_grad {note}"),
            ops::conv2d_weight_grad::Conv2dWeightGrad {
                weight: w.shape,
                stride,
                padding,
            },
            vec![x, y],
        ),
    ]
}

fn gemm(m: usize, n: usize, k: usize) -> Subject {
    subject(
        format!("gemm {m}x{n}x{k}"),
        ops::gemm::Gemm::default(),
        vec![TensorType::f32([m, k]), TensorType::f32([k, n])],
    )
}

fn memory_bound(n: usize, h: usize, c: usize) -> Vec<Subject> {
    let x = TensorType::f32([n, h, h, c]);
    let channel = || TensorType::f32([c]);
    let note = format!("{n}x{h}x{h}x{c}");
    let bn = ops::batch_norm::BatchNorm {
        eps: 1e-5,
        relu: true,
        residual: true,
    };
    let backward = |name: &str, residual, mask| {
        let op = ops::batch_norm_grad::BatchNormGrad {
            eps: 1e-5,
            relu: true,
            residual,
        };
        let inputs = vec![x.clone(), x.clone(), channel(), channel(), channel(), mask];
        let mut s = subject(format!("batch_norm_grad+{name} {note}"), op, inputs);
        // A variance.
        s.inputs[4] = Feed::range([c], 0.5, 1.5);
        s
    };
    vec![
        subject(
            format!("batch_norm+add+relu {note}"),
            bn,
            vec![x.clone(), channel(), channel(), x.clone()],
        ),
        backward("add+relu", true, x.clone()),
        backward("relu", false, channel()),
        subject(
            format!("add {note}"),
            ops::add::Add,
            vec![x.clone(), x.clone()],
        ),
        subject(
            format!("global_avg_pool {note}"),
            ops::global_avg_pool::GlobalAvgPool,
            vec![x],
        ),
    ]
}

fn augment(images: usize, side: usize, size: usize, blur: bool, filter: Filter) -> Subject {
    let op = ops::augment::Augment {
        height: side,
        width: side,
        size,
        filter,
        blur,
        mean: [0.5; 3],
        std: [0.25; 3],
    };
    let policy = Policy {
        families: if blur { "abcde" } else { "acde" }.into(),
        ..Policy::default()
    };
    let ids: Vec<u32> = (0..images as u32).collect();
    let table = policy.two_views((side, side), &ids, size, 1, 0);
    let words = ops::augment::words(side, side);
    Subject {
        name: format!(
            "augment{}{} {images}x{side} -> {}x{size}",
            if blur { "+blur" } else { "" },
            if filter == Filter::Bicubic {
                " bicubic"
            } else {
                ""
            },
            2 * images
        ),
        op: Arc::new(op),
        inputs: vec![
            Feed::index([images, words], u32::MAX),
            Feed::values([2 * images, ROW], table),
        ],
        updates: Vec::new(),
    }
}

/// The optimisers over n parameters of 62 tensors, as ResNet-18 has.
fn optimisers(n: usize) -> Vec<Subject> {
    let n = n.next_multiple_of(64);
    let (blocks, segments) = (n / 64, 62);
    let words = (0..blocks).map(|b| (b * segments / blocks) as u32);
    let inputs = vec![
        Feed::range([n], -0.1, 0.1),
        Feed::values([1], vec![1.0]),
        Feed::words([blocks], words.collect()),
        Feed::values([segments, 4], [1.0, 1e-4, 0.0, 0.0].repeat(segments)),
    ];
    let (w, halt) = (Feed::uniform([n]), Feed::words([1], vec![0]));
    let sgd = ops::sgd::Sgd {
        momentum: 0.9,
        nesterov: false,
        max_norm: 0.0,
    };
    let adamw = ops::adamw::AdamW {
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        max_norm: 0.0,
    };
    let v = Feed::range([n], 0.0, 0.1);
    vec![
        Subject {
            name: format!("sgd {n}"),
            op: Arc::new(sgd),
            inputs: inputs.clone(),
            updates: vec![w.clone(), v.clone(), halt.clone()],
        },
        Subject {
            name: format!("adamw {n}"),
            op: Arc::new(adamw),
            inputs,
            updates: vec![w, v.clone(), v, halt],
        },
    ]
}

/// The loss without matrices of all pairs, both ways.
fn streamed_loss(heads: usize, views: usize, d: usize) -> Vec<Subject> {
    let form = ops::amcl_form::AmclForm {
        top_k: false,
        warmup: false,
        official_sum: false,
        adaptive_pos: true,
        adaptive_neg: true,
        include_positive: true,
        beta: 0.1,
        eta: 0.05,
        iota: 1.95,
        tau_const: 0.1,
    };
    let share = ops::amcl_stream::Share::WHOLE;
    let loss = ops::amcl_stream::AmclStream {
        form,
        share,
        centre: None,
    };
    let (z, row) = (
        TensorType::f32([heads, views, d]),
        TensorType::f32([heads, views]),
    );
    let note = format!("{heads}x{views}x{d}");
    let unit = (3.0 / d as f32).sqrt();
    let select = ops::top_k_stream::TopKStream {
        kappa: 100,
        include_positive: true,
        share,
    };
    vec![
        subject(
            format!("amcl_stream {note}"),
            loss,
            vec![z.clone(), z.clone()],
        ),
        subject(
            format!("amcl_stream_grad {note}"),
            ops::amcl_stream_grad::AmclStreamGrad { loss },
            vec![z.clone(), z.clone(), row.clone(), row],
        ),
        Subject {
            // As long as unit rows: how often the kernel walks over all columns depends on it.
            inputs: vec![Feed::range([heads, views, d], -unit, unit)],
            ..subject(format!("top_k_stream kappa 100 {note}"), select, vec![z])
        },
    ]
}

fn loss(heads: usize, views: usize, d: usize) -> Vec<Subject> {
    let pairs = TensorType::f32([heads, views, views]);
    vec![
        subject(
            format!("gemm similarity {heads}x{views}x{views}x{d}"),
            ops::gemm::Gemm {
                trans_b: true,
                ..ops::gemm::Gemm::default()
            },
            vec![
                TensorType::f32([heads, views, d]),
                TensorType::f32([heads, views, d]),
            ],
        ),
        subject(
            format!("top_k kappa 100 {heads}x{views}x{views}"),
            ops::top_k::TopK {
                kappa: 100,
                layout: crate::reference::top_k::Layout::NtXent,
                include_positive: false,
            },
            vec![pairs],
        ),
    ]
}

/// What a Transformer's block has beside products, both ways: b images of n tokens, heads of `width` columns.
fn transformer([b, n, heads, width]: [usize; 4]) -> Vec<Subject> {
    let d = heads * width;
    let attention = ops::attention::Attention::new(d, heads);
    let norm = ops::layer_norm::LayerNorm::new(1e-6);
    let tokens = |columns| TensorType::f32([b, n, columns]);
    let row = || TensorType::f32([b, n]);
    let note = format!("{b}x{n} {heads}x{width}");
    let mut attention_grad = subject(
        format!("attention_grad {note}"),
        ops::attention_grad::AttentionGrad { forward: attention },
        vec![
            tokens(3 * d),
            tokens(d),
            TensorType::f32([b, heads, n]),
            tokens(d),
        ],
    );
    // Log-sum-exps of n logits, so that the weights are of the size of real ones.
    attention_grad.inputs[2] = Feed::range([b, heads, n], (n as f32).ln(), (n as f32).ln() + 1.0);
    vec![
        subject(format!("attention {note}"), attention, vec![tokens(3 * d)]),
        attention_grad,
        subject(
            format!("layer_norm {b}x{n}x{d}"),
            norm,
            vec![tokens(d), TensorType::f32([d]), TensorType::f32([d])],
        ),
        subject(
            format!("layer_norm_grad {b}x{n}x{d}"),
            ops::layer_norm_grad::LayerNormGrad,
            vec![tokens(d), tokens(d), TensorType::f32([d]), row(), row()],
        ),
        subject(
            format!("gelu {b}x{n}x{}", 4 * d),
            ops::gelu::Gelu::default(),
            vec![tokens(4 * d)],
        ),
        subject(
            format!("gelu_grad {b}x{n}x{}", 4 * d),
            ops::gelu_grad::GeluGrad,
            vec![tokens(4 * d), tokens(4 * d)],
        ),
    ]
}

/// The ops that have no row among `listed`, each at the largest of its cases: what they take of a training step, the
/// steps' rows say.
fn others(listed: &[Subject], half: bool) -> Vec<Subject> {
    let mut largest: BTreeMap<&str, ((bool, usize), Case)> = BTreeMap::new();
    for c in check::table() {
        let halves = c.inputs.iter().any(|f| f.ty.dtype == DType::F16);
        if halves && !half || listed.iter().any(|s| s.op.name() == c.op.name()) {
            continue;
        }
        let feeds = c.inputs.iter().chain(&c.updates);
        let elements: usize = feeds.map(|f| f.ty.elements()).sum();
        let size = (!halves, elements);
        let best = largest.entry(c.op.name()).or_insert((size, c.clone()));
        if size > best.0 {
            *best = (size, c);
        }
    }
    let subject = |(_, c): ((bool, usize), Case)| Subject {
        name: c.title(),
        op: c.op,
        inputs: c.inputs,
        updates: c.updates,
    };
    largest.into_values().map(subject).collect()
}

/// The subjects: `large` for hardware GPUs (batch 256 and 512 at 32, 96 and 224 px), else what two CPU cores do in
/// minutes; every op of the case table is among them. `half`: on halves as well, where mixed precision uses them.
pub fn subjects(large: bool, half: bool) -> Vec<Subject> {
    let mut v = in_f32(large);
    v.extend(others(&v, half));
    let halves: Vec<Subject> = match half {
        true => v.iter().filter_map(halved).collect(),
        false => Vec::new(),
    };
    v.into_iter().chain(halves).collect()
}

fn in_f32(large: bool) -> Vec<Subject> {
    let mut v = Vec::new();
    if large {
        v.extend([512, 1024, 2048, 4096].map(|n| gemm(n, n, n)));
        for n in [256, 512] {
            v.extend(conv(n, 32, 3, 64, 3, 1));
            v.extend(conv(n, 32, 64, 64, 3, 1));
            v.extend(conv(n, 32, 64, 128, 3, 2));
            v.extend(conv(n, 32, 64, 128, 1, 2));
            v.extend(conv(n, 16, 128, 128, 3, 1));
            v.extend(conv(n, 8, 256, 256, 3, 1));
            v.extend(conv(n, 4, 512, 512, 3, 1));
        }
        // ResNet-18 at 96 px.
        for (h, c) in [(96, 64), (48, 128), (24, 256), (12, 512)] {
            v.extend(conv(256, h, c, c, 3, 1));
        }
        // ResNet-50 at 224 px: the stem, and each stage's reduction, 3x3 and expansion.
        v.extend(conv(64, 224, 3, 64, 7, 2));
        for (h, c) in [(56, 64), (28, 128), (14, 256), (7, 512)] {
            v.extend(conv(64, h, 4 * c, c, 1, 1));
            v.extend(conv(64, h, c, c, 3, 1));
            v.extend(conv(64, h, c, 4 * c, 1, 1));
        }
        v.extend(conv(64, 56, 128, 128, 3, 2));
        for (h, c) in [(32, 64), (16, 128), (8, 256), (4, 512)] {
            v.extend(memory_bound(512, h, c));
        }
        v.extend(memory_bound(64, 56, 256));
        v.extend(optimisers(11_300_000));
        v.push(augment(512, 32, 32, false, Filter::Bilinear));
        v.push(augment(256, 256, 224, true, Filter::Bilinear));
        v.push(augment(256, 256, 224, false, Filter::Bilinear));
        v.push(augment(256, 256, 224, false, Filter::Bicubic));
        v.extend(loss(3, 1024, 128));
        v.extend(streamed_loss(3, 8192, 128));
        // ViT-S/16 and ViT-B/16 at 224 px, and what CAN's encoder and MAE's decoder see.
        for shape in [
            [256, 197, 6, 64],
            [256, 197, 12, 64],
            [512, 99, 12, 64],
            [256, 197, 16, 32],
        ] {
            v.extend(transformer(shape));
        }
    } else {
        v.extend([512, 1024].map(|n| gemm(n, n, n)));
        // The three shapes of the published burn 0.22 figures.
        v.extend(conv(32, 32, 16, 16, 3, 1));
        v.extend(conv(32, 16, 32, 32, 3, 1));
        v.extend(conv(32, 16, 64, 64, 3, 1));
        v.extend(conv(8, 32, 64, 64, 3, 1));
        v.extend(conv(8, 32, 64, 128, 3, 2));
        v.extend(conv(8, 32, 64, 128, 1, 2));
        v.extend(conv(8, 4, 512, 512, 3, 1));
        v.extend(memory_bound(32, 32, 64));
        v.extend(optimisers(2_000_000));
        v.push(augment(64, 32, 32, false, Filter::Bilinear));
        v.push(augment(16, 96, 96, false, Filter::Bilinear));
        v.push(augment(4, 256, 224, false, Filter::Bilinear));
        v.push(augment(4, 256, 224, false, Filter::Bicubic));
        v.extend(loss(3, 512, 128));
        v.extend(streamed_loss(3, 512, 128));
        // ViT-S/4 at 32 px, two views of 16 images.
        v.extend(transformer([32, 65, 6, 64]));
    }
    v
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_op_of_the_case_table_is_timed() {
        for large in [false, true] {
            let rows = subjects(large, true);
            let timed: BTreeSet<&str> = rows.iter().map(|s| s.op.name()).collect();
            let missing: Vec<&str> = check::table()
                .iter()
                .map(|c| c.op.name())
                .filter(|n| !timed.contains(n))
                .collect();
            assert!(missing.is_empty(), "{missing:?}");
            let names: BTreeSet<&str> = rows.iter().map(|s| s.name.as_str()).collect();
            assert_eq!(names.len(), rows.len(), "two rows of one name");
        }
    }
}
