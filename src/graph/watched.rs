//! An executor whose calls are noted while steps train: what the host sends, submits and waits for, in order. So a
//! trace shows whether a batch is sent while the one before it trains.

use super::exec::{Executor, HostData, NonFinite, ProgramId, Ticket};
use super::plan::Plan;
use super::tape::Tape;
use super::{Graph, Result, StateId, States, StepScalars, TensorId};
use crate::device::replay::Timed;
use crate::device::{Device, Limits};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What the host does for a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// It waits for images that are not in memory.
    Fetch,
    /// It sends images and tables.
    Upload,
    /// It hands over a program to run. The CPU executor runs it in this call.
    Submit,
    /// It waits for results.
    Collect,
}

impl Act {
    /// Its name in traces.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Upload => "upload",
            Self::Submit => "submit",
            Self::Collect => "collect",
        }
    }
}

/// A stretch of the host's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// What was done.
    pub act: Act,
    /// For which optimiser step, counted from 0.
    pub step: u32,
    /// When it began, since the noting began.
    pub begin: Duration,
    /// How long it took.
    pub took: Duration,
}

/// The calls by now.
#[derive(Debug, Default)]
struct Notes {
    /// When noting began; none while nothing is noted.
    since: Option<Instant>,
    /// The step that is being prepared.
    step: u32,
    calls: Vec<Call>,
    /// Steps of read-backs under way.
    pending: HashMap<u64, u32>,
}

/// A list of calls that whoever trains and the executor add to.
#[derive(Clone, Debug, Default)]
pub struct Calls(Arc<Mutex<Notes>>);

impl Calls {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What comes from now on is for `step`; noting begins where it has not.
    pub fn prepare(&self, step: u32) {
        let mut notes = self.notes();
        notes.since.get_or_insert_with(Instant::now);
        notes.step = step;
    }

    /// Ends the noting, and gives what was noted, in order.
    pub fn end(&self) -> Vec<Call> {
        std::mem::take(&mut *self.notes()).calls
    }

    /// Does something for the step that is being prepared, and notes it.
    pub fn of<T>(&self, act: Act, work: impl FnOnce() -> T) -> T {
        let step = self.notes().step;
        self.of_step(act, step, work)
    }

    fn of_step<T>(&self, act: Act, step: u32, work: impl FnOnce() -> T) -> T {
        let at = Instant::now();
        let done = work();
        let mut notes = self.notes();
        if let Some(since) = notes.since {
            notes.calls.push(Call {
                act,
                step,
                begin: at.saturating_duration_since(since),
                took: at.elapsed(),
            });
        }
        done
    }
}

/// Of each step but the last, in these calls: is all that the next step needs sent and submitted before any result of
/// this one is waited for?
pub fn overlap(calls: &[Call]) -> bool {
    let steps = || calls.iter().map(|c| c.step);
    let (Some(first), Some(last)) = (steps().min(), steps().max()) else {
        return false;
    };
    let at = |act: Act, step: u32| {
        let of = move |c: &Call| (c.act, c.step) == (act, step);
        (calls.iter().position(of), calls.iter().rposition(of))
    };
    first < last
        && (first..last).all(|n| {
            let (Some(results), _) = at(Act::Collect, n) else {
                return false;
            };
            let before = |act| at(act, n + 1).1.is_some_and(|i| i < results);
            before(Act::Upload) && before(Act::Submit)
        })
}

/// An executor, its calls noted.
pub struct Watched {
    of: Box<dyn Executor>,
    calls: Calls,
}

impl Watched {
    /// Notes the calls of `of` in `calls`.
    pub fn new(of: Box<dyn Executor>, calls: Calls) -> Self {
        Self { of, calls }
    }
}

impl Executor for Watched {
    fn name(&self) -> String {
        self.of.name()
    }
    fn device(&self) -> Option<&Device> {
        self.of.device()
    }
    fn limits(&self) -> Option<&Limits> {
        self.of.limits()
    }
    fn tape(&self) -> Option<&Tape> {
        self.of.tape()
    }
    fn allocate_states(&mut self, states: &States) -> Result<()> {
        self.of.allocate_states(states)
    }
    fn compile(&mut self, graph: &Graph, fetch: &[TensorId]) -> Result<ProgramId> {
        self.of.compile(graph, fetch)
    }
    fn plan(&self, program: ProgramId) -> &Plan {
        self.of.plan(program)
    }
    fn upload(&mut self, program: ProgramId, tensor: TensorId, data: &HostData) -> Result<()> {
        let of = &mut self.of;
        self.calls
            .of(Act::Upload, || of.upload(program, tensor, data))
    }
    fn run(&mut self, program: ProgramId, step: &StepScalars) -> Result<()> {
        let of = &mut self.of;
        self.calls.of(Act::Submit, || of.run(program, step))
    }
    fn fetch(&mut self, program: ProgramId, tensor: TensorId) -> Result<HostData> {
        let of = &mut self.of;
        self.calls.of(Act::Collect, || of.fetch(program, tensor))
    }
    fn fetch_later(&mut self, program: ProgramId, tensors: &[TensorId]) -> Result<Ticket> {
        let ticket = self.of.fetch_later(program, tensors)?;
        let mut notes = self.calls.notes();
        if notes.since.is_some() {
            let step = notes.step;
            notes.pending.insert(ticket.0, step);
        }
        Ok(ticket)
    }
    fn collect(&mut self, ticket: &Ticket, wait: bool) -> Result<Option<Vec<HostData>>> {
        let step = self.calls.notes().pending.remove(&ticket.0);
        let of = &mut self.of;
        match step {
            Some(step) => self
                .calls
                .of_step(Act::Collect, step, || of.collect(ticket, wait)),
            None => of.collect(ticket, wait),
        }
    }
    fn write_state(&mut self, states: &States, id: StateId, data: &HostData) -> Result<()> {
        self.of.write_state(states, id, data)
    }
    fn read_state(&mut self, states: &States, id: StateId) -> Result<HostData> {
        self.of.read_state(states, id)
    }
    fn wait(&mut self) -> Result<()> {
        self.of.wait()
    }
    fn allocated_bytes(&self) -> u64 {
        self.of.allocated_bytes()
    }
    fn scratch_bytes(&self) -> u64 {
        self.of.scratch_bytes()
    }
    fn parameter_bytes(&self, program: ProgramId) -> u64 {
        self.of.parameter_bytes(program)
    }
    fn graph(&self, program: ProgramId) -> Option<&Graph> {
        self.of.graph(program)
    }

    fn profile(&mut self, program: ProgramId, step: &StepScalars) -> Result<Vec<Timed>> {
        self.of.profile(program, step)
    }
    fn find_non_finite(
        &mut self,
        program: ProgramId,
        step: &StepScalars,
    ) -> Result<Option<NonFinite>> {
        self.of.find_non_finite(program, step)
    }
}
