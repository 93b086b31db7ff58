//! An executor that plans and does nothing else: what a run will need is told before anything is allocated.

use super::exec::{Executor, HostData, NonFinite, ProgramId, Ticket};
use super::plan::{Plan, PlanOptions};
use super::{DType, Graph, GraphError, Result, StateId, States, StepScalars, TensorId};
use crate::device::Limits;
use crate::device::recording::Timed;

/// Plans programs as another executor would, in the order in which they are compiled.
#[derive(Debug, Default)]
pub struct Planner {
    /// Of the GPU that the other one has; none: it runs on the host.
    limits: Option<Limits>,
    plans: Vec<Plan>,
    /// What programs leave to later ones.
    pool: Vec<(usize, DType)>,
}

impl Planner {
    /// For the device of `exec`.
    pub fn like(exec: &dyn Executor) -> Self {
        Self {
            limits: exec.device().map(|d| d.limits.clone()),
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

    fn allocate_states(&mut self, _states: &States) -> Result<()> {
        Ok(())
    }

    fn compile(&mut self, graph: &Graph, fetch: &[TensorId]) -> Result<ProgramId> {
        let options = PlanOptions {
            typed: self.limits.is_none(),
            pool: self.pool.clone(),
            ..PlanOptions::default()
        };
        let plan = Plan::new(graph, fetch, self.limits.as_ref(), &options)?;
        let left = plan.slots.iter().filter(|s| s.pool.is_none() && !s.kept);
        self.pool.extend(left.map(|s| (s.bytes, s.dtype)));
        self.plans.push(plan);
        Ok(ProgramId(self.plans.len() - 1))
    }

    fn plan(&self, program: ProgramId) -> &Plan {
        &self.plans[program.0]
    }

    /// Programs send their tables when they are compiled; nothing is kept of them.
    fn upload(&mut self, _: ProgramId, _: TensorId, _: &HostData) -> Result<()> {
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

    fn write_state(&mut self, _: &States, _: StateId, _: &HostData) -> Result<()> {
        nothing()
    }

    fn read_state(&mut self, _: &States, _: StateId) -> Result<HostData> {
        nothing()
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
