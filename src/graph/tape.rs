//! Programs as they were recorded without a device, with what was written into their buffers: what a page replays, and
//! what two versions of this program can be compared by.

use super::exec::HostData;
use super::gpu::{GUARD, decode, encode};
use super::plan::Plan;
use super::recorded::{Places, Segment};
use super::state::{StateId, States};
use super::{DType, Graph, Origin, Result, TensorId};
use crate::device::Limits;
use crate::device::recording::{BufferId, Recorder};
use std::collections::BTreeMap;

/// A buffer that a device would be asked for.
#[derive(Clone, Debug)]
pub struct Taped {
    /// What lies in it.
    pub name: String,
    /// Bytes.
    pub bytes: u64,
    /// What was written: bytes by their place. Everything else is zero, or [`super::gpu::POISON`] in guarded memory.
    pub content: BTreeMap<u64, Vec<u8>>,
    /// Of guarded memory: where the words behind the tensor begin, which nothing may write.
    pub guard: Option<u64>,
}

/// A tensor that the host writes or reads.
#[derive(Clone, Debug)]
pub struct Port {
    /// The tensor.
    pub tensor: TensorId,
    /// Its name in the graph.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Dimensions.
    pub dims: Vec<usize>,
    /// Where it lies.
    pub buffer: BufferId,
    /// First byte.
    pub offset: u64,
}

/// A program.
#[derive(Clone, Debug)]
pub struct TapedProgram {
    /// What the host writes.
    pub inputs: Vec<Port>,
    /// What it may read.
    pub outputs: Vec<Port>,
    /// The work.
    pub segments: Vec<Segment>,
    /// Names of the ops that stay with the host.
    pub on_host: Vec<&'static str>,
}

/// All that an executor was asked for, in order.
#[derive(Clone, Debug)]
pub struct Tape {
    /// Of the device that it is recorded for.
    pub limits: Limits,
    /// All buffers, by number.
    pub buffers: Vec<Taped>,
    /// The programs, by number.
    pub programs: Vec<TapedProgram>,
    states: States,
    /// The buffers of the groups of states, in their order.
    pub groups: Vec<BufferId>,
    /// Buffers that later programs may share, as the planner numbers them.
    pool: Vec<BufferId>,
    /// Each tensor has memory of its own, poisoned and followed by guard words.
    guarded: bool,
}

impl Taped {
    /// Keeps bytes in place of what was written there before.
    fn write(&mut self, at: u64, bytes: Vec<u8>) {
        let end = at + bytes.len() as u64;
        let inside = |from: u64, len: usize| from >= at && from + len as u64 <= end;
        self.content.retain(|from, b| !inside(*from, b.len()));
        self.content.insert(at, bytes);
    }
}

impl Tape {
    /// An empty one.
    pub(super) fn new(limits: Limits, guarded: bool) -> Self {
        Self {
            limits,
            buffers: Vec::new(),
            programs: Vec::new(),
            states: States::new(),
            groups: Vec::new(),
            pool: Vec::new(),
            guarded,
        }
    }

    fn buffer(&mut self, name: String, bytes: u64) -> BufferId {
        self.buffers.push(Taped {
            name,
            bytes,
            content: BTreeMap::new(),
            guard: None,
        });
        BufferId(self.buffers.len() as u32 - 1)
    }

    /// Takes the groups of states that are new.
    pub(super) fn allocate(&mut self, states: &States) {
        for g in &states.groups()[self.groups.len()..] {
            let id = self.buffer(g.group.name(), (g.len * 4).max(4) as u64);
            self.groups.push(id);
        }
        self.states = states.clone();
    }

    /// Records a program that is planned.
    ///
    /// # Errors
    /// As [`Places::record`].
    pub(super) fn record(&mut self, graph: &Graph, plan: &Plan, fetch: &[TensorId]) -> Result<()> {
        let mut slots = Vec::with_capacity(plan.slots.len());
        for s in &plan.slots {
            let id = match s.pool {
                Some(i) => self.pool[i],
                None if self.guarded => {
                    let (bytes, guard) = (s.bytes as u64, (GUARD * 4) as u64);
                    let id = self.buffer(s.tensor.clone(), bytes + guard);
                    self.buffers[id.0 as usize].guard = Some(bytes);
                    id
                }
                None => self.buffer(s.tensor.clone(), s.bytes as u64),
            };
            slots.push(id);
        }
        let places = Places {
            graph,
            plan,
            states: &self.states,
            groups: &self.groups,
            slots: &slots,
        };
        let segments = places.record(|| Recorder::without_device(&self.limits), &[], false)?;
        let port = |t: TensorId| -> Result<Port> {
            let (view, ty) = (places.view(t)?, graph.ty(t));
            Ok(Port {
                tensor: t,
                name: graph.tensor(t).name.clone(),
                dtype: ty.dtype,
                dims: ty.dims().to_vec(),
                buffer: view.buffer,
                offset: view.offset,
            })
        };
        let is_input = |t: &TensorId| graph.tensor(*t).origin == Origin::Input;
        let all = (0..graph.tensors.len() as u32).map(TensorId);
        let inputs = all.filter(|t| is_input(t) && plan.placement.contains_key(t));
        let inputs = inputs.map(port).collect::<Result<_>>()?;
        let outputs = fetch.iter().map(|t| port(*t)).collect::<Result<_>>()?;
        let on_host = segments.iter().filter_map(|s| match s {
            Segment::Host(n) => Some(graph.node(*n).op.name()),
            Segment::Device(_) => None,
        });
        self.programs.push(TapedProgram {
            inputs,
            outputs,
            on_host: on_host.collect(),
            segments,
        });
        let free = plan.slots.iter().zip(&slots);
        self.pool.extend(
            free.filter(|(s, _)| s.pool.is_none() && !s.kept)
                .map(|(_, id)| *id),
        );
        Ok(())
    }

    /// Keeps what the host writes into an input.
    pub(super) fn upload(&mut self, program: usize, tensor: TensorId, data: &HostData) {
        let inputs = &self.programs[program].inputs;
        if let Some(p) = inputs.iter().find(|p| p.tensor == tensor) {
            let bytes = encode(data, p.dtype);
            self.buffers[p.buffer.0 as usize].write(p.offset, bytes);
        }
    }

    /// Keeps what the host writes into a state.
    pub(super) fn write(&mut self, states: &States, id: StateId, data: &HostData) {
        let e = states.entry(id);
        let buffer = self.groups[id.group as usize];
        let bytes = encode(data, e.ty.dtype);
        self.buffers[buffer.0 as usize].write((e.offset * 4) as u64, bytes);
    }

    /// What a state holds: what was written there, and zero elsewhere.
    pub(super) fn read(&self, states: &States, id: StateId) -> HostData {
        let e = states.entry(id);
        let buffer = &self.buffers[self.groups[id.group as usize].0 as usize];
        let (start, len) = ((e.offset * 4) as u64, e.ty.elements() * e.ty.dtype.bytes());
        let mut bytes = vec![0; len.next_multiple_of(4)];
        for (at, content) in &buffer.content {
            let (from, to) = (
                start.max(*at),
                (start + len as u64).min(at + content.len() as u64),
            );
            if from < to {
                let part = &content[(from - at) as usize..(to - at) as usize];
                bytes[(from - start) as usize..(to - start) as usize].copy_from_slice(part);
            }
        }
        decode(&bytes, e.ty.elements(), e.ty.dtype)
    }
}
