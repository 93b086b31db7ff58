//! An executor that plans and does nothing else: what a run will need is told before anything is allocated. It can also
//! record, for a device that is not there.

use super::exec::{Executor, HostData, NonFinite, ProgramId, Ticket};
use super::plan::{Plan, PlanOptions};
use super::tape::Tape;
use super::{DType, Graph, GraphError, Result, StateId, States, StepScalars, TensorId};
use crate::device::Limits;
use crate::device::replay::Timed;

/// Plans programs as another executor would, in the order in which they are compiled.
#[derive(Debug, Default)]
pub struct Planner {
    /// Of the GPU that the other one has; none: it runs on the host.
    limits: Option<Limits>,
    plans: Vec<Plan>,
    /// What programs leave to later ones.
    pool: Vec<(usize, DType)>,
    /// What it records, where it does.
    tape: Option<Tape>,
    guarded: bool,
}

impl Planner {
    /// For the device of `exec`.
    pub fn like(exec: &dyn Executor) -> Self {
        Self {
            limits: exec.limits().cloned(),
            ..Self::default()
        }
    }

    /// For an adapter of which no more than its limits is known. The programs are recorded too ([`Executor::tape`]),
    /// with all that is written into their inputs and states.
    pub fn recording(limits: &Limits) -> Self {
        Self {
            limits: Some(limits.clone()),
            tape: Some(Tape::new(limits.clone(), false)),
            ..Self::default()
        }
    }

    /// As [`Planner::recording`], with memory of its own for every tensor, poisoned and followed by guard words: for
    /// proving kernels.
    pub fn guarded(limits: &Limits) -> Self {
        Self {
            limits: Some(limits.clone()),
            tape: Some(Tape::new(limits.clone(), true)),
            guarded: true,
            ..Self::default()
        }
    }
}

/// What is asked of an executor that has no memory.
fn nothing<T>() -> Result<T> {
    let message = "this executor only plans: it holds and computes nothing";
    Err(GraphError::Invalid(message.into()))
}

impl Executor for Planner {
    fn name(&self) -> String {
        "plan".into()
    }

    fn limits(&self) -> Option<&Limits> {
        self.limits.as_ref()
    }

    fn tape(&self) -> Option<&Tape> {
        self.tape.as_ref()
    }

    fn allocate_states(&mut self, states: &States) -> Result<()> {
        if let Some(tape) = &mut self.tape {
            tape.allocate(states);
        }
        Ok(())
    }

    fn compile(&mut self, graph: &Graph, fetch: &[TensorId]) -> Result<ProgramId> {
        let options = PlanOptions {
            typed: self.limits.is_none(),
            no_reuse: self.guarded,
            pool: self.pool.clone(),
            // A plan for the executor at hand is checked by that one, when it allocates.
            max_buffer: self.tape.as_ref().map(|t| t.limits.max_buffer),
            ..PlanOptions::default()
        };
        let plan = Plan::new(graph, fetch, self.limits.as_ref(), &options)?;
        if let Some(tape) = &mut self.tape {
            tape.record(graph, &plan, fetch)?;
        }
        let left = plan.slots.iter().filter(|s| s.pool.is_none() && !s.kept);
        self.pool.extend(left.map(|s| (s.bytes, s.dtype)));
        self.plans.push(plan);
        Ok(ProgramId(self.plans.len() - 1))
    }

    fn plan(&self, program: ProgramId) -> &Plan {
        &self.plans[program.0]
    }

    /// Programs send their tables when they are compiled; a recording keeps them.
    fn upload(&mut self, program: ProgramId, tensor: TensorId, data: &HostData) -> Result<()> {
        if let Some(tape) = &mut self.tape {
            tape.upload(program.0, tensor, data);
        }
        Ok(())
    }

    fn run(&mut self, _: ProgramId, _: &StepScalars) -> Result<()> {
        nothing()
    }

    fn fetch(&mut self, _: ProgramId, _: TensorId) -> Result<HostData> {
        nothing()
    }

    fn fetch_later(&mut self, _: ProgramId, _: &[TensorId]) -> Result<Ticket> {
        nothing()
    }

    fn collect(&mut self, _: &Ticket, _: bool) -> Result<Option<Vec<HostData>>> {
        nothing()
    }

    fn write_state(&mut self, states: &States, id: StateId, data: &HostData) -> Result<()> {
        match &mut self.tape {
            Some(tape) => {
                tape.write(states, id, data);
                Ok(())
            }
            None => nothing(),
        }
    }

    fn read_state(&mut self, states: &States, id: StateId) -> Result<HostData> {
        self.tape
            .as_ref()
            .map_or_else(nothing, |t| Ok(t.read(states, id)))
    }

    fn wait(&mut self) -> Result<()> {
        Ok(())
    }

    fn allocated_bytes(&self) -> u64 {
        0
    }

    fn profile(&mut self, _: ProgramId, _: &StepScalars) -> Result<Vec<Timed>> {
        nothing()
    }

    fn find_non_finite(&mut self, _: ProgramId, _: &StepScalars) -> Result<Option<NonFinite>> {
        nothing()
    }
}
