//! Choosing the tiles of products and convolutions by timing them, at the start of a run on a GPU.
//!
//! The choice fixes the order of sums, so it belongs to what a run's bits depend on: it is kept in the run's folder,
//! and a resumed run takes it from there. Between runs it is kept in the user's cache folder, for one adapter, driver
//! and set of shaders.

use super::gradient::Gradient;
use super::{Config, Result};
use crate::config::method;
use crate::device::{Choice, Device, Options, TileChoices};
use crate::graph::gpu::GpuExecutor;
use crate::graph::{DType, Executor, Graph, GraphError, Node, StepScalars, TensorId};
use crate::methods::Method;
use crate::nn::Model;
use crate::ops::tiles::TILES;
use crate::run::checkpoint;
use crate::run::folder::TILES as FILE;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// Timed runs of a variant in a round; the fastest of all counts.
const RUNS: usize = 2;
/// Rounds in which all variants are timed.
const ROUNDS: usize = 2;
/// Seconds of work before the first of them.
const WARM_SECONDS: f64 = 0.1;

/// Op and shapes -> kernel and shape -> tile.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Cache(BTreeMap<String, BTreeMap<String, usize>>);

/// A distinct node of a graph, for the cache.
fn title(g: &Graph, n: &Node) -> String {
    let types: Vec<String> = n.inputs.iter().map(|t| g.ty(*t).to_string()).collect();
    format!("{:?} {}", n.op, types.join(" "))
}

/// The tiles for the products and convolutions of `graphs` on a device: from the file `cache` where it knows them,
/// else timed on it and added to the file. `progress` is told how many are done, of how many.
///
/// The device should be one opened for this alone: what it allocates is free again when it is dropped.
///
/// # Errors
/// Memory, shaders, device.
pub fn tiles(
    device: &Arc<Device>,
    graphs: &[&Graph],
    cache: Option<&Path>,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<TileChoices> {
    let tiled = |n: &&Node| n.op.class().is_tiled();
    let mut nodes = BTreeMap::new();
    for g in graphs {
        let of_graph = g.nodes.iter().filter(tiled);
        nodes.extend(of_graph.map(|n| (title(g, n), (*g, n))));
    }
    let mut known: Cache = cache
        .and_then(|path| std::fs::read_to_string(path).ok())
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default();
    let mut choices = TileChoices::default();
    let (mut done, mut timed) = (0, 0);
    for (title, (graph, node)) in &nodes {
        // A file from elsewhere could name a tile that there is not; the ops would then take their table's.
        let found = known.0.get(title).cloned();
        let chosen = match found {
            Some(chosen) => chosen,
            None => {
                progress(done, nodes.len());
                timed += 1;
                let chosen = fastest(device, graph, node)?;
                known.0.insert(title.clone(), chosen.clone());
                chosen
            }
        };
        choices.listed.extend(chosen);
        done += 1;
    }
    if timed > 0 {
        progress(done, nodes.len());
        if let Some((path, dir)) = cache.and_then(|p| p.parent().map(|d| (p, d))) {
            // A cache that cannot be written costs the next run some seconds, and this one nothing.
            let written = std::fs::create_dir_all(dir).is_ok()
                && serde_json::to_vec_pretty(&known)
                    .is_ok_and(|text| checkpoint::write_atomically(path, &text).is_ok());
            tracing::debug!(?path, written, "cache of tiles");
        }
    }
    Ok(choices)
}

/// The fastest tile for a node, by the kernels and shapes that it asks for. All are compiled and run before the first
/// is timed, and that one is run for a while before the rounds begin, since a GPU that waits for a compiler lowers
/// its clock (seen on an H200: to a sixth, and at that clock another tile was the fastest), and takes some 50 ms to
/// raise it again.
fn fastest(device: &Arc<Device>, graph: &Graph, node: &Node) -> Result<BTreeMap<String, usize>> {
    let half = node
        .inputs
        .first()
        .is_some_and(|t| graph.ty(*t).dtype == DType::F16);
    // Where halves can be multiplied as matrices no other tile won on the one GPU that was measured (H200), and each
    // costs the time of a compiler.
    let matrices = |t: &usize| TILES[*t].is_cooperative();
    let able = |t: &usize| TILES[*t].suits(&device.limits, half);
    let only = half && (0..TILES.len()).any(|t| matrices(&t) && able(&t));
    let suits = |t: &usize| able(t) && (!only || matrices(t));
    let mut least: Vec<(usize, f64)> = (0..TILES.len())
        .filter(suits)
        .map(|t| (t, f64::INFINITY))
        .collect();
    let mut keys = std::collections::BTreeSet::new();
    for round in 0..=ROUNDS {
        for (i, (tile, best)) in least.iter_mut().enumerate() {
            device.set_tiles(TileChoices {
                all: Some(*tile),
                ..TileChoices::default()
            });
            device.take_tile_keys();
            let runs = if round == 0 { 0 } else { RUNS };
            let warm = if (round, i) == (1, 0) {
                WARM_SECONDS
            } else {
                0.0
            };
            let seconds = time(device, graph, node, runs, warm)?;
            *best = best.min(seconds);
            keys = device.take_tile_keys();
        }
    }
    for (tile, seconds) in &least {
        tracing::debug!(
            node = title(graph, node),
            rows = TILES[*tile].rows(),
            columns = TILES[*tile].columns(),
            cooperative = TILES[*tile].is_cooperative(),
            microseconds = 1e6 * seconds,
            "tile"
        );
    }
    let tile = least
        .into_iter()
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .map_or(0, |b| b.0);
    Ok(keys.into_iter().map(|k| (k, tile)).collect())
}

/// Seconds of a node alone: the fastest of `runs`, after one that is not timed, or as many as take `warm` seconds.
fn time(device: &Arc<Device>, graph: &Graph, node: &Node, runs: usize, warm: f64) -> Result<f64> {
    let mut exec = GpuExecutor::new(device.clone());
    let mut g = Graph::new();
    let inputs: Vec<TensorId> = node
        .inputs
        .iter()
        .map(|t| g.input("operand", graph.ty(*t).clone()))
        .collect();
    let outputs = g.push_arc(node.op.clone(), &inputs, &[])?;
    let program = exec.compile(&g, &outputs)?;
    let step = StepScalars::default();
    let start = Instant::now();
    loop {
        exec.run(program, &step)?;
        exec.wait()?;
        if start.elapsed().as_secs_f64() >= warm {
            break;
        }
    }
    let mut least = f64::INFINITY;
    for _ in 0..runs {
        let seconds = match exec.profile(program, &step) {
            Ok(t) => t.iter().map(|t| t.seconds).sum(),
            Err(GraphError::Invalid(_)) => {
                let begin = Instant::now();
                exec.run(program, &step)?;
                exec.wait()?;
                begin.elapsed().as_secs_f64()
            }
            Err(e) => return Err(e.into()),
        };
        least = least.min(seconds);
    }
    Ok(least)
}

/// 16 hexadecimal digits of the texts.
fn digest(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.finalize()[..8]
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

/// The user's file for a device: its name says adapter, driver and shaders.
fn cache_file(device: &Device) -> Option<PathBuf> {
    let var = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty());
    let home = |below: &str| var("HOME").map(|h| PathBuf::from(h).join(below));
    let folder = match std::env::consts::OS {
        "windows" => var("LOCALAPPDATA").map(PathBuf::from),
        "macos" => home("Library/Caches"),
        _ => var("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| home(".cache")),
    }?;
    let r = &device.report;
    let name = digest(&[
        r.name.as_str(),
        &r.backend,
        &r.driver,
        env!("CARGO_PKG_VERSION"),
        &format!("{TILES:?}"),
        include_str!("../../shaders/lib/tile.wgsl"),
        include_str!("../../shaders/lib/tile_coop.wgsl"),
        include_str!("../../shaders/lib/outer.wgsl"),
        include_str!("../../shaders/lib/place.wgsl"),
        include_str!("../../shaders/lib/storage.wgsl"),
        include_str!("../../shaders/gemm.wgsl"),
        include_str!("../../shaders/conv2d.wgsl"),
        include_str!("../../shaders/conv2d_input_grad.wgsl"),
        include_str!("../../shaders/conv2d_weight_grad.wgsl"),
        // What is timed, and how.
        include_str!("../ops/gemm.rs"),
        include_str!("../ops/conv2d.rs"),
        include_str!("../ops/conv2d_input_grad.rs"),
        include_str!("../ops/conv2d_weight_grad.rs"),
        include_str!("tune.rs"),
    ]);
    Some(folder.join("amcl-wgpu").join(format!("tiles-{name}.json")))
}

/// The tiles for `graphs` on `on`, which `choice` opened: as [`tiles`] with the user's file; none where the driver
/// runs on a CPU, whose kernels have no tiles.
///
/// # Errors
/// As [`tiles`].
pub fn of_graphs(
    on: &Device,
    choice: &Choice,
    graphs: &[&Graph],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<TileChoices> {
    if on.limits.is_cpu {
        return Ok(TileChoices::default());
    }
    // As `on` is: what failed its self-test there is not tried here.
    let options = Options {
        no_cooperative: on.limits.cooperative.is_empty(),
        without_tiles: on.limits.faulty_tiles.clone(),
        ..Options::default()
    };
    let device = Device::open(choice, options).map_err(GraphError::from)?;
    tiles(&device, graphs, cache_file(&device).as_deref(), progress)
}

/// The tiles of a new run.
///
/// # Errors
/// As [`tiles`].
pub fn of_run(
    on: &Device,
    choice: &Choice,
    config: &Config,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<TileChoices> {
    let method = method::method(config)?;
    of_method(on, choice, (config, method.as_ref()), progress)
}

/// The tiles of a new run with this method in place of the configuration's.
///
/// # Errors
/// As [`tiles`].
pub fn of_method(
    on: &Device,
    choice: &Choice,
    (config, method): (&Config, &dyn Method),
    progress: &mut dyn FnMut(usize, usize),
) -> Result<TileChoices> {
    let (size, mut model) = (config.model.image_size, Model::default());
    let mut gradient = Gradient::new(config, method, &mut model, (size, size), None)?;
    of_graphs(on, choice, &gradient.graphs(), progress)
}

/// [`FILE`]: choices are places in [`TILES`], so it says which list they are of.
#[derive(Serialize, Deserialize)]
struct Record {
    #[serde(default)]
    tiles: String,
    #[serde(flatten)]
    choices: TileChoices,
}

impl Record {
    /// Is it of the tiles that there are?
    fn is_ours(&self) -> bool {
        self.tiles == digest(&[&format!("{TILES:?}")])
    }
}

/// The text of [`FILE`].
pub fn record(choices: &TileChoices) -> String {
    let record = Record {
        tiles: digest(&[&format!("{TILES:?}")]),
        choices: choices.clone(),
    };
    serde_json::to_string_pretty(&record).unwrap_or_default()
}

/// The tiles of a text that [`record`] made; none where it is of a version that had others.
pub fn of_record(text: &str) -> Option<TileChoices> {
    let record: Record = serde_json::from_str(text).ok()?;
    record.is_ours().then_some(record.choices)
}

/// The tiles that the run in `folder` began with; the table's where it has no record of any, or one of a version that
/// had other tiles, which `tell` is told.
pub fn of_folder(folder: &Path, tell: &mut dyn FnMut(String)) -> TileChoices {
    let record: Option<Record> = std::fs::read_to_string(folder.join(FILE))
        .ok()
        .and_then(|text| serde_json::from_str(&text).ok());
    match record {
        Some(r) if r.is_ours() => r.choices,
        Some(r) if !r.choices.listed.is_empty() => {
            tell(format!(
                "{} was written by a version with other tiles: the table's are used, and the run goes on with \
                 other roundings",
                folder.join(FILE).display()
            ));
            TileChoices::default()
        }
        _ => TileChoices::default(),
    }
}
