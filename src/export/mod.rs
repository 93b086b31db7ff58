//! Files for other programs: the encoder under torchvision's and timm's names and as ONNX, and its features of images.

#[cfg(feature = "tables")]
mod columnar;
pub mod onnx;
pub mod table;
#[cfg(feature = "report")]
pub mod web;

use crate::graph::onnx::BATCH;
use crate::graph::{Graph, TensorType};
use crate::nn::import::{Named, of_encoder};
use crate::nn::{Backbone, Mode, Model, Net};
use crate::run::io;
use crate::run::output;
use crate::run::weights::Trained;
use crate::train::{Result, TrainError};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The loader that is written beside the weights.
const LOADER: &str = include_str!("../../assets/python/amcl_wgpu/load_encoder.py");

/// `config.json`. timm's `local-dir:` reads the keys at its top. The loader reads `amcl_wgpu`, which
/// describes the network in full.
fn config(run: &Trained, net: &dyn Backbone) -> Value {
    let (c, size, card) = (&run.config, run.config.model.image_size, net.card());
    let mut network = card.network;
    network["version"] = env!("CARGO_PKG_VERSION").into();
    network["epoch"] = run.at.epoch.into();
    network["data"] = c.data.path.clone().into();
    let mut described = json!({
        "architecture": card.architecture.unwrap_or("custom"),
        "num_classes": 0,
        "num_features": net.width(),
        "pretrained_cfg": {
            "input_size": [3, size, size], "interpolation": c.augment.interpolation,
            "crop_pct": c.augment.crop_pct,
            "mean": c.augment.mean, "std": c.augment.std,
            "num_classes": 0, "first_conv": card.first_conv, "classifier": card.classifier,
        },
        "amcl_wgpu": network,
    });
    if !card.arguments.is_null() {
        described["model_args"] = card.arguments;
    }
    described
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
        // PyTorch's batch norm expects the number of batches that it has seen.
        if let Some(layer) = name.strip_suffix("running_mean") {
            let view = TensorView::new(Dtype::I64, vec![], &count).map_err(fail)?;
            views.push((format!("{layer}num_batches_tracked"), view));
        }
    }
    let meta = HashMap::from([("format".to_string(), "pt".to_string())]);
    safetensors::serialize(views, Some(meta)).map_err(fail)
}

/// Names of the files that [`write`] writes.
const FILES: [&str; 4] = [
    "model.safetensors",
    "config.json",
    "encoder.onnx",
    "load_encoder.py",
];

/// The files that [`write`] writes into a folder: `model.safetensors`, `config.json`, `encoder.onnx` and
/// `load_encoder.py`.
pub fn files(out: &Path) -> [PathBuf; 4] {
    FILES.map(|name| out.join(name))
}

/// Writes files into a folder, which is made where it is not there and removed again where nothing could be written.
fn write_into(out: &Path, files: Vec<(PathBuf, Vec<u8>)>, overwrite: bool) -> Result<Vec<PathBuf>> {
    let new = !out.exists();
    std::fs::create_dir_all(out).map_err(io(out))?;
    output::write(&files, overwrite).inspect_err(|_| {
        if new {
            // Removes the folder only where nothing is in it.
            let _ = std::fs::remove_dir(out);
        }
    })?;
    Ok(files.into_iter().map(|(path, _)| path).collect())
}

/// Writes the [files] of an export into a folder, which is made where it is not there, and returns them. Those
/// that are already there are replaced only with `overwrite`.
///
/// # Errors
/// A file that is there; a folder that cannot be written.
pub fn write(run: &Trained, out: &Path, overwrite: bool) -> Result<Vec<PathBuf>> {
    output::free(&files(out), overwrite)?;
    let (net, size) = (run.config.backbone()?, run.config.model.image_size);
    // The network of evaluation: images [n,s,s,3], normalised as in training -> features [n,d].
    let (mut g, mut model) = (Graph::new(), Model::default());
    let images = g.input("images", TensorType::f32([BATCH, size, size, 3]));
    let mut c = Net::new(&mut g, &mut model, Mode::Eval);
    let features = net.layers(&mut c).call(&mut c, images)?.pooled;
    let weights = of_encoder(&model, &run.weights);
    let onnx = onnx::model(&g, (images, "images"), (features, "features"), &weights)
        .map_err(|e| TrainError::Config(e.to_string()))?;
    let text = |v: &Value| format!("{v:#}\n").into_bytes();
    // In the order of `FILES`.
    let bytes = [
        safetensors_bytes(&weights, run.at.step)?,
        text(&config(run, net.as_ref())),
        onnx,
        LOADER.as_bytes().to_vec(),
    ];
    let files: Vec<(PathBuf, Vec<u8>)> = files(out).into_iter().zip(bytes).collect();
    write_into(out, files, overwrite)
}
