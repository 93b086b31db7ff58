//! Kernels, views of buffers, and the recording of dispatches that is replayed every step.

use super::timing::{MAX_PAIRS, Timer};
pub use super::view::{BINDING_ALIGN, View, row_chunks, row_chunks_of};
use super::{Device, DeviceError, Limits};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;

/// Dispatches per submission: long enough to amortise, short enough for drivers that kill long work.
const DISPATCHES_PER_SUBMIT: usize = 64;

/// A shader variant and its entry point.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// File name without ending. No two kernels of a device share one.
    pub name: &'static str,
    /// WGSL text before preprocessing.
    pub source: &'static str,
    /// Entry point.
    pub entry: &'static str,
    /// Flags and constants.
    pub defines: Vec<(&'static str, String)>,
}

impl Kernel {
    /// A kernel without defines, of a text that need not be a file of this crate. Buffers stand at group 0 in the order
    /// of [`Recorder::dispatch`], the parameters at group 1, binding 0.
    ///
    /// The text may `#import` the files of `shaders/lib`: `grid` has `group_index`, which numbers the workgroups.
    /// It is compiled without bounds checks, so it has to guard its indices itself.
    pub fn new(name: &'static str, source: &'static str, entry: &'static str) -> Self {
        Self {
            name,
            source,
            entry,
            defines: Vec::new(),
        }
    }

    /// Adds a constant, or a flag when `value` is empty.
    #[must_use]
    pub fn define(mut self, name: &'static str, value: impl ToString) -> Self {
        self.defines.push((name, value.to_string()));
        self
    }

    /// Adds a flag when `on`.
    #[must_use]
    pub fn flag(self, name: &'static str, on: bool) -> Self {
        if on { self.define(name, "") } else { self }
    }

    pub(crate) fn key(&self) -> String {
        let mut s = format!("{}:{}", self.name, self.entry);
        for (n, v) in &self.defines {
            s.push_str(&format!(" {n}={v}"));
        }
        s
    }
}

/// `kernel!("conv2d", "main")`: the kernel of `shaders/conv2d.wgsl`, below the package that the call stands in.
#[macro_export]
macro_rules! kernel {
    ($name:literal, $entry:literal) => {
        $crate::device::recording::Kernel::new(
            $name,
            include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/shaders/",
                $name,
                ".wgsl"
            )),
            $entry,
        )
    };
}

/// Workgroups as (x, y), folded when there are more than one dimension holds; x*y >= groups.
pub fn fold_grid(groups: usize, max: u32) -> (u32, u32) {
    let max = max as usize;
    if groups <= max {
        return (groups as u32, 1);
    }
    let y = groups.div_ceil(max);
    (groups.div_ceil(y) as u32, y as u32)
}

struct Request {
    kernel: Kernel,
    params: Range<usize>,
    bindings: Vec<(wgpu::Buffer, u64, u64)>,
    grid: (u32, u32),
    label: String,
}

/// Collects the dispatches of a plan.
pub struct Recorder<'a> {
    device: &'a Device,
    requests: Vec<Request>,
    params: Vec<u8>,
    label: String,
}

impl<'a> Recorder<'a> {
    /// An empty recorder.
    pub fn new(device: &'a Device) -> Self {
        Self {
            device,
            requests: Vec::new(),
            params: Vec::new(),
            label: String::new(),
        }
    }

    /// Names the dispatches that follow (op and place in the model).
    pub fn set_label(&mut self, label: String) {
        self.label = label;
    }

    /// What the device allows.
    pub fn limits(&self) -> &Limits {
        &self.device.limits
    }

    /// The tile that the device's choices name for the kernel and shape `key`; none: the table in `ops::tiles` decides.
    pub fn tile_for(&self, key: &str) -> Option<usize> {
        self.device.tile_for(key)
    }

    /// Records one dispatch of `groups` workgroups: `buffers` at group 0 in order, `params` as the uniform at group 1,
    /// binding 0.
    ///
    /// # Errors
    /// [`DeviceError::Binding`] when a view exceeds the adapter's binding limit.
    pub fn dispatch<P: bytemuck::Pod>(
        &mut self,
        kernel: &Kernel,
        params: &P,
        buffers: &[&View],
        groups: usize,
    ) -> Result<(), DeviceError> {
        if groups == 0 {
            return Ok(());
        }
        let mut bindings = Vec::with_capacity(buffers.len());
        for v in buffers {
            if v.bytes() > self.device.limits.max_binding {
                return Err(DeviceError::Binding {
                    op: self.label.clone(),
                    bytes: v.bytes() as u64,
                    limit: self.device.limits.max_binding as u64,
                });
            }
            if v.offset % BINDING_ALIGN as u64 != 0 {
                return Err(DeviceError::Validation {
                    during: self.label.clone(),
                    reason: format!(
                        "a view of shape {:?} starts at byte {}, not a multiple of 256",
                        v.dims, v.offset
                    ),
                });
            }
            bindings.push((v.buffer.clone(), v.offset, v.bytes() as u64));
        }
        let start = self.params.len();
        self.params.extend_from_slice(bytemuck::bytes_of(params));
        let end = self.params.len();
        self.params
            .resize(end.div_ceil(BINDING_ALIGN) * BINDING_ALIGN, 0);
        self.requests.push(Request {
            kernel: kernel.clone(),
            params: start..end,
            bindings,
            grid: fold_grid(groups, self.device.limits.max_groups),
            label: self.label.clone(),
        });
        Ok(())
    }

    /// Compiles the pipelines (in parallel), writes the uniforms once and makes the bind groups.
    ///
    /// # Errors
    /// A shader that does not compile, a bind group that does not fit, memory.
    pub fn finish(self, step: &wgpu::Buffer) -> Result<Recording, DeviceError> {
        let Self {
            device,
            requests,
            params,
            ..
        } = self;
        let mut unique: Vec<&Kernel> = Vec::new();
        for r in &requests {
            if !unique.iter().any(|k| k.key() == r.kernel.key()) {
                unique.push(&r.kernel);
            }
        }
        unique
            .par_iter()
            .map(|k| device.pipeline(k).map(|_| ()))
            .collect::<Result<(), _>>()?;
        let uniforms = device.buffer(
            "op parameters",
            params.len().max(256) as u64,
            wgpu::BufferUsages::UNIFORM,
        )?;
        if !params.is_empty() {
            device.queue.write_buffer(&uniforms, 0, &params);
        }
        let scope = device
            .device
            .push_error_scope(wgpu::ErrorFilter::Validation);
        let mut dispatches = Vec::with_capacity(requests.len());
        for r in requests {
            let pipeline = device.pipeline(&r.kernel)?;
            let buffers: Vec<wgpu::BindGroupEntry<'_>> = r
                .bindings
                .iter()
                .enumerate()
                .map(|(i, (buffer, offset, size))| wgpu::BindGroupEntry {
                    binding: i as u32,
                    resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                        buffer,
                        offset: *offset,
                        size: std::num::NonZeroU64::new(*size),
                    }),
                })
                .collect();
            let storage = device.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(&r.label),
                layout: &pipeline.get_bind_group_layout(0),
                entries: &buffers,
            });
            let mut entries = vec![wgpu::BindGroupEntry {
                binding: 0,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: &uniforms,
                    offset: r.params.start as u64,
                    size: std::num::NonZeroU64::new(r.params.len() as u64),
                }),
            }];
            if uses_step(r.kernel.source) {
                entries.push(wgpu::BindGroupEntry {
                    binding: 1,
                    resource: step.as_entire_binding(),
                });
            }
            let uniform = device.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(&r.label),
                layout: &pipeline.get_bind_group_layout(1),
                entries: &entries,
            });
            dispatches.push(Dispatch {
                pipeline,
                storage,
                uniform,
                grid: r.grid,
                label: r.label,
                kernel: r.kernel.key(),
            });
        }
        if let Some(e) = pollster::block_on(scope.pop()) {
            return Err(DeviceError::Validation {
                during: "making bind groups".into(),
                reason: e.to_string(),
            });
        }
        Ok(Recording {
            dispatches,
            uniform_bytes: params.len().max(256) as u64,
        })
    }
}

/// Does any line import the step block (an entry point that imports it must use it)?
fn uses_step(source: &str) -> bool {
    source.lines().any(|l| l.trim() == "#import step")
}

struct Dispatch {
    pipeline: Arc<wgpu::ComputePipeline>,
    storage: wgpu::BindGroup,
    uniform: wgpu::BindGroup,
    grid: (u32, u32),
    label: String,
    kernel: String,
}

/// Time of one dispatch.
#[derive(Clone, Debug)]
pub struct Timed {
    /// Op and place.
    pub label: String,
    /// Kernel variant.
    pub kernel: String,
    /// Seconds since the first dispatch.
    pub start: f64,
    /// Seconds it took.
    pub seconds: f64,
}

/// Dispatches ready to be replayed.
pub struct Recording {
    dispatches: Vec<Dispatch>,
    /// Bytes of the uniforms.
    pub uniform_bytes: u64,
}

impl Recording {
    /// Number of dispatches.
    pub fn len(&self) -> usize {
        self.dispatches.len()
    }

    /// Nothing recorded.
    pub fn is_empty(&self) -> bool {
        self.dispatches.is_empty()
    }

    /// Submits all dispatches in order; returns at once.
    pub fn submit(&self, device: &Device) {
        for part in self.dispatches.chunks(DISPATCHES_PER_SUBMIT) {
            let mut enc = device
                .device
                .create_command_encoder(&wgpu::CommandEncoderDescriptor {
                    label: Some("step"),
                });
            {
                let mut pass = enc.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                for d in part {
                    d.run(&mut pass);
                }
            }
            device.queue.submit([enc.finish()]);
        }
    }

    /// Runs with one pass a dispatch and returns their times. Needs timestamp queries.
    ///
    /// # Errors
    /// Device loss.
    pub fn profile(&self, device: &Device) -> Result<Vec<Timed>, DeviceError> {
        let mut out: Vec<Timed> = Vec::with_capacity(self.dispatches.len());
        for part in self.dispatches.chunks(DISPATCHES_PER_SUBMIT.min(MAX_PAIRS)) {
            let timer = Timer::new(device, part.len());
            let mut enc = device
                .device
                .create_command_encoder(&wgpu::CommandEncoderDescriptor {
                    label: Some("profile"),
                });
            for (i, d) in part.iter().enumerate() {
                let mut pass = enc.begin_compute_pass(&wgpu::ComputePassDescriptor {
                    label: Some(&d.label),
                    timestamp_writes: Some(timer.writes(i)),
                });
                d.run(&mut pass);
            }
            timer.resolve(&mut enc);
            device.queue.submit([enc.finish()]);
            let base = out.last().map_or(0.0, |t| t.start + t.seconds);
            for (d, (start, seconds)) in part.iter().zip(timer.read(device)?) {
                out.push(Timed {
                    label: d.label.clone(),
                    kernel: d.kernel.clone(),
                    start: base + start,
                    seconds,
                });
            }
        }
        Ok(out)
    }
}

impl Dispatch {
    fn run(&self, pass: &mut wgpu::ComputePass<'_>) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.storage, &[]);
        pass.set_bind_group(1, &self.uniform, &[]);
        pass.dispatch_workgroups(self.grid.0, self.grid.1, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::{fold_grid, row_chunks_of};
    use crate::device::Limits;

    fn limits(max_binding: usize) -> Limits {
        Limits {
            max_binding,
            max_buffer: u64::MAX,
            max_groups: 65535,
            workgroup_memory: 16384,
            subgroups: false,
            f16: false,
            timestamps: false,
            cooperative: Vec::new(),
            subgroup: (32, 32),
            is_cpu: true,
        }
    }

    #[test]
    fn grids_cover_all_groups_within_the_limit() {
        for n in [1, 65535, 65536, 65537, 1 << 20, 65535 * 65535] {
            let (x, y) = fold_grid(n, 65535);
            assert!(
                x <= 65535 && y <= 65535 && x as usize * y as usize >= n,
                "{n}: {x} {y}"
            );
            assert!(
                (x as usize * y as usize) < n + y as usize,
                "{n}: wasteful {x} {y}"
            );
        }
    }

    #[test]
    fn chunks_cover_fit_and_align() {
        for (rows, a, b, max) in [
            (10, 3, 64, 1024),
            (100, 5, 7, 4096),
            (7, 64, 64, 512),
            (5, 1, 1, 1 << 20),
        ] {
            let chunks = row_chunks_of(&[(&[rows, a], 4), (&[rows, b], 4)], &limits(max));
            assert_eq!(chunks.first().map(|c| c.start), Some(0));
            assert_eq!(chunks.last().map(|c| c.end), Some(rows));
            for w in chunks.windows(2) {
                assert_eq!(w[0].end, w[1].start);
            }
            for c in &chunks {
                for row in [a, b] {
                    assert_eq!(c.start * row * 4 % 256, 0, "{rows} {a} {b}: {c:?}");
                }
            }
        }
    }
}
