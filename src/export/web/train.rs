//! A page that pre-trains: the training step of a configuration, recorded, with all that its replay is given. The graph
//! and its schedule stay here; the page draws views and the order of samples, and reads what a step tells.

use super::{inline, one_size, sample, texts};
use crate::config::method::{self, method};
use crate::config::{Config, Precision};
use crate::data::packed::Images;
use crate::data::sampler::permutation;
use crate::data::{Dataset, Split};
use crate::device::{Choice, Limits};
use crate::graph::StepScalars;
use crate::graph::planner::Planner;
use crate::graph::portable::Span;
use crate::run::checkpoint::Position;
use crate::run::output;
use crate::train::schedule::scalars;
use crate::train::session::{IMAGES, Session, open_as_browser};
use crate::train::{Result, TrainError};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Steps of which the page carries the losses that this machine gives.
const COMPARED: usize = 20;

/// Training images that a page carries at most: their pixels are most of its bytes.
const TRAINING: usize = 4096;
/// Of those, images that kNN knows the classes of; and test images that it is asked for. A page measures often, and
/// small GPUs are slow.
const MEASURED: [usize; 2] = [512, 256];

const MADE: [&str; 5] = [
    "plan.json",
    "weights.bin",
    "train.json",
    "train.bin",
    "inline.js",
];

/// The files of a training page in a folder.
pub fn files(out: &Path) -> Vec<PathBuf> {
    super::names(texts::TRAINING, &MADE, out)
}

/// A file's bytes with the places of what was put into it.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    /// Appends `bytes`, at a multiple of 4.
    fn put(&mut self, bytes: &[u8]) -> Value {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        let offset = self.0.len() as u64;
        self.0.extend_from_slice(bytes);
        json!(Span {
            offset,
            bytes: bytes.len() as u64
        })
    }
}

/// The losses of the first steps on a device of this machine, with the kernels, ids and scalars of the page's steps.
fn native(
    c: &Config,
    data: &Dataset,
    blocks: &[StepScalars],
    (device, tell): (&Choice, &dyn Fn(String)),
) -> Result<Value> {
    let method = method(c)?;
    let exec = open_as_browser(device, tell)?;
    let name = exec.name();
    let mut session = Session::of_method(c, method.as_ref(), exec, data)?;
    let (batch, steps) = (c.optim.batch_size, data.len() / c.optim.batch_size);
    let mut losses = Vec::new();
    for (i, block) in blocks.iter().take(COMPARED).enumerate() {
        let order = permutation(data.len(), c.run.seed, block.epoch);
        let ids = &order[i % steps * batch..][..batch];
        let pending = session.start(data, ids, block)?;
        losses.push(session.finish(&pending)?.loss);
    }
    Ok(json!({"losses": losses, "device": name}))
}

/// What keeps a configuration from a page.
fn refusal(c: &Config) -> Option<&'static str> {
    if c.dist.ranks > 1 {
        return Some("the run has several ranks: a page is one");
    }
    if c.optim.micro_batches > 1 {
        return Some("optim.micro_batches is over 1: a page runs a step in one piece");
    }
    if c.optim.precision == Precision::Mixed {
        return Some("optim.precision is mixed: pages run in f32");
    }
    None
}

/// Writes a page that trains by the configuration `c` on images of `split` into a folder, which is made where it is not
/// there, and returns its files. The page compares its first losses with those of `device`.
///
/// # Errors
/// A method whose step is drawn more than views; settings that a page cannot have; files that are there; the disk.
pub fn write(
    (c, split): (&Config, &Split),
    out: &Path,
    overwrite: bool,
    on: (&Choice, &dyn Fn(String)),
) -> Result<Vec<PathBuf>> {
    output::free(&files(out), overwrite)?;
    one_size(c)?;
    if let Some(why) = refusal(c) {
        return Err(TrainError::Config(format!("--train: {why}")));
    }
    let method = method(c)?;
    method::declare_method(c, method.as_ref())?;
    let data = sample(&split.train, TRAINING)?;
    let (batch, epochs) = (c.optim.batch_size, c.run.epochs);
    let steps = data.len() / batch;
    if steps == 0 {
        return Err(TrainError::Config(format!(
            "--train: optim.batch_size {batch} exceeds the {} training images",
            data.len()
        )));
    }
    let exec = Box::new(Planner::recording(&Limits::web()));
    let session = Session::of_method(c, method.as_ref(), exec, &data)?;
    let (plan, weights) = session.portable()?;
    let gradient = &plan.programs[plan
        .programs
        .iter()
        .position(|p| p.name == "gradient")
        .unwrap_or(0)];
    let drawn = |name: &str| name == "samples" || name.starts_with("view table");
    if let Some(other) = gradient.inputs.iter().find(|t| !drawn(&t.name)) {
        return Err(TrainError::Config(format!(
            "--train: a step of {} also draws `{}`, and a page draws views alone",
            c.method.name, other.name
        )));
    }
    let images = plan.buffers.iter().position(|b| b.name == IMAGES.name());
    let Some(images) = images else {
        return Err(TrainError::Config(
            "--train: the training images are more than a browser's buffer holds; use fewer or smaller ones".into(),
        ));
    };
    let ends = session.momentum.map(|m| (m, session.momentum_ahead));
    let position = |step: usize| Position {
        epoch: step / steps,
        batch: step % steps,
        step,
    };
    let all = (0..steps * epochs).map(|i| scalars(c, position(i), steps, ends));
    let blocks: Vec<StepScalars> = all.collect();
    // What the page must draw: the order of the first epoch, and the first step's views.
    let order = permutation(data.len(), c.run.seed, 0);
    let side = (data.height, data.width);
    let count = method.draws().views.count();
    let size = c.model.image_size;
    let table = c
        .augment
        .views(count, side, &order[..batch], size, (c.run.seed, 0));
    let [bank, queries] = MEASURED;
    let test = sample(&split.test, queries)?;
    let ids: Vec<u32> = (0..test.len() as u32).collect();
    let mut bytes = Bytes::default();
    let p = &c.augment;
    let described = json!({
        "title": format!("{} on {}", c.method.name, c.model.encoder),
        "method": c.method.name,
        "amcl": c.amcl.enabled.then(|| json!({
            "tau_min": c.amcl.switches.tau_min, "range": c.amcl.switches.range(),
        })),
        "height": side.0, "width": side.1, "size": size,
        "batch": batch, "views": count, "epochs": epochs, "steps": steps,
        "seed": c.run.seed.to_string(),
        "classes": split.classes,
        "images": {"buffer": images, "count": data.len(), "words": crate::ops::augment::words(side.0, side.1)},
        "policy": {
            "families": p.families, "min_scale": p.min_scale, "hf_prob": p.hf_prob, "cj_prob": p.cj_prob,
            "jitter": p.jitter, "random_gray_scale": p.random_gray_scale, "gaussian_blur": p.gaussian_blur,
            "kernel_size": p.kernel_size, "sigmas": p.sigmas, "solarization_prob": p.solarization_prob,
            "solarization_threshold": p.solarization_threshold,
        },
        "blocks": bytes.put(bytemuck::cast_slice(&blocks)),
        "block_bytes": size_of::<StepScalars>(),
        "proof": {
            "order": bytes.put(bytemuck::cast_slice(&order)),
            "table": bytes.put(bytemuck::cast_slice(&table)),
        },
        "native": native(c, &data, &blocks, on)?,
        "labels": bytes.put(bytemuck::cast_slice(&data.labels)),
        "bank": bank.min(data.len()),
        "test": {
            "count": test.len(),
            "pixels": bytes.put(bytemuck::cast_slice(&test.packed(&ids)?.words)),
            "labels": bytes.put(bytemuck::cast_slice(&test.labels)),
        },
        "knn": {"k": c.run.knn_k, "temperature": c.run.knn_t},
    });
    let fail = |e: serde_json::Error| TrainError::Config(e.to_string());
    let mut made = vec![
        ("plan.json", serde_json::to_vec(&plan).map_err(fail)?),
        ("weights.bin", weights),
        ("train.json", serde_json::to_vec(&described).map_err(fail)?),
        ("train.bin", bytes.0),
    ];
    made.push(("inline.js", inline(&made)));
    super::write_page(texts::TRAINING, made, out, overwrite)
}
