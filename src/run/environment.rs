//! What a run ran on, for whoever reads it later: `environment.json`.

use super::folder::ENVIRONMENT;
use crate::data::Split;
use crate::data::fingerprint::Fingerprint;
use crate::graph::Executor;
use crate::graph::memory::free_memory;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The commit that this program was built from, with `-dirty` where its sources differed from it. None where it was
/// built from neither a checkout nor a package.
pub fn commit() -> Option<&'static str> {
    Some(env!("AMCL_COMMIT")).filter(|c| !c.is_empty())
}

/// The name and version of the driver that an executor runs on; none on the CPU executor.
pub fn driver(exec: &dyn Executor) -> Option<String> {
    exec.device().map(|d| d.report.driver.clone())
}

/// The processor: its name, its cores, the widest vectors that it has. None where the system does not tell.
pub fn processor() -> Option<String> {
    let mut system = sysinfo::System::new().ok()?;
    system.refresh_cpu_list(sysinfo::CpuRefreshKind::nothing());
    let cpus = system.cpus();
    let brand = cpus.first()?.brand().trim();
    #[cfg(target_arch = "x86_64")]
    let vectors = match (
        is_x86_feature_detected!("avx512f"),
        is_x86_feature_detected!("avx2"),
    ) {
        (true, _) => ", AVX-512",
        (_, true) => ", AVX2",
        _ => ", no AVX2",
    };
    #[cfg(not(target_arch = "x86_64"))]
    let vectors = "";
    Some(format!("{brand}, {} cores{vectors}", cpus.len()))
}

/// Seconds that a run took before its first step.
#[derive(Clone, Copy, Debug)]
pub struct Prelude {
    /// Reading and decoding the data.
    pub data: Duration,
    /// Building the graph, compiling kernels, sending the data.
    pub compile: Duration,
}

/// The memory plan, in bytes.
#[derive(Clone, Debug, Serialize)]
pub struct Memory {
    /// In all: pooled tensors and kernel parameters of all programs, and states.
    pub planned: u64,
    /// Tensors of a training step.
    pub training_step: usize,
    /// The same if no two tensors shared memory.
    pub without_reuse: usize,
    /// Parameters, moments, statistics, and images on the device.
    pub states: usize,
    /// The training images lie on the device; else a batch at a time is sent.
    pub images_on_device: bool,
    /// Why they do not.
    pub images_streamed: Option<String>,
    /// The loss is computed without matrices of all pairs.
    #[serde(skip)]
    pub streamed_loss: bool,
    /// The largest tensors of a training step, largest first.
    pub largest: Vec<(usize, String)>,
}

/// What a run will take, before anything is allocated.
#[derive(Clone, Debug, Serialize)]
pub struct Planned {
    /// Numbers of the parameters.
    pub parameters: usize,
    /// The memory plan.
    pub memory: Memory,
    /// Steps of the run.
    pub steps: usize,
    /// Operations of a step's matrix products and convolutions, with every pass over its images: gradient caching goes
    /// forward through them twice.
    pub step_flops: f64,
}

/// The data that a run is trained on: `data` in [`ENVIRONMENT`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataRecord {
    /// What they are, in words.
    pub description: String,
    /// Where they are, as an absolute path; `shapes` for those; none where the caller gave the images.
    pub path: Option<String>,
    /// What tells them from others.
    pub fingerprint: Fingerprint,
    /// What changed each time when the run was continued on other data, oldest first.
    #[serde(default)]
    pub changes: Vec<String>,
}

impl DataRecord {
    /// The record of data that were opened at `path`.
    pub fn of(split: &Split, path: Option<&str>) -> Self {
        let absolute = |p: &str| match p {
            "shapes" => p.to_string(),
            _ => std::path::absolute(p).map_or(p.into(), |a| a.to_string_lossy().into_owned()),
        };
        Self {
            description: split.description.clone(),
            path: path.map(absolute),
            fingerprint: Fingerprint::of(split),
            changes: Vec::new(),
        }
    }

    /// The record in a run's folder. None where there is no run, or one of a program that kept none.
    pub fn read(run: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(run.join(ENVIRONMENT)).ok()?;
        let mut all: Value = serde_json::from_str(&text).ok()?;
        serde_json::from_value(all["data"].take()).ok()
    }

    /// How the data of `split` differ from those of this record, in a line; none where they do not.
    pub fn changed(&self, split: &Split) -> Option<String> {
        let all = self.fingerprint.differences(&Fingerprint::of(split));
        (!all.is_empty()).then(|| all.join("; "))
    }

    /// The path to open, for a run whose configuration says `path`: where that leads nowhere from here, the absolute
    /// one of the record, if there is something.
    pub fn place<'a>(&'a self, path: &'a str) -> &'a str {
        let kept = self.path.as_deref().filter(|p| Path::new(p).exists());
        match path == "shapes" || Path::new(path).exists() {
            true => path,
            false => kept.unwrap_or(path),
        }
    }
}

/// This program, this machine, the device, the memory plan. Times are in seconds, sizes in bytes; what the system does
/// not tell is null.
pub fn describe(exec: &dyn Executor, memory: &Memory, before: Prelude, data: &DataRecord) -> Value {
    let system = sysinfo::System::new().ok();
    let total = system.map(|mut s| {
        s.refresh_memory();
        s.total_memory()
    });
    let started = SystemTime::now().duration_since(UNIX_EPOCH).ok();
    json!({
        "version": env!("CARGO_PKG_VERSION"), "commit": commit(), "started_unix": started.map(|d| d.as_secs()),
        "system": sysinfo::System::long_os_version().ok(), "kernel": sysinfo::System::kernel_version().ok(),
        "arch": std::env::consts::ARCH, "threads": rayon::current_num_threads(),
        "processor": processor(), "memory_total": total, "memory_free": free_memory(), "device": exec.name(),
        "driver": driver(exec), "memory": memory,
        "data": data,
        "data_seconds": before.data.as_secs_f64(), "compile_seconds": before.compile.as_secs_f64(),
    })
}
