//! What a run ran on, for whoever reads it later: `environment.json`.

use crate::graph::plan::free_memory;
use serde::Serialize;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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
    /// The loss is computed without matrices of all pairs.
    #[serde(skip)]
    pub streamed_loss: bool,
    /// The largest tensors of a training step, largest first.
    pub largest: Vec<(usize, String)>,
}

/// This program, this machine, the device, the memory plan. Times are in seconds, sizes in bytes; what the system does
/// not tell is null.
pub fn describe(device: &str, memory: &Memory, before: Prelude) -> Value {
    let system = sysinfo::System::new().ok();
    let total = system.map(|mut s| {
        s.refresh_memory();
        s.total_memory()
    });
    let started = SystemTime::now().duration_since(UNIX_EPOCH).ok();
    json!({
        "version": env!("CARGO_PKG_VERSION"), "started_unix": started.map(|d| d.as_secs()),
        "system": sysinfo::System::long_os_version().ok(), "kernel": sysinfo::System::kernel_version().ok(),
        "arch": std::env::consts::ARCH, "threads": rayon::current_num_threads(),
        "memory_total": total, "memory_free": free_memory(), "device": device, "memory": memory,
        "data_seconds": before.data.as_secs_f64(), "compile_seconds": before.compile.as_secs_f64(),
    })
}
