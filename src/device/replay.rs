//! A recording on a device: its pipelines and bind groups are made once, its dispatches are submitted every step.

use super::recording::{Binding, Dispatch, Recording};
use super::timing::{MAX_PAIRS, Timer};
use super::view::BINDING_ALIGN;
use super::{Device, DeviceError};
use rayon::prelude::*;
use std::sync::Arc;

/// Dispatches per submission: long enough to amortise, short enough for drivers that kill long work.
const DISPATCHES_PER_SUBMIT: usize = 64;

/// A dispatch with all that the device needs of it.
struct Ready {
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

/// Dispatches ready to be submitted.
pub struct Replay {
    dispatches: Vec<Ready>,
    /// Bytes of the uniforms.
    pub uniform_bytes: u64,
}

/// A range of a buffer as a resource.
fn range(buffer: &wgpu::Buffer, offset: u64, bytes: u64) -> wgpu::BindingResource<'_> {
    wgpu::BindingResource::Buffer(wgpu::BufferBinding {
        buffer,
        offset,
        size: std::num::NonZeroU64::new(bytes),
    })
}

/// Where each dispatch's words start among the uniforms, bytes, and the bytes of all.
fn uniforms(dispatches: &[Dispatch]) -> (Vec<u64>, Vec<u8>) {
    let (mut starts, mut bytes) = (Vec::with_capacity(dispatches.len()), Vec::new());
    for d in dispatches {
        starts.push(bytes.len() as u64);
        bytes.extend_from_slice(bytemuck::cast_slice(&d.params));
        bytes.resize(bytes.len().next_multiple_of(BINDING_ALIGN), 0);
    }
    (starts, bytes)
}

impl Replay {
    /// Compiles the pipelines (in parallel), writes the uniforms once and makes the bind groups. `buffers` are those
    /// that the recording numbers.
    ///
    /// # Errors
    /// A shader that does not compile, a buffer that is not there, a bind group that does not fit, memory.
    pub fn new(
        device: &Device,
        recording: &Recording,
        buffers: &[wgpu::Buffer],
        step: &wgpu::Buffer,
    ) -> Result<Self, DeviceError> {
        let pipelines = recording
            .shaders
            .par_iter()
            .map(|s| device.pipeline(s))
            .collect::<Result<Vec<_>, _>>()?;
        let (starts, params) = uniforms(&recording.dispatches);
        let uniform_bytes = params.len().max(BINDING_ALIGN) as u64;
        let uniforms =
            device.buffer("op parameters", uniform_bytes, wgpu::BufferUsages::UNIFORM)?;
        if !params.is_empty() {
            device.queue.write_buffer(&uniforms, 0, &params);
        }
        let scope = device
            .device
            .push_error_scope(wgpu::ErrorFilter::Validation);
        let mut dispatches = Vec::with_capacity(recording.dispatches.len());
        for (d, start) in recording.dispatches.iter().zip(starts) {
            let missing = || DeviceError::Validation {
                during: d.label.clone(),
                reason: "the recording names a shader or a buffer that is not there".into(),
            };
            let (shader, pipeline) = recording
                .shaders
                .get(d.shader)
                .zip(pipelines.get(d.shader))
                .ok_or_else(missing)?;
            let mut storage = Vec::with_capacity(d.bind.len());
            for (i, Binding(id, offset, bytes)) in d.bind.iter().enumerate() {
                let buffer = buffers.get(id.0 as usize).ok_or_else(missing)?;
                storage.push(wgpu::BindGroupEntry {
                    binding: i as u32,
                    resource: range(buffer, *offset, *bytes),
                });
            }
            let mut uniform = vec![wgpu::BindGroupEntry {
                binding: 0,
                resource: range(&uniforms, start, 4 * d.params.len() as u64),
            }];
            if shader.step {
                uniform.push(wgpu::BindGroupEntry {
                    binding: 1,
                    resource: step.as_entire_binding(),
                });
            }
            let group = |number: u32, entries: &[wgpu::BindGroupEntry<'_>]| {
                device.device.create_bind_group(&wgpu::BindGroupDescriptor {
                    label: Some(&d.label),
                    layout: &pipeline.get_bind_group_layout(number),
                    entries,
                })
            };
            dispatches.push(Ready {
                storage: group(0, &storage),
                uniform: group(1, &uniform),
                pipeline: pipeline.clone(),
                grid: d.grid,
                label: d.label.clone(),
                kernel: shader.key.clone(),
            });
        }
        if let Some(e) = pollster::block_on(scope.pop()) {
            return Err(DeviceError::Validation {
                during: "making bind groups".into(),
                reason: e.to_string(),
            });
        }
        Ok(Self {
            dispatches,
            uniform_bytes,
        })
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

impl Ready {
    fn run(&self, pass: &mut wgpu::ComputePass<'_>) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.storage, &[]);
        pass.set_bind_group(1, &self.uniform, &[]);
        pass.dispatch_workgroups(self.grid.0, self.grid.1, 1);
    }
}
