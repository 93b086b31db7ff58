//! The GPU: choosing an adapter, its limits, shader variants, pipelines, buffers, recording and timing.
//!
//! Knows nothing of graphs or ops; only of kernels, buffers and dispatches.

pub(crate) mod adapter;
mod limits;
mod open;
pub mod recording;
pub mod replay;
pub mod shader;
pub(crate) mod timing;
pub(crate) mod view;

pub use adapter::{AdapterReport, Choice, Cooperative, list_adapters, none_found};
pub use limits::Limits;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Why a device could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// No adapter matches the request.
    #[error("{0}")]
    NoAdapter(String),
    /// The environment names a backend that does not exist.
    #[error("WGPU_BACKEND: `{name}` is none of {known} (with commas between){hint}")]
    Backend {
        /// The name.
        name: String,
        /// The name that was meant, perhaps.
        hint: String,
        /// The names that there are.
        known: String,
    },
    /// The driver refused to open the device.
    #[error("the adapter `{adapter}` could not be opened: {reason}")]
    Open {
        /// Adapter name.
        adapter: String,
        /// The driver's words.
        reason: String,
    },
    /// A shader did not preprocess, parse or validate.
    #[error("shader {kernel}: {reason}")]
    Shader {
        /// Kernel and entry point.
        kernel: String,
        /// The compiler's words.
        reason: String,
    },
    /// A tensor does not fit one storage binding and the op cannot split it.
    #[error(
        "{op}: a binding of {bytes} bytes exceeds the adapter's limit of {limit} bytes and this op cannot split it; \
         use a smaller batch or micro-batches (optim.micro_batches)"
    )]
    Binding {
        /// The op.
        op: String,
        /// Bytes asked for.
        bytes: u64,
        /// The adapter's limit.
        limit: u64,
    },
    /// Memory ran out.
    #[error(
        "out of GPU memory while {doing} ({bytes} bytes): use a smaller batch, micro-batches or --device cpu"
    )]
    OutOfMemory {
        /// What was being done.
        doing: String,
        /// Bytes asked for.
        bytes: u64,
    },
    /// The device went away; a run resumes from its last checkpoint.
    #[error("the GPU was lost during {during}: {reason}; resume the run with --resume")]
    Lost {
        /// The last work submitted.
        during: String,
        /// The driver's words.
        reason: String,
    },
    /// The API rejected a call: a defect of this program.
    #[error("GPU validation error in {during}: {reason}")]
    Validation {
        /// The work at hand.
        during: String,
        /// The API's words.
        reason: String,
    },
}

impl DeviceError {
    /// Two kernels of one name and other texts.
    fn name_taken(kernel: String) -> Self {
        let reason = "another kernel has this name: choose one of its own".into();
        Self::Shader { kernel, reason }
    }
}

/// How a device is opened.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Keep naga's bounds checks and loop bounding in the shaders, for tests. Otherwise shaders are trusted.
    pub checked: bool,
    /// Use the kernels for GPUs on a CPU driver too, to test them where there is no GPU.
    pub gpu_kernels: bool,
    /// Use no cooperative matrices. The environment variable `AMCL_NO_COOPERATIVE` does the same.
    pub no_cooperative: bool,
    /// Tiles ([`crate::ops::tiles::TILES`]) that failed their test on this device.
    pub without_tiles: Vec<usize>,
    /// Force this tile ([`crate::ops::tiles::TILES`]) on every product and convolution, to test each tile.
    pub forced_tile: Option<usize>,
    /// Pretend that bindings are no larger than this, to test how ops split large tensors.
    pub max_binding: Option<usize>,
    /// Plan as for an adapter with these limits, as far as this one has them: what a browser computes, natively.
    pub like: Option<Limits>,
    /// Deliberate faults for negative controls: kernel name, text to find, and its replacement.
    pub mutations: Vec<(String, String, String)>,
    /// Folder for the driver's pipeline cache; none: not cached.
    pub pipeline_cache: Option<std::path::PathBuf>,
}

/// What the driver reported and nobody has been told yet.
#[derive(Default)]
struct Health {
    /// The device is gone. This stays.
    lost: Option<String>,
    /// The first error of a call. It is told once, whatever its kind: the device goes on after it.
    error: Option<Reported>,
}

/// An error of a call, as the driver reported it.
enum Reported {
    OutOfMemory,
    Other(String),
}

impl Health {
    /// Keeps an error of a call, unless an earlier one waits: those that follow are mostly its consequences.
    fn keep(&mut self, error: &wgpu::Error) {
        self.error.get_or_insert_with(|| match error {
            wgpu::Error::OutOfMemory { .. } => Reported::OutOfMemory,
            other => Reported::Other(other.to_string()),
        });
    }

    /// The error to tell of the work `during`. An error of a call is forgotten once it is told.
    fn take(&mut self, during: &str) -> Result<(), DeviceError> {
        let during = during.to_string();
        if let Some(reason) = self.lost.clone() {
            return Err(DeviceError::Lost { during, reason });
        }
        match self.error.take() {
            None => Ok(()),
            Some(Reported::OutOfMemory) => Err(DeviceError::OutOfMemory {
                doing: format!("running {during}"),
                bytes: 0,
            }),
            Some(Reported::Other(reason)) => Err(DeviceError::Validation { during, reason }),
        }
    }
}

/// Which tile each product and convolution runs with. For a shape without an entry the table in `ops::tiles` decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TileChoices {
    /// For every shape that is not listed.
    #[serde(skip)]
    pub all: Option<usize>,
    /// Numbers in [`crate::ops::tiles::TILES`], by kernel and shape (`gemm NN 1x72x70x4`).
    pub listed: BTreeMap<String, usize>,
}

impl TileChoices {
    /// The tile for a kernel and shape.
    pub fn of(&self, key: &str) -> Option<usize> {
        self.listed.get(key).copied().or(self.all)
    }
}

/// A compiled kernel variant.
struct Compiled {
    pipeline: Arc<wgpu::ComputePipeline>,
    /// The kernel's text as it was recorded.
    text: String,
    /// The WGSL that was compiled: [`Options::mutations`] change it.
    source: String,
}

/// An opened GPU.
pub struct Device {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    /// What ops may rely on.
    pub limits: Limits,
    /// Which adapter this is.
    pub report: AdapterReport,
    options: Options,
    tiles: Mutex<TileChoices>,
    /// Kernels and shapes that have asked for a tile.
    tile_keys: Mutex<BTreeSet<String>>,
    pipelines: Mutex<HashMap<String, Compiled>>,
    cache: Option<(wgpu::PipelineCache, std::path::PathBuf)>,
    allocated: AtomicU64,
    mutated: AtomicBool,
    health: Arc<Mutex<Health>>,
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Device")
            .field("report", &self.report)
            .finish_non_exhaustive()
    }
}

impl Device {
    /// Makes a storage buffer and counts it. The counter only grows: buffers live as long as the plans that own them.
    ///
    /// # Errors
    /// [`DeviceError::OutOfMemory`] when the driver has no room or the buffer exceeds its limit.
    pub fn buffer(
        &self,
        label: &str,
        bytes: u64,
        extra: wgpu::BufferUsages,
    ) -> Result<wgpu::Buffer, DeviceError> {
        let oom = || DeviceError::OutOfMemory {
            doing: format!("allocating {label}"),
            bytes,
        };
        if bytes > self.limits.max_buffer {
            return Err(oom());
        }
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: bytes.max(4),
            usage: extra | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        if pollster::block_on(scope.pop()).is_some() {
            return Err(oom());
        }
        self.allocated.fetch_add(bytes.max(4), Ordering::Relaxed);
        Ok(buffer)
    }

    /// The tile for a kernel and shape. The key is recorded for [`Device::take_tile_keys`].
    pub(crate) fn tile_for(&self, key: &str) -> Option<usize> {
        lock(&self.tile_keys).insert(key.to_string());
        lock(&self.tiles).of(key)
    }

    /// The kernels and shapes for which programs that were compiled since the last call asked for a tile.
    pub fn take_tile_keys(&self) -> BTreeSet<String> {
        std::mem::take(&mut *lock(&self.tile_keys))
    }

    /// Whether a mutation of [`Options::mutations`] met its text in any kernel compiled so far.
    pub fn mutated(&self) -> bool {
        self.mutated.load(Ordering::Relaxed)
    }

    /// The tiles with which programs are compiled from now on.
    pub fn tiles(&self) -> TileChoices {
        lock(&self.tiles).clone()
    }

    /// Sets [`Device::tiles`].
    pub fn set_tiles(&self, tiles: TileChoices) {
        *lock(&self.tiles) = tiles;
    }

    /// Bytes of all buffers made so far.
    pub fn allocated(&self) -> u64 {
        self.allocated.load(Ordering::Relaxed)
    }

    /// The first error that the driver reported since the last call, if any. Running out of memory is told once, like
    /// any error of a call; the device can be used after it. Only its loss stays.
    ///
    /// # Errors
    /// Loss, exhaustion or validation, with the work at hand.
    pub fn check(&self, during: &str) -> Result<(), DeviceError> {
        lock(&self.health).take(during)
    }

    /// Waits until everything submitted has run.
    ///
    /// # Errors
    /// As [`Device::check`].
    pub fn wait(&self, during: &str) -> Result<(), DeviceError> {
        self.wait_for(None, during)
    }

    /// Waits for the work up to a submission, or for all of it; later work goes on meanwhile.
    ///
    /// # Errors
    /// As [`Device::check`].
    pub fn wait_for(
        &self,
        submission: Option<wgpu::SubmissionIndex>,
        during: &str,
    ) -> Result<(), DeviceError> {
        let polled = self.device.poll(wgpu::PollType::Wait {
            submission_index: submission,
            timeout: None,
        });
        self.check(during)?;
        polled.map(|_| ()).map_err(|e| DeviceError::Lost {
            during: during.to_string(),
            reason: e.to_string(),
        })
    }

    /// Copies a range of a buffer to the host, waiting for it.
    ///
    /// # Errors
    /// As [`Device::check`].
    pub fn read(
        &self,
        buffer: &wgpu::Buffer,
        offset: u64,
        bytes: u64,
        what: &str,
    ) -> Result<Vec<u8>, DeviceError> {
        let staging = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("read-back"),
            size: bytes.max(4),
            usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
            mapped_at_creation: false,
        });
        let mut enc = self
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor {
                label: Some("read-back"),
            });
        enc.copy_buffer_to_buffer(buffer, offset, &staging, 0, bytes);
        self.queue.submit([enc.finish()]);
        staging.map_async(wgpu::MapMode::Read, .., |_| {});
        self.wait(what)?;
        let lost = |e: &dyn std::fmt::Display| DeviceError::Lost {
            during: what.to_string(),
            reason: e.to_string(),
        };
        let data = staging.get_mapped_range(..).map_err(|e| lost(&e))?[..bytes as usize].to_vec();
        staging.unmap();
        staging.destroy();
        Ok(data)
    }

    /// The pipeline of a shader, from the cache or compiled now.
    pub(crate) fn pipeline(
        &self,
        shader: &recording::Shader,
    ) -> Result<Arc<wgpu::ComputePipeline>, DeviceError> {
        let key = shader.key.clone();
        if let Some(known) = lock(&self.pipelines).get(&key) {
            return match known.text == shader.wgsl {
                true => Ok(known.pipeline.clone()),
                false => Err(DeviceError::name_taken(key)),
            };
        }
        let mut source = shader.wgsl.clone();
        for (name, from, to) in &self.options.mutations {
            if *name == shader.name && source.contains(from.as_str()) {
                source = source.replace(from.as_str(), to);
                self.mutated.store(true, Ordering::Relaxed);
            }
        }
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let descriptor = wgpu::ShaderModuleDescriptor {
            label: Some(&key),
            source: wgpu::ShaderSource::Wgsl(source.as_str().into()),
        };
        let module = if self.options.checked {
            self.device.create_shader_module(descriptor)
        } else {
            // SAFETY: every kernel clamps or guards its own indices and bounds its loops; the tests run the same table
            // with the checks on (and guard words after every buffer).
            unsafe {
                self.device.create_shader_module_trusted(
                    descriptor,
                    wgpu::ShaderRuntimeChecks::unchecked(),
                )
            }
        };
        let pipeline = self
            .device
            .create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(&key),
                layout: None,
                module: &module,
                entry_point: Some(&shader.entry),
                compilation_options: wgpu::PipelineCompilationOptions {
                    // Kernels write workgroup memory before they read it; clearing it costs a pass per group.
                    zero_initialize_workgroup_memory: false,
                    ..Default::default()
                },
                cache: self.cache.as_ref().map(|c| &c.0),
            });
        if let Some(e) = pollster::block_on(scope.pop()) {
            return Err(DeviceError::Shader {
                kernel: key,
                reason: e.to_string(),
            });
        }
        let pipeline = Arc::new(pipeline);
        let compiled = Compiled {
            pipeline: pipeline.clone(),
            text: shader.wgsl.clone(),
            source,
        };
        lock(&self.pipelines).insert(key, compiled);
        Ok(pipeline)
    }

    /// Every shader variant compiled so far: its key and its WGSL after preprocessing.
    pub fn shader_variants(&self) -> Vec<(String, String)> {
        lock(&self.pipelines)
            .iter()
            .map(|(k, v)| (k.clone(), v.source.clone()))
            .collect()
    }

    /// Writes the driver's pipeline cache to disk (temp + rename). A failure is no error: it is only a cache.
    pub fn save_pipeline_cache(&self) {
        let Some((cache, path)) = &self.cache else {
            return;
        };
        let (Some(data), Some(dir)) = (cache.get_data(), path.parent()) else {
            return;
        };
        let saved = std::fs::create_dir_all(dir)
            .and_then(|()| tempfile::NamedTempFile::new_in(dir))
            .and_then(|mut f| std::io::Write::write_all(&mut f, &data).map(|()| f))
            .map(|f| f.persist(path).is_ok());
        tracing::debug!(?path, ?saved, "pipeline cache");
    }
}

/// Locks, ignoring poisoning: the guarded values stay consistent after a panic elsewhere.
fn lock<T>(m: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    m.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
