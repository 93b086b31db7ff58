//! The GPU executor: the plan's nodes are recorded once as WGSL dispatches (`graph/recorded.rs`) and replayed; any op can
//! be switched to its twin.

pub mod player;
mod readback;
mod search;
mod twin;

use super::exec::{Executor, HostData, NonFinite, ProgramId, Ticket};
use super::memory::free_memory;
use super::plan::{Plan, PlanOptions, states_fit};
use super::recorded::{self, Places};
use super::state::{StateId, States};
use super::step::StepScalars;
use super::tensor::{DType, TensorType};
use super::{Graph, GraphError, NodeId, Origin, Result, TensorId};
use crate::device::Device;
use crate::device::recording::{BufferId, Recorder, View};
use crate::device::replay::{Replay, Timed};
use half::f16;
use readback::Readback;
use std::sync::Arc;

/// The word that poisons outputs and guards buffers: a quiet NaN with a recognisable payload.
pub const POISON: u32 = 0x7fc0_dead;
/// Guard words after each buffer in guarded mode.
pub const GUARD: usize = 64;

enum Segment {
    Gpu(Replay),
    Twin(NodeId),
}

struct Program {
    graph: Graph,
    plan: Plan,
    /// As the recording numbers them: the states' groups that there were, then the plan's slots.
    buffers: Vec<wgpu::Buffer>,
    groups: Vec<BufferId>,
    slots: Vec<BufferId>,
    segments: Vec<Segment>,
    fetch: Vec<TensorId>,
    step: wgpu::Buffer,
}

impl Program {
    fn slots(&self) -> &[wgpu::Buffer] {
        &self.buffers[self.groups.len()..]
    }

    fn buffer(&self, view: &View) -> &wgpu::Buffer {
        &self.buffers[view.buffer.0 as usize]
    }
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

    fn places<'p>(&'p self, p: &'p Program) -> Places<'p> {
        Places {
            graph: &p.graph,
            plan: &p.plan,
            states: &self.registry,
            groups: &p.groups,
            slots: &p.slots,
        }
    }

    fn view(&self, p: &Program, t: TensorId) -> Result<View> {
        self.places(p).view(t)
    }

    /// The names of tensors past whose end a kernel wrote. Only in guarded mode.
    ///
    /// # Errors
    /// Device loss.
    pub fn check_guards(&self, program: ProgramId) -> Result<Vec<String>> {
        let p = &self.programs[program.0];
        let mut bad = Vec::new();
        for (slot, buffer) in p.plan.slots.iter().zip(p.slots()) {
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

    fn read_view(&self, p: &Program, view: &View, dtype: DType, what: &str) -> Result<HostData> {
        let bytes = view.bytes() as u64;
        let raw = self.device.read(p.buffer(view), view.offset, bytes, what)?;
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
        let mut buffers = self.states.clone();
        for s in &plan.slots {
            if let Some(i) = s.pool {
                buffers.push(self.pool[i].0.clone());
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
            buffers.push(buffer);
        }
        let step = self.device.buffer(
            "step",
            size_of::<StepScalars>() as u64,
            wgpu::BufferUsages::UNIFORM,
        )?;
        let mut groups: Vec<BufferId> = (0..buffers.len() as u32).map(BufferId).collect();
        let slots = groups.split_off(self.states.len());
        let places = Places {
            graph,
            plan: &plan,
            states: &self.registry,
            groups: &groups,
            slots: &slots,
        };
        let device = &*self.device;
        let recorded = places.record(|| Recorder::new(device), &self.twins, one_by_one)?;
        let segments = recorded
            .into_iter()
            .map(|s| match s {
                recorded::Segment::Device(r) => {
                    Ok(Segment::Gpu(Replay::new(device, &r, &buffers, &step)?))
                }
                recorded::Segment::Host(n) => Ok(Segment::Twin(n)),
            })
            .collect::<Result<_>>()?;
        self.device.check("compiling")?;
        Ok(Program {
            graph: graph.clone(),
            plan,
            buffers,
            groups,
            slots,
            segments,
            fetch: fetch.to_vec(),
            step,
        })
    }

    /// Runs nodes that act, of whose inputs copies are under way.
    fn act(
        readback: &mut Readback,
        (device, graph): (&Device, &Graph),
        acting: &mut Vec<(NodeId, Ticket)>,
        step: &StepScalars,
    ) -> Result<()> {
        for (id, ticket) in acting.drain(..) {
            let inputs = readback.collect(device, &ticket, true)?;
            twin::act(graph.node(id), graph, &inputs.unwrap_or_default(), step);
        }
        Ok(())
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

/// `elements` of a buffer's bytes; halves become f32.
pub(super) fn decode(raw: &[u8], elements: usize, dtype: DType) -> HostData {
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
pub(super) fn encode(data: &HostData, dtype: DType) -> Vec<u8> {
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

pub(super) fn fits(data: &HostData, ty: &TensorType, name: &str) -> Result<()> {
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
        let made = p.plan.slots.iter().zip(p.slots());
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
            &p.slots()[location.slot],
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
        let mut acting = Vec::new();
        let of = (&*self.device, &p.graph);
        for s in &p.segments {
            let id = match s {
                Segment::Gpu(r) => {
                    r.submit(&self.device);
                    continue;
                }
                Segment::Twin(id) => *id,
            };
            let operands = self.operands(p, id)?;
            let own = self.readback.start(&self.device, &operands);
            if p.graph.node(id).op.acts() {
                acting.push((id, own));
                continue;
            }
            // Nodes that act come before others of the host that stand behind them, as on the host: ranks on other
            // devices make exchanges in the same order.
            Self::act(&mut self.readback, of, &mut acting, step)?;
            let read = self.readback.collect(&self.device, &own, true)?;
            self.run_twin_of(p, id, step, read.unwrap_or_default())?;
        }
        // What they read is copied while the device goes on.
        Self::act(&mut self.readback, of, &mut acting, step)?;
        // Progress for buffers waiting to be mapped; errors of earlier work surface here.
        let _ = self.device.device.poll(wgpu::PollType::Poll);
        Ok(self.device.check("a step")?)
    }

    fn fetch(&mut self, program: ProgramId, tensor: TensorId) -> Result<HostData> {
        let p = &self.programs[program.0];
        let dtype = self.fetchable(p, tensor)?.dtype;
        let view = self.view(p, tensor)?;
        self.read_view(p, &view, dtype, &p.graph.tensor(tensor).name)
    }

    fn fetch_later(&mut self, program: ProgramId, tensors: &[TensorId]) -> Result<Ticket> {
        let p = &self.programs[program.0];
        let mut parts = Vec::new();
        for t in tensors {
            let dtype = self.fetchable(p, *t)?.dtype;
            let view = self.view(p, *t)?;
            parts.push((p.buffer(&view).clone(), view, dtype));
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
            let made = p.plan.slots.iter().zip(p.slots());
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

    fn graph(&self, program: ProgramId) -> Option<&Graph> {
        Some(&self.programs[program.0].graph)
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
