//! What a run gives away: the encoder under torchvision's names, as ONNX, and its features of any images.

#[cfg(feature = "tables")]
mod columnar;
pub mod onnx;
pub mod table;

use crate::config::method::encoder;
use crate::graph::onnx::BATCH;
use crate::graph::{Graph, TensorType};
use crate::methods;
use crate::nn::Model;
use crate::nn::resnet::{Block, ResNet, Stem};
use crate::run::checkpoint::write_atomically;
use crate::run::io;
use crate::run::weights::{Named, Trained};
use crate::train::{Result, TrainError};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The loader that is written beside the weights.
const LOADER: &str = include_str!("../../assets/export/load_encoder.py");

/// The encoder's tensors only: no projection heads, no temperature network.
fn encoder_only(weights: &Named) -> Named {
    let part = |name: &str| {
        ["conv1.", "bn1.", "layer"]
            .iter()
            .any(|p| name.starts_with(p))
    };
    weights
        .iter()
        .filter(|(n, _)| part(n))
        .map(|(n, w)| (n.clone(), w.clone()))
        .collect()
}

/// timm's name of the network, where it has one of these sizes.
fn timm_name(net: &ResNet) -> Option<&'static str> {
    match (net.block, &net.blocks[..], net.width) {
        (Block::Basic, [2, 2, 2, 2], 64) => Some("resnet18"),
        (Block::Basic, [3, 4, 6, 3], 64) => Some("resnet34"),
        (Block::Bottleneck, [3, 4, 6, 3], 64) => Some("resnet50"),
        _ => None,
    }
}

/// `config.json`: what timm's `local-dir:` reads, and, under `amcl_wgpu`, the network in full, which the loader reads.
fn config(run: &Trained, net: &ResNet) -> Value {
    let (c, size) = (&run.config, run.config.model.image_size);
    let (stem, stem_stride) = match net.stem {
        Stem::Small(stride) => ("cifar", stride),
        Stem::ImageNet => ("imagenet", 2),
    };
    json!({
        "architecture": timm_name(net).unwrap_or("custom"),
        "num_classes": 0,
        "num_features": net.features(),
        "pretrained_cfg": {
            "input_size": [3, size, size], "interpolation": "bilinear", "crop_pct": 1.0, "mean": c.augment.mean, "std": c.augment.std,
            "num_classes": 0, "first_conv": "conv1", "classifier": "fc",
        },
        "amcl_wgpu": {
            "version": env!("CARGO_PKG_VERSION"), "block": if net.block == Block::Basic { "basic" } else { "bottleneck" }, "blocks": net.blocks,
            "width": net.width, "stem": stem, "stem_stride": stem_stride, "epoch": run.at.epoch, "data": c.data.path,
        },
    })
}

fn safetensors_bytes(weights: &Named, steps: usize) -> Result<Vec<u8>> {
    let count = (steps as i64).to_le_bytes();
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = weights
        .iter()
        .map(|(n, w)| {
            let data = w.values.iter().flat_map(|v| v.to_le_bytes()).collect();
            (n.clone(), w.shape.clone(), data)
        })
        .collect();
    let mut views = Vec::new();
    let fail = |e: safetensors::SafeTensorError| TrainError::Config(e.to_string());
    for (name, shape, data) in &bytes {
        let view = TensorView::new(Dtype::F32, shape.clone(), data).map_err(fail)?;
        views.push((name.clone(), view));
        // PyTorch's batch norm counts its batches.
        if let Some(layer) = name.strip_suffix("running_mean") {
            let view = TensorView::new(Dtype::I64, vec![], &count).map_err(fail)?;
            views.push((format!("{layer}num_batches_tracked"), view));
        }
    }
    let meta = HashMap::from([("format".to_string(), "pt".to_string())]);
    safetensors::serialize(views, Some(meta)).map_err(fail)
}

/// The network of evaluation, images [n,3,s,s] normalised as in training -> features [n,d], as an ONNX model.
fn as_onnx(net: &ResNet, weights: &Named, size: usize) -> Result<Vec<u8>> {
    let (mut g, mut m) = (Graph::new(), Model::default());
    let images = g.input("images", TensorType::f32([BATCH, size, size, 3]));
    let features = methods::features(net, &mut g, &mut m, images)?;
    onnx::model(&g, (images, "images"), (features, "features"), weights)
        .map_err(|e| TrainError::Config(e.to_string()))
}

/// Writes `model.safetensors`, `config.json`, `encoder.onnx` and `load_encoder.py` into a folder; returns the files.
///
/// # Errors
/// A folder that cannot be written.
pub fn write(run: &Trained, out: &Path) -> Result<Vec<PathBuf>> {
    let net = encoder(&run.config)?;
    let weights = encoder_only(&run.weights);
    std::fs::create_dir_all(out).map_err(io(out))?;
    let text = |v: &Value| format!("{v:#}\n").into_bytes();
    let files = [
        (
            "model.safetensors",
            safetensors_bytes(&weights, run.at.step)?,
        ),
        ("config.json", text(&config(run, &net))),
        (
            "encoder.onnx",
            as_onnx(&net, &weights, run.config.model.image_size)?,
        ),
        ("load_encoder.py", LOADER.as_bytes().to_vec()),
    ];
    let mut paths = Vec::new();
    for (name, bytes) in files {
        let path = out.join(name);
        write_atomically(&path, &bytes)?;
        paths.push(path);
    }
    Ok(paths)
}
