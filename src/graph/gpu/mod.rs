//! The GPU executor: the plan's nodes are recorded once as WGSL dispatches and replayed; any op can be switched to its
//! twin.

mod readback;
mod search;
mod twin;

use super::exec::{Executor, HostData, NonFinite, ProgramId, Ticket};
use super::memory::free_memory;
use super::op::Bindings;
use super::plan::{Location, Plan, PlanOptions, states_fit};
use super::state::{StateId, States};
use super::step::StepScalars;
use super::tensor::{DType, TensorType};
use super::{Graph, GraphError, NodeId, Origin, Result, TensorId};
use crate::device::Device;
use crate::device::recording::{Recorder, Recording, Timed, View};
use half::f16;
use readback::Readback;
use std::sync::Arc;

/// The word that poisons outputs and guards buffers: a quiet NaN with a recognisable payload.
const POISON: u32 = 0x7fc0_dead;
/// Guard words after each buffer in guarded mode.
const GUARD: usize = 64;

enum Segment {
    Gpu(Recording),
    Twin(NodeId),
}

struct Program {
    graph: Graph,
    plan: Plan,
    slots: Vec<wgpu::Buffer>,
    segments: Vec<Segment>,
    fetch: Vec<TensorId>,
    step: wgpu::Buffer,
}

/// Runs graphs on a [`Device`].
pub struct GpuExecutor {
    device: Arc<Device>,
    states: Vec<wgpu::Buffer>,
    registry: States,
    programs: Vec<Program>,
    /// Buffers that hold nothing between runs. Programs run one after the other and share them.
    pool: Vec<(wgpu::Buffer, DType)>,
    readback: Readback,
    twins: Vec<String>,
    guarded: bool,
    /// Free memory when the executor was made, where the device's memory is the machine's.
    memory: Option<u64>,
}

impl GpuExecutor {
    /// An executor without states or programs.
    pub fn new(device: Arc<Device>) -> Self {
        // A CPU driver's memory is the machine's. No interface tells what a graphics card has left.
        let memory = device.limits.is_cpu.then(free_memory).flatten();
        Self {
            device,
            memory,
            states: Vec::new(),
            registry: States::new(),
            programs: Vec::new(),
            pool: Vec::new(),
            readback: Readback::default(),
            twins: Vec::new(),
            guarded: false,
        }
    }

    /// Runs the ops of these names by their twins on the host: slow, for bisecting a fault.
    #[must_use]
    pub fn with_twins(mut self, ops: &[String]) -> Self {
        self.twins = ops.to_vec();
        self
    }

    /// Gives every tensor memory of its own, poisoned and followed by guard words ([`GpuExecutor::check_guards`]).
    #[must_use]
    pub fn guarded(mut self) -> Self {
        self.guarded = true;
        self
    }

    /// The device.
    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }

    fn view(
        &self,
        graph: &Graph,
        plan: &Plan,
        slots: &[wgpu::Buffer],
        t: TensorId,
    ) -> Result<View> {
        let ty = graph.ty(t);
        match graph.tensor(t).state() {
            Some(id) => {
                let buffer = self.states.get(id.group as usize).ok_or_else(|| {
                    GraphError::Invalid(format!(
                        "state `{}` is not allocated",
                        graph.tensor(t).name
                    ))
                })?;
                Ok(View::new(
                    buffer.clone(),
                    (self.registry.entry(id).offset * 4) as u64,
                    ty.dims(),
                    ty.dtype.bytes(),
                ))
            }
            None => Ok(slot_view(slots, plan.placement[&t], ty)),
        }
    }

    fn bindings(
        &self,
        graph: &Graph,
        plan: &Plan,
        slots: &[wgpu::Buffer],
        id: NodeId,
    ) -> Result<Bindings> {
        let n = graph.node(id);
        let views = |ts: &[TensorId]| {
            ts.iter()
                .map(|t| self.view(graph, plan, slots, *t))
                .collect::<Result<Vec<_>>>()
        };
        Ok(Bindings {
            inputs: views(&n.inputs)?,
            outputs: views(&n.outputs)?,
            updates: views(&n.updates)?,
            workspace: plan
                .workspace
                .get(&id)
                .into_iter()
                .flatten()
                .map(|(ty, location)| slot_view(slots, *location, ty))
                .collect(),
        })
    }

    /// The names of tensors past whose end a kernel wrote. Only in guarded mode.
    ///
    /// # Errors
    /// Device loss.
    pub fn check_guards(&self, program: ProgramId) -> Result<Vec<String>> {
        let p = &self.programs[program.0];
        let mut bad = Vec::new();
        for (slot, buffer) in p.plan.slots.iter().zip(&p.slots) {
            let raw =
                self.device
                    .read(buffer, slot.bytes as u64, (GUARD * 4) as u64, "guard words")?;
            if bytemuck::pod_collect_to_vec::<u8, u32>(&raw)
                .iter()
                .any(|w| *w != POISON)
            {
                bad.push(slot.tensor.clone());
            }
        }
        Ok(bad)
    }

    fn read_view(&self, view: &View, dtype: DType, what: &str) -> Result<HostData> {
        let raw = self
            .device
            .read(&view.buffer, view.offset, view.bytes() as u64, what)?;
        Ok(decode(&raw, view.elements(), dtype))
    }

    fn build(&self, graph: &Graph, fetch: &[TensorId], one_by_one: bool) -> Result<Program> {
        let own = self.guarded || one_by_one;
        let options = PlanOptions {
            no_reuse: own,
            typed: false,
            pool: match own {
                true => Vec::new(),
                false => self
                    .pool
                    .iter()
                    .map(|p| (p.0.size() as usize, p.1))
                    .collect(),
            },
            max_buffer: Some(self.device.limits.max_buffer),
            available: self
                .memory
                .map(|m| m.saturating_sub(self.allocated_bytes())),
        };
        let plan = Plan::new(graph, fetch, Some(&self.device.limits), &options)?;
        let guard = if self.guarded { GUARD * 4 } else { 0 };
        let mut slots = Vec::with_capacity(plan.slots.len());
        for s in &plan.slots {
            if let Some(i) = s.pool {
                slots.push(self.pool[i].0.clone());
                continue;
            }
            let buffer = self.device.buffer(
                &s.tensor,
                (s.bytes + guard) as u64,
                wgpu::BufferUsages::STORAGE,
            )?;
            if self.guarded {
                let words = vec![POISON; (s.bytes + guard) / 4];
                self.device
                    .queue
                    .write_buffer(&buffer, 0, bytemuck::cast_slice(&words));
            }
            slots.push(buffer);
        }
        let step = self.device.buffer(
            "step",
            size_of::<StepScalars>() as u64,
            wgpu::BufferUsages::UNIFORM,
        )?;
        let mut segments = Vec::new();
        let mut recorder = Recorder::new(&self.device);
        let mut open = false;
        for &id in &plan.order {
            let n = graph.node(id);
            if self.twins.iter().any(|t| t == n.op.name()) {
                if open {
                    let done = std::mem::replace(&mut recorder, Recorder::new(&self.device));
                    segments.push(Segment::Gpu(done.finish(&step)?));
                    open = false;
                }
                segments.push(Segment::Twin(id));
                continue;
            }
            recorder.set_label(n.title());
            n.op.record(&mut recorder, &self.bindings(graph, &plan, &slots, id)?)?;
            open = true;
            if one_by_one {
                let done = std::mem::replace(&mut recorder, Recorder::new(&self.device));
                segments.push(Segment::Gpu(done.finish(&step)?));
                open = false;
            }
        }
        if open {
            segments.push(Segment::Gpu(recorder.finish(&step)?));
        }
        self.device.check("compiling")?;
        Ok(Program {
            graph: graph.clone(),
            plan,
            slots,
            segments,
            fetch: fetch.to_vec(),
            step,
        })
    }

    fn fetchable<'p>(&self, p: &'p Program, t: TensorId) -> Result<&'p TensorType> {
        if !p.fetch.contains(&t) {
            return Err(GraphError::Invalid(format!(
                "`{}` was not asked for at compile",
                p.graph.tensor(t).name
            )));
        }
        Ok(p.graph.ty(t))
    }
}

/// A tensor at a location in a slot.
fn slot_view(slots: &[wgpu::Buffer], location: Location, ty: &TensorType) -> View {
    let (slot, offset) = (slots[location.slot].clone(), location.offset as u64);
    View::new(slot, offset, ty.dims(), ty.dtype.bytes())
}

/// `elements` of a buffer's bytes; halves become f32.
fn decode(raw: &[u8], elements: usize, dtype: DType) -> HostData {
    let raw = &raw[..elements * dtype.bytes()];
    match dtype {
        DType::F16 => {
            let halves: Vec<f16> = bytemuck::pod_collect_to_vec(raw);
            HostData::F32(halves.into_iter().map(f16::to_f32).collect())
        }
        DType::F32 => HostData::F32(bytemuck::pod_collect_to_vec(raw)),
        DType::U32 => HostData::U32(bytemuck::pod_collect_to_vec(raw)),
    }
}

/// The bytes of a tensor of a type; halves are padded to whole words.
fn encode(data: &HostData, dtype: DType) -> Vec<u8> {
    if dtype == DType::F16 {
        let mut halves: Vec<f16> = match data {
            HostData::F32(x) => x.iter().map(|v| f16::from_f32(*v)).collect(),
            HostData::F64(x) => x.iter().map(|v| f16::from_f64(*v)).collect(),
            HostData::U32(_) => Vec::new(),
        };
        halves.resize(halves.len().next_multiple_of(2), f16::ZERO);
        return bytemuck::cast_slice(&halves).to_vec();
    }
    match data {
        HostData::F32(x) => bytemuck::cast_slice(x).to_vec(),
        HostData::F64(x) => x.iter().flat_map(|v| (*v as f32).to_ne_bytes()).collect(),
        HostData::U32(x) => bytemuck::cast_slice(x).to_vec(),
    }
}

fn fits(data: &HostData, ty: &TensorType, name: &str) -> Result<()> {
    let integer = matches!(data, HostData::U32(_));
    if data.len() != ty.elements() || integer != (ty.dtype == DType::U32) {
        return Err(GraphError::Invalid(format!(
            "`{name}` holds {ty}, got {} elements of another kind or number",
            data.len()
        )));
    }
    Ok(())
}

impl Executor for GpuExecutor {
    fn name(&self) -> String {
        let r = &self.device.report;
        format!("{} ({}, {})", r.name, r.backend, r.driver)
    }

    fn device(&self) -> Option<&Device> {
        Some(&self.device)
    }

    fn allocate_states(&mut self, states: &States) -> Result<()> {
        states_fit(states, self.memory)?;
        for (i, g) in states.groups().iter().enumerate() {
            let bytes = (g.len * 4).max(4) as u64;
            if let Some(b) = self.states.get(i) {
                if b.size() != bytes {
                    return Err(GraphError::Invalid(format!(
                        "state group `{}` grew after it was allocated",
                        g.group.name()
                    )));
                }
                continue;
            }
            // wgpu clears new buffers to zero.
            self.states.push(self.device.buffer(
                &g.group.name(),
                bytes,
                wgpu::BufferUsages::STORAGE,
            )?);
        }
        self.registry = states.clone();
        Ok(())
    }

    fn compile(&mut self, graph: &Graph, fetch: &[TensorId]) -> Result<ProgramId> {
        let p = self.build(graph, fetch, false)?;
        let made = p.plan.slots.iter().zip(&p.slots);
        self.pool.extend(
            made.filter(|(s, _)| s.pool.is_none() && !s.kept && !self.guarded)
                .map(|(s, buffer)| (buffer.clone(), s.dtype)),
        );
        self.programs.push(p);
        self.device.save_pipeline_cache();
        Ok(ProgramId(self.programs.len() - 1))
    }

    fn plan(&self, program: ProgramId) -> &Plan {
        &self.programs[program.0].plan
    }

    fn upload(&mut self, program: ProgramId, tensor: TensorId, data: &HostData) -> Result<()> {
        let p = &self.programs[program.0];
        let rec = p.graph.tensor(tensor);
        if rec.origin != Origin::Input {
            return Err(GraphError::Invalid(format!(
                "`{}` is not an input",
                rec.name
            )));
        }
        fits(data, &rec.ty, &rec.name)?;
        let location = p.plan.placement[&tensor];
        self.device.queue.write_buffer(
            &p.slots[location.slot],
            location.offset as u64,
            &encode(data, rec.ty.dtype),
        );
        Ok(())
    }

    fn run(&mut self, program: ProgramId, step: &StepScalars) -> Result<()> {
        let p = &self.programs[program.0];
        self.device
            .queue
            .write_buffer(&p.step, 0, bytemuck::bytes_of(step));
        for s in &p.segments {
            match s {
                Segment::Gpu(r) => r.submit(&self.device),
                Segment::Twin(n) => self.run_twin(p, *n, step)?,
            }
        }
        // Progress for buffers waiting to be mapped; errors of earlier work surface here.
        let _ = self.device.device.poll(wgpu::PollType::Poll);
        Ok(self.device.check("a step")?)
    }

    fn fetch(&mut self, program: ProgramId, tensor: TensorId) -> Result<HostData> {
        let p = &self.programs[program.0];
        let dtype = self.fetchable(p, tensor)?.dtype;
        let view = self.view(&p.graph, &p.plan, &p.slots, tensor)?;
        self.read_view(&view, dtype, &p.graph.tensor(tensor).name)
    }

    fn fetch_later(&mut self, program: ProgramId, tensors: &[TensorId]) -> Result<Ticket> {
        let p = &self.programs[program.0];
        let mut parts = Vec::new();
        for t in tensors {
            let dtype = self.fetchable(p, *t)?.dtype;
            parts.push((self.view(&p.graph, &p.plan, &p.slots, *t)?, dtype));
        }
        Ok(self.readback.start(&self.device, &parts))
    }

    fn collect(&mut self, ticket: &Ticket, wait: bool) -> Result<Option<Vec<HostData>>> {
        self.readback.collect(&self.device, ticket, wait)
    }

    fn write_state(&mut self, states: &States, id: StateId, data: &HostData) -> Result<()> {
        let e = states.entry(id);
        fits(data, &e.ty, &e.name)?;
        let b = self
            .states
            .get(id.group as usize)
            .ok_or_else(|| GraphError::Invalid(format!("state `{}` is not allocated", e.name)))?;
        self.device
            .queue
            .write_buffer(b, (e.offset * 4) as u64, &encode(data, e.ty.dtype));
        Ok(())
    }

    fn read_state(&mut self, states: &States, id: StateId) -> Result<HostData> {
        let e = states.entry(id);
        let b = self
            .states
            .get(id.group as usize)
            .ok_or_else(|| GraphError::Invalid(format!("state `{}` is not allocated", e.name)))?;
        let raw = self
            .device
            .read(b, (e.offset * 4) as u64, e.ty.bytes() as u64, &e.name)?;
        Ok(decode(&raw, e.ty.elements(), e.ty.dtype))
    }

    fn wait(&mut self) -> Result<()> {
        Ok(self.device.wait("a step")?)
    }

    fn allocated_bytes(&self) -> u64 {
        let states: u64 = self.states.iter().map(wgpu::Buffer::size).sum();
        let programs = self.programs.iter().enumerate().map(|(i, p)| {
            let made = p.plan.slots.iter().zip(&p.slots);
            let slots: u64 = made
                .filter(|(s, _)| s.pool.is_none())
                .map(|(_, buffer)| buffer.size())
                .sum();
            slots + self.parameter_bytes(ProgramId(i))
        });
        states + programs.sum::<u64>()
    }

    fn parameter_bytes(&self, program: ProgramId) -> u64 {
        let p = &self.programs[program.0];
        let recorded: u64 = p
            .segments
            .iter()
            .map(|s| match s {
                Segment::Gpu(r) => r.uniform_bytes,
                Segment::Twin(_) => 0,
            })
            .sum();
        recorded + size_of::<StepScalars>() as u64
    }

    fn profile(&mut self, program: ProgramId, step: &StepScalars) -> Result<Vec<Timed>> {
        if !self.device.limits.timestamps {
            return Err(GraphError::Invalid(format!(
                "{} offers no GPU timestamps",
                self.device.report.name
            )));
        }
        let p = &self.programs[program.0];
        self.device
            .queue
            .write_buffer(&p.step, 0, bytemuck::bytes_of(step));
        let mut out: Vec<Timed> = Vec::new();
        for s in &p.segments {
            match s {
                Segment::Gpu(r) => {
                    let base = out.last().map_or(0.0, |t: &Timed| t.start + t.seconds);
                    out.extend(r.profile(&self.device)?.into_iter().map(|mut t| {
                        t.start += base;
                        t
                    }));
                }
                Segment::Twin(n) => self.run_twin(p, *n, step)?,
            }
        }
        Ok(out)
    }

    fn find_non_finite(
        &mut self,
        program: ProgramId,
        step: &StepScalars,
    ) -> Result<Option<NonFinite>> {
        self.search(program, step)
    }
}
