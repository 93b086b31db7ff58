//! Replays a plan that was read from a file: what `player.js` does in a page, on this machine's device.

use super::{decode, encode, fits};
use crate::device::Device;
use crate::device::recording::Recording;
use crate::device::replay::Replay;
use crate::graph::exec::HostData;
use crate::graph::portable::{Portable, Program, Tensor};
use crate::graph::step::StepScalars;
use crate::graph::tensor::{DType, TensorType};
use crate::graph::{GraphError, Result};
use std::sync::Arc;

/// A plan on a device.
pub struct Player {
    device: Arc<Device>,
    plan: Portable,
    buffers: Vec<wgpu::Buffer>,
    step: wgpu::Buffer,
    replays: Vec<Replay>,
}

fn kind(t: &Tensor) -> Result<DType> {
    match t.dtype.as_str() {
        "f32" => Ok(DType::F32),
        "f16" => Ok(DType::F16),
        "u32" => Ok(DType::U32),
        other => Err(GraphError::Invalid(format!(
            "`{}` is of type {other}, which no plan has",
            t.name
        ))),
    }
}

impl Player {
    /// Allocates the buffers, fills them from `contents` and compiles the shaders.
    ///
    /// # Errors
    /// A plan that contradicts itself or its contents; memory; shaders.
    pub fn new(device: Arc<Device>, plan: Portable, contents: &[u8]) -> Result<Self> {
        let mut buffers = Vec::with_capacity(plan.buffers.len());
        for b in &plan.buffers {
            let buffer = device.buffer(&b.name, b.bytes, wgpu::BufferUsages::STORAGE)?;
            if let Some(span) = b.from {
                let end = span.offset.saturating_add(span.bytes);
                let fits = end <= contents.len() as u64 && span.bytes <= b.bytes;
                let bytes = fits.then(|| &contents[span.offset as usize..end as usize]);
                let bytes = bytes.ok_or_else(|| {
                    GraphError::Invalid(format!(
                        "the plan's contents end before those of `{}`",
                        b.name
                    ))
                })?;
                device.queue.write_buffer(&buffer, 0, bytes);
            }
            buffers.push(buffer);
        }
        let step_bytes = plan.step_bytes.max(size_of::<StepScalars>()) as u64;
        let step = device.buffer("step", step_bytes, wgpu::BufferUsages::UNIFORM)?;
        let mut replays = Vec::with_capacity(plan.programs.len());
        for p in &plan.programs {
            let recording = Recording {
                shaders: plan.shaders.clone(),
                dispatches: p.dispatches.clone(),
            };
            replays.push(Replay::new(&device, &recording, &buffers, &step)?);
        }
        device.check("compiling")?;
        Ok(Self {
            device,
            plan,
            buffers,
            step,
            replays,
        })
    }

    fn buffer(&self, t: &Tensor) -> Result<&wgpu::Buffer> {
        let missing = || GraphError::Invalid(format!("`{}` lies in no buffer of the plan", t.name));
        self.buffers.get(t.buffer as usize).ok_or_else(missing)
    }

    /// Runs a program by its name: writes inputs by theirs, and returns all of its outputs with their names. Inputs
    /// that are not given keep what they hold.
    ///
    /// # Errors
    /// No such program or input; data of another length or type; device loss.
    pub fn run(
        &self,
        program: &str,
        inputs: &[(&str, HostData)],
        step: &StepScalars,
    ) -> Result<Vec<(String, HostData)>> {
        let no = |what: &str, name: &str| {
            GraphError::Invalid(format!("the plan has no {what} `{name}`"))
        };
        let at = self.plan.programs.iter().position(|p| p.name == program);
        let at = at.ok_or_else(|| no("program", program))?;
        let p: &Program = &self.plan.programs[at];
        for (name, data) in inputs {
            let found = p.inputs.iter().find(|t| t.name == *name);
            let t = found.ok_or_else(|| no("input", name))?;
            let ty = TensorType {
                shape: t.dims.as_slice().into(),
                dtype: kind(t)?,
            };
            fits(data, &ty, name)?;
            let bytes = encode(data, ty.dtype);
            self.device
                .queue
                .write_buffer(self.buffer(t)?, t.offset, &bytes);
        }
        self.device
            .queue
            .write_buffer(&self.step, 0, bytemuck::bytes_of(step));
        self.replays[at].submit(&self.device);
        let mut out = Vec::with_capacity(p.outputs.len());
        for t in &p.outputs {
            let (dtype, elements) = (kind(t)?, t.dims.iter().product::<usize>());
            let bytes = (elements * dtype.bytes()).next_multiple_of(4) as u64;
            let raw = self
                .device
                .read(self.buffer(t)?, t.offset, bytes, &t.name)?;
            out.push((t.name.clone(), decode(&raw, elements, dtype)));
        }
        Ok(out)
    }
}
