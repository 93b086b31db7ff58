//! What both executors offer: allocate states, compile graphs, run them, move data.

use super::plan::Plan;
use super::state::{StateId, States};
use super::step::StepScalars;
use super::tape::Tape;
use super::{Graph, Result, TensorId};
use crate::device::replay::Timed;
use crate::device::{Device, Limits};

/// A compiled graph of an executor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ProgramId(pub(crate) usize);

/// A read-back under way.
#[derive(Debug)]
pub struct Ticket(pub(crate) u64);

/// Tensor contents on the host.
#[derive(Clone, Debug, PartialEq)]
pub enum HostData {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// 64-bit floats (the oracle's own precision).
    F64(Vec<f64>),
    /// Integers.
    U32(Vec<u32>),
}

impl HostData {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(x) => x.len(),
            Self::F64(x) => x.len(),
            Self::U32(x) => x.len(),
        }
    }
    /// No elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// As f32 (integers by value).
    pub fn to_f32(&self) -> Vec<f32> {
        match self {
            Self::F32(x) => x.clone(),
            Self::F64(x) => x.iter().map(|v| *v as f32).collect(),
            Self::U32(x) => x.iter().map(|v| *v as f32).collect(),
        }
    }
    /// As f64 (integers by value).
    pub fn to_f64(&self) -> Vec<f64> {
        match self {
            Self::F32(x) => x.iter().map(|v| f64::from(*v)).collect(),
            Self::F64(x) => x.clone(),
            Self::U32(x) => x.iter().map(|v| f64::from(*v)).collect(),
        }
    }
    /// The integers, if these are integers.
    pub fn as_u32(&self) -> Option<&[u32]> {
        match self {
            Self::U32(x) => Some(x),
            _ => None,
        }
    }
}

/// The first non-finite value of a run.
#[derive(Clone, Debug)]
pub struct NonFinite {
    /// The op.
    pub op: &'static str,
    /// Its place in the model.
    pub label: String,
    /// Each input: name, least, largest, non-finite count.
    pub inputs: Vec<(String, f64, f64, usize)>,
}

/// Runs graphs: on the GPU ([`super::gpu::GpuExecutor`]) or by the twins ([`super::host::HostExecutor`]).
pub trait Executor: Send {
    /// One line: what computes.
    fn name(&self) -> String;

    /// The GPU behind it, if there is one.
    fn device(&self) -> Option<&Device> {
        None
    }

    /// What the adapter allows: that of [`Executor::device`], or the one that is planned for. None: it runs on the host.
    fn limits(&self) -> Option<&Limits> {
        self.device().map(|d| &d.limits)
    }

    /// What was recorded, of an executor that only records ([`super::planner::Planner::recording`]).
    fn tape(&self) -> Option<&Tape> {
        None
    }

    /// Allocates the states that are registered and not yet allocated, zeroed.
    ///
    /// # Errors
    /// Memory; or a group that grew after it was allocated.
    fn allocate_states(&mut self, states: &States) -> Result<()>;

    /// Plans and compiles a graph; `fetch` are the tensors that can be read after a run.
    ///
    /// # Errors
    /// Memory, shaders.
    fn compile(&mut self, graph: &Graph, fetch: &[TensorId]) -> Result<ProgramId>;

    /// The plan of a program.
    fn plan(&self, program: ProgramId) -> &Plan;

    /// Writes an input tensor.
    ///
    /// # Errors
    /// Wrong length or type; not an input.
    fn upload(&mut self, program: ProgramId, tensor: TensorId, data: &HostData) -> Result<()>;

    /// Runs a program once. On the GPU this returns when the work is submitted.
    ///
    /// # Errors
    /// Device loss and the like.
    fn run(&mut self, program: ProgramId, step: &StepScalars) -> Result<()>;

    /// Reads a fetched tensor, waiting for the run.
    ///
    /// # Errors
    /// Not among the fetched ones; device loss.
    fn fetch(&mut self, program: ProgramId, tensor: TensorId) -> Result<HostData>;

    /// Compiles a graph without states, writes its inputs, runs it once and reads the tensors `fetch`: for a single
    /// evaluation. The program stays with the executor.
    ///
    /// # Errors
    /// As compiling, writing and running; an input that is not written is undefined.
    fn evaluate(
        &mut self,
        graph: &Graph,
        inputs: &[(TensorId, HostData)],
        fetch: &[TensorId],
    ) -> Result<Vec<HostData>> {
        let program = self.compile(graph, fetch)?;
        for (tensor, data) in inputs {
            self.upload(program, *tensor, data)?;
        }
        self.run(program, &StepScalars::default())?;
        fetch.iter().map(|t| self.fetch(program, *t)).collect()
    }

    /// Starts reading fetched tensors without waiting; later runs do not disturb it.
    ///
    /// # Errors
    /// As [`Executor::fetch`].
    fn fetch_later(&mut self, program: ProgramId, tensors: &[TensorId]) -> Result<Ticket>;

    /// The data of a ticket: `None` when it is not there yet and `wait` is false. A ticket yields its data once.
    ///
    /// # Errors
    /// As [`Executor::fetch`].
    fn collect(&mut self, ticket: &Ticket, wait: bool) -> Result<Option<Vec<HostData>>>;

    /// Writes a state entry (or a whole group).
    ///
    /// # Errors
    /// Wrong length or type.
    fn write_state(&mut self, states: &States, id: StateId, data: &HostData) -> Result<()>;

    /// Reads a state entry (or a whole group), waiting for what was run before.
    ///
    /// # Errors
    /// Device loss.
    fn read_state(&mut self, states: &States, id: StateId) -> Result<HostData>;

    /// Waits until everything has run.
    ///
    /// # Errors
    /// Device loss.
    fn wait(&mut self) -> Result<()>;

    /// Bytes allocated: states, pooled memory, parameters of kernels.
    fn allocated_bytes(&self) -> u64;

    /// Bytes that are kept beside the planned memory: on the CPU, what twins need inside a node. All executors of the
    /// process share it.
    fn scratch_bytes(&self) -> u64 {
        0
    }

    /// Bytes of a program's kernel parameters (none on the host).
    fn parameter_bytes(&self, _program: ProgramId) -> u64 {
        0
    }

    /// The graph of a program; none where the executor keeps no graphs.
    fn graph(&self, _program: ProgramId) -> Option<&Graph> {
        None
    }

    /// Runs a program once, timing every dispatch (GPU) or node (twins).
    ///
    /// # Errors
    /// Device without timestamps; device loss.
    fn profile(&mut self, program: ProgramId, step: &StepScalars) -> Result<Vec<Timed>>;

    /// Runs a program's graph with its present inputs, node by node in memory of its own, and names the first node that
    /// makes a non-finite value. The caller undoes the updates of states by restoring a checkpoint.
    ///
    /// # Errors
    /// As compile and run.
    fn find_non_finite(
        &mut self,
        program: ProgramId,
        step: &StepScalars,
    ) -> Result<Option<NonFinite>>;
}

/// Least, largest and number of non-finite values.
pub(crate) fn range_of(data: &HostData) -> (f64, f64, usize) {
    let (mut lo, mut hi, mut bad) = (f64::INFINITY, f64::NEG_INFINITY, 0);
    for v in data.to_f64() {
        if v.is_finite() {
            lo = lo.min(v);
            hi = hi.max(v);
        } else {
            bad += 1;
        }
    }
    (lo, hi, bad)
}
