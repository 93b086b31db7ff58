//! The CPU executor: the same plan, run by the twins. In f64 it is the tests' oracle.

mod memory;

use super::exec::{Executor, HostData, NonFinite, ProgramId, Ticket, range_of};
use super::memory::free_memory;
use super::op::{HostIo, HostMut, Op};
use super::plan::{Plan, PlanOptions, Slot, states_fit};
use super::state::{StateId, States};
use super::step::StepScalars;
use super::tensor::{DType, TensorType};
use super::{Graph, GraphError, NodeId, Origin, Result, TensorId};
use crate::device::replay::Timed;
use crate::reference::{Scalar, scratch};
use memory::{Memory, Region, Start, write};
use std::collections::HashMap;

/// A scalar the executor can run in: routes to the right twin.
pub trait ExecScalar: Scalar {
    /// Runs the op's twin in this precision.
    fn run(op: &dyn Op, io: &mut HostIo<'_, Self>);
    /// Wraps values.
    fn wrap(values: &[Self]) -> HostData;
    /// Name of the precision.
    const NAME: &'static str;
}

impl ExecScalar for f32 {
    fn run(op: &dyn Op, io: &mut HostIo<'_, Self>) {
        op.reference_f32(io);
    }
    fn wrap(values: &[Self]) -> HostData {
        HostData::F32(values.to_vec())
    }
    const NAME: &'static str = "f32";
}

impl ExecScalar for f64 {
    fn run(op: &dyn Op, io: &mut HostIo<'_, Self>) {
        op.reference_f64(io);
    }
    fn wrap(values: &[Self]) -> HostData {
        HostData::F64(values.to_vec())
    }
    const NAME: &'static str = "f64";
}

struct CompiledNode {
    node: NodeId,
    inputs: Vec<Region>,
    outputs: Vec<Region>,
    updates: Vec<Region>,
    input_types: Vec<TensorType>,
    output_types: Vec<TensorType>,
}

struct Program {
    graph: Graph,
    plan: Plan,
    /// The memory of each slot.
    slots: Vec<usize>,
    nodes: Vec<CompiledNode>,
    fetch: Vec<TensorId>,
}

/// A slot that holds nothing between runs, so that several programs use it.
struct Pooled {
    bytes: usize,
    dtype: DType,
    /// Number among the executor's slots.
    at: usize,
}

/// Runs graphs on the CPU in precision `T`.
pub struct HostExecutor<T> {
    states: Vec<Memory<T>>,
    state_len: Vec<usize>,
    /// Offsets of entries, as registered when allocated.
    programs: Vec<Program>,
    /// The slots of all programs.
    slots: Vec<Memory<T>>,
    /// Those that hold nothing between runs.
    pool: Vec<Pooled>,
    tickets: HashMap<u64, Vec<HostData>>,
    next_ticket: u64,
    registry: States,
    poison: bool,
    /// Starts of states and of slots while a node runs. The lists are kept so that running a node allocates nothing.
    starts: [Vec<Start<T>>; 2],
    /// Free memory when the executor was made.
    memory: Option<u64>,
}

impl<T: ExecScalar> Default for HostExecutor<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: ExecScalar> HostExecutor<T> {
    /// An executor without states or programs.
    pub fn new() -> Self {
        Self {
            states: Vec::new(),
            state_len: Vec::new(),
            programs: Vec::new(),
            slots: Vec::new(),
            pool: Vec::new(),
            tickets: HashMap::new(),
            next_ticket: 0,
            registry: States::new(),
            poison: false,
            starts: [Vec::new(), Vec::new()],
            memory: free_memory(),
        }
    }

    /// Fills every output with NaN before its node runs (tests: an unwritten element shows).
    #[must_use]
    pub fn poisoned(mut self) -> Self {
        self.poison = true;
        self
    }

    fn region(&self, graph: &Graph, plan: &Plan, slots: &[usize], t: TensorId) -> Result<Region> {
        let len = graph.ty(t).elements();
        match graph.tensor(t).state() {
            Some(id) => {
                let index = id.group as usize;
                if index >= self.states.len() {
                    return Err(GraphError::Invalid(format!(
                        "state `{}` is not allocated",
                        graph.tensor(t).name
                    )));
                }
                Ok(Region {
                    state: true,
                    index,
                    offset: self.registry.entry(id).offset,
                    len,
                })
            }
            None => {
                let location = plan.placement[&t];
                Ok(Region {
                    state: false,
                    index: slots[location.slot],
                    offset: location.offset / graph.ty(t).dtype.bytes(),
                    len,
                })
            }
        }
    }

    fn run_node(&mut self, program: usize, at: usize, step: &StepScalars) {
        let Self {
            states,
            programs,
            slots,
            poison,
            starts: [of_states, of_memory],
            ..
        } = self;
        let p = &programs[program];
        let c = &p.nodes[at];
        let node = p.graph.node(c.node);
        Start::all(states, of_states);
        Start::all(slots, of_memory);
        let start = |pl: &Region| {
            if pl.state {
                of_states[pl.index]
            } else {
                of_memory[pl.index]
            }
        };
        // SAFETY: `compile` checked that no output or update of this node overlaps another of its regions. Each region
        // lies inside its memory, since the plan makes slots that hold their tensors and groups hold their entries. The
        // boxed slices are borrowed mutably for the whole of this function and never move.
        let mut io = unsafe {
            HostIo {
                inputs: c.inputs.iter().map(|pl| start(pl).get(pl)).collect(),
                outputs: c.outputs.iter().map(|pl| start(pl).get_mut(pl)).collect(),
                updates: c.updates.iter().map(|pl| start(pl).get_mut(pl)).collect(),
                input_types: &c.input_types,
                output_types: &c.output_types,
                step: *step,
            }
        };
        if *poison {
            for o in &mut io.outputs {
                match o {
                    HostMut::Float(x) => x.fill(T::nan()),
                    HostMut::U32(x) => x.fill(u32::MAX),
                }
            }
        }
        T::run(node.op.as_ref(), &mut io);
        for (o, ty) in io.outputs.iter_mut().zip(&c.output_types) {
            if let (HostMut::Float(x), DType::F16) = (o, ty.dtype) {
                memory::round_to_half(x);
            }
        }
    }

    fn read(&self, program: usize, t: TensorId) -> Result<HostData> {
        let p = &self.programs[program];
        let pl = self.region(&p.graph, &p.plan, &p.slots, t)?;
        let m = if pl.state {
            &self.states[pl.index]
        } else {
            &self.slots[pl.index]
        };
        Ok(match m {
            Memory::Float(x) => T::wrap(&x[pl.offset..pl.offset + pl.len]),
            Memory::U32(x) => HostData::U32(x[pl.offset..pl.offset + pl.len].to_vec()),
        })
    }
}

impl<T: ExecScalar> Executor for HostExecutor<T> {
    fn name(&self) -> String {
        format!(
            "CPU executor ({}, {} threads)",
            T::NAME,
            rayon::current_num_threads()
        )
    }

    fn allocate_states(&mut self, states: &States) -> Result<()> {
        states_fit(states, self.memory)?;
        for (i, g) in states.groups().iter().enumerate() {
            if i < self.states.len() {
                if self.state_len[i] != g.len {
                    return Err(GraphError::Invalid(format!(
                        "state group `{}` grew after it was allocated",
                        g.group.name()
                    )));
                }
                continue;
            }
            self.states.push(Memory::new(g.len, g.dtype));
            self.state_len.push(g.len);
        }
        self.registry = states.clone();
        Ok(())
    }

    fn compile(&mut self, graph: &Graph, fetch: &[TensorId]) -> Result<ProgramId> {
        let plan = Plan::new(
            graph,
            fetch,
            None,
            &PlanOptions {
                no_reuse: self.poison,
                typed: true,
                pool: match self.poison {
                    true => Vec::new(),
                    false => self.pool.iter().map(|p| (p.bytes, p.dtype)).collect(),
                },
                max_buffer: None,
                available: self
                    .memory
                    .map(|m| m.saturating_sub(self.allocated_bytes())),
            },
        )?;
        let mut made = 0;
        let number = |s: &Slot| match s.pool {
            Some(i) => self.pool[i].at,
            None => {
                made += 1;
                self.slots.len() + made - 1
            }
        };
        let slots: Vec<usize> = plan.slots.iter().map(number).collect();
        let mut nodes = Vec::with_capacity(plan.order.len());
        for &id in &plan.order {
            let n = graph.node(id);
            let regions = |ts: &[TensorId]| {
                ts.iter()
                    .map(|t| self.region(graph, &plan, &slots, *t))
                    .collect::<Result<Vec<_>>>()
            };
            let c = CompiledNode {
                node: id,
                inputs: regions(&n.inputs)?,
                outputs: regions(&n.outputs)?,
                updates: regions(&n.updates)?,
                input_types: n
                    .inputs
                    .iter()
                    .chain(&n.updates)
                    .map(|t| graph.ty(*t).clone())
                    .collect(),
                output_types: n.outputs.iter().map(|t| graph.ty(*t).clone()).collect(),
            };
            let written: Vec<&Region> = c.outputs.iter().chain(&c.updates).collect();
            let clash = written.iter().enumerate().any(|(i, w)| {
                c.inputs.iter().any(|r| w.overlaps(r))
                    || written[i + 1..].iter().any(|o| w.overlaps(o))
            });
            if clash {
                return Err(GraphError::Invalid(format!(
                    "{} ({}) writes memory that it also reads",
                    n.op.name(),
                    n.label
                )));
            }
            nodes.push(c);
        }
        for (s, at) in plan.slots.iter().zip(&slots) {
            if s.pool.is_none() {
                let elements = s.bytes / s.dtype.bytes();
                self.slots.push(Memory::new(elements, s.dtype));
            }
            if s.pool.is_none() && !s.kept {
                self.pool.push(Pooled {
                    bytes: s.bytes,
                    dtype: s.dtype,
                    at: *at,
                });
            }
        }
        self.programs.push(Program {
            graph: graph.clone(),
            plan,
            slots,
            nodes,
            fetch: fetch.to_vec(),
        });
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
        let pl = self.region(&p.graph, &p.plan, &p.slots, tensor)?;
        let memory = &mut self.slots[pl.index];
        write(memory, pl.offset, pl.len, data, &rec.name)?;
        if let (Memory::Float(x), DType::F16) = (memory, rec.ty.dtype) {
            memory::round_to_half(&mut x[pl.offset..pl.offset + pl.len]);
        }
        Ok(())
    }

    fn run(&mut self, program: ProgramId, step: &StepScalars) -> Result<()> {
        // All nodes run inside one job of rayon's pool: work that is handed out from a pool's thread needs no
        // allocation.
        rayon::scope(|_| {
            for at in 0..self.programs[program.0].nodes.len() {
                self.run_node(program.0, at, step);
            }
        });
        scratch::settle();
        Ok(())
    }

    fn fetch(&mut self, program: ProgramId, tensor: TensorId) -> Result<HostData> {
        let p = &self.programs[program.0];
        if !p.fetch.contains(&tensor) {
            return Err(GraphError::Invalid(format!(
                "`{}` was not asked for at compile",
                p.graph.tensor(tensor).name
            )));
        }
        self.read(program.0, tensor)
    }

    fn fetch_later(&mut self, program: ProgramId, tensors: &[TensorId]) -> Result<Ticket> {
        let data = tensors
            .iter()
            .map(|t| self.fetch(program, *t))
            .collect::<Result<_>>()?;
        self.next_ticket += 1;
        self.tickets.insert(self.next_ticket, data);
        Ok(Ticket(self.next_ticket))
    }

    fn collect(&mut self, ticket: &Ticket, _wait: bool) -> Result<Option<Vec<HostData>>> {
        Ok(self.tickets.remove(&ticket.0))
    }

    fn write_state(&mut self, states: &States, id: StateId, data: &HostData) -> Result<()> {
        let e = states.entry(id);
        let m = self
            .states
            .get_mut(id.group as usize)
            .ok_or_else(|| GraphError::Invalid(format!("state `{}` is not allocated", e.name)))?;
        write(m, e.offset, e.ty.elements(), data, &e.name)
    }

    fn read_state(&mut self, states: &States, id: StateId) -> Result<HostData> {
        let e = states.entry(id);
        let range = e.offset..e.offset + e.ty.elements();
        match self.states.get(id.group as usize) {
            Some(Memory::Float(x)) => Ok(T::wrap(&x[range])),
            Some(Memory::U32(x)) => Ok(HostData::U32(x[range].to_vec())),
            None => Err(GraphError::Invalid(format!(
                "state `{}` is not allocated",
                e.name
            ))),
        }
    }

    fn wait(&mut self) -> Result<()> {
        Ok(())
    }

    fn allocated_bytes(&self) -> u64 {
        let pooled: usize = self.programs.iter().map(|p| p.plan.peak_bytes()).sum();
        let states: usize = self.state_len.iter().sum();
        // In units of the device's 4-byte elements, so that plans compare across executors.
        (pooled + 4 * states) as u64
    }

    fn scratch_bytes(&self) -> u64 {
        scratch::bytes() as u64
    }

    fn graph(&self, program: ProgramId) -> Option<&Graph> {
        Some(&self.programs[program.0].graph)
    }

    fn profile(&mut self, program: ProgramId, step: &StepScalars) -> Result<Vec<Timed>> {
        let begin = std::time::Instant::now();
        let mut out = Vec::new();
        for at in 0..self.programs[program.0].nodes.len() {
            let start = begin.elapsed().as_secs_f64();
            self.run_node(program.0, at, step);
            let p = &self.programs[program.0];
            let n = p.graph.node(p.nodes[at].node);
            out.push(Timed {
                label: n.title(),
                kernel: n.op.name().to_string(),
                start,
                seconds: begin.elapsed().as_secs_f64() - start,
            });
        }
        Ok(out)
    }

    fn find_non_finite(
        &mut self,
        program: ProgramId,
        step: &StepScalars,
    ) -> Result<Option<NonFinite>> {
        for at in 0..self.programs[program.0].nodes.len() {
            let p = &self.programs[program.0];
            let node = p.graph.node(p.nodes[at].node).clone();
            // Before the node runs: its inputs are still in place, even when their memory is about to be reused.
            let mut inputs = Vec::new();
            for t in node.inputs.iter().chain(&node.updates) {
                let (lo, hi, bad) = range_of(&self.read(program.0, *t)?);
                inputs.push((
                    self.programs[program.0].graph.tensor(*t).name.clone(),
                    lo,
                    hi,
                    bad,
                ));
            }
            self.run_node(program.0, at, step);
            for t in node.outputs.iter().chain(&node.updates) {
                if range_of(&self.read(program.0, *t)?).2 > 0 {
                    return Ok(Some(NonFinite {
                        op: node.op.name(),
                        label: node.label.clone(),
                        inputs,
                    }));
                }
            }
        }
        Ok(None)
    }
}
