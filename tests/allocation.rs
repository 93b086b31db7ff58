//! The CPU executor allocates nothing while it runs the steps of a training: every method, and every path of the
//! twins that needs memory beside its tensors.
//!
//! Counted are the allocations of all threads between a program's start and its end. One source is not ours and not
//! avoidable from outside: rayon takes jobs from threads outside its pool through a queue of blocks, of which it
//! allocates one (some 1.5 KiB) every 63 jobs. A run of a program is one such job. So, though most cases count none
//! at all, the test asks for fewer than one allocation in two steps (a twin that allocates does so every time it
//! runs) and for none of 4 KiB or more. What the host does between runs (draws the views, sends them, reads the loss)
//! is bounded apart, in number.

mod common;

use amcl_wgpu::data::shapes;
use amcl_wgpu::device::replay::Timed;
use amcl_wgpu::graph::exec::{NonFinite, Ticket};
use amcl_wgpu::graph::host::HostExecutor;
use amcl_wgpu::graph::plan::Plan;
use amcl_wgpu::graph::{
    Executor, Graph, HostData, ProgramId, Result, StateId, States, StepScalars, TensorId,
};
use amcl_wgpu::methods::METHODS;
use amcl_wgpu::train::Config;
use amcl_wgpu::train::session::Session;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

static CALLS: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);
static LARGEST: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, counting what is asked of it.
struct Counting;

fn count(bytes: usize) {
    CALLS.fetch_add(1, Relaxed);
    BYTES.fetch_add(bytes, Relaxed);
    LARGEST.fetch_max(bytes, Relaxed);
}

// SAFETY: every call is the system allocator's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's contract.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: the caller's contract.
        unsafe { System.realloc(at, layout, size) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of one stretch of the program.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    runs: usize,
    calls: usize,
    bytes: usize,
    largest: usize,
}

impl Counts {
    /// Of `f`; `LARGEST` is its own, so stretches must not nest.
    fn of<R>(&mut self, f: impl FnOnce() -> R) -> R {
        let (calls, bytes) = (CALLS.load(Relaxed), BYTES.load(Relaxed));
        LARGEST.store(0, Relaxed);
        let result = f();
        self.runs += 1;
        self.calls += CALLS.load(Relaxed) - calls;
        self.bytes += BYTES.load(Relaxed) - bytes;
        self.largest = self.largest.max(LARGEST.load(Relaxed));
        result
    }
}

static RUNS: std::sync::Mutex<Counts> = std::sync::Mutex::new(Counts {
    runs: 0,
    calls: 0,
    bytes: 0,
    largest: 0,
});

/// The CPU executor, its runs counted.
struct Counted(HostExecutor<f32>);

impl Executor for Counted {
    fn run(&mut self, program: ProgramId, step: &StepScalars) -> Result<()> {
        let mut counts = *RUNS.lock().unwrap();
        let result = counts.of(|| self.0.run(program, step));
        *RUNS.lock().unwrap() = counts;
        result
    }
    fn name(&self) -> String {
        self.0.name()
    }
    fn allocate_states(&mut self, states: &States) -> Result<()> {
        self.0.allocate_states(states)
    }
    fn compile(&mut self, graph: &Graph, fetch: &[TensorId]) -> Result<ProgramId> {
        self.0.compile(graph, fetch)
    }
    fn plan(&self, program: ProgramId) -> &Plan {
        self.0.plan(program)
    }
    fn upload(&mut self, program: ProgramId, tensor: TensorId, data: &HostData) -> Result<()> {
        self.0.upload(program, tensor, data)
    }
    fn fetch(&mut self, program: ProgramId, tensor: TensorId) -> Result<HostData> {
        self.0.fetch(program, tensor)
    }
    fn fetch_later(&mut self, program: ProgramId, tensors: &[TensorId]) -> Result<Ticket> {
        self.0.fetch_later(program, tensors)
    }
    fn collect(&mut self, ticket: &Ticket, wait: bool) -> Result<Option<Vec<HostData>>> {
        self.0.collect(ticket, wait)
    }
    fn write_state(&mut self, states: &States, id: StateId, data: &HostData) -> Result<()> {
        self.0.write_state(states, id, data)
    }
    fn read_state(&mut self, states: &States, id: StateId) -> Result<HostData> {
        self.0.read_state(states, id)
    }
    fn wait(&mut self) -> Result<()> {
        self.0.wait()
    }
    fn allocated_bytes(&self) -> u64 {
        self.0.allocated_bytes()
    }
    fn profile(&mut self, program: ProgramId, step: &StepScalars) -> Result<Vec<Timed>> {
        self.0.profile(program, step)
    }
    fn find_non_finite(
        &mut self,
        program: ProgramId,
        step: &StepScalars,
    ) -> Result<Option<NonFinite>> {
        self.0.find_non_finite(program, step)
    }
}

/// What is trained: a name and settings on top of those of all.
const CASES: &[(&str, &[&str])] = &[
    ("simclr blurred", &["augment.gaussian_blur=[0.5, 0.1]"]),
    (
        "simclr amcl",
        &["amcl.enabled=true", "heads.count=3", "optim.name=lars"],
    ),
    (
        "simclr amcl top-k",
        &[
            "amcl.enabled=true",
            "heads.count=2",
            "amcl.negatives=topk",
            "amcl.kappa=4",
            "amcl.parametrisation=centred",
        ],
    ),
    (
        "simclr amcl streamed",
        &["amcl.enabled=true", "heads.count=2", "loss.path=stream"],
    ),
    (
        "simclr amcl top-k streamed",
        &[
            "amcl.enabled=true",
            "heads.count=2",
            "amcl.negatives=topk",
            "amcl.kappa=4",
            "loss.path=stream",
        ],
    ),
    (
        "simclr macl mixed",
        &["loss.schedule=macl", "optim.precision=mixed"],
    ),
    (
        "simclr cached gradient",
        &["optim.micro_batches=2", "optim.name=adamw"],
    ),
    (
        "moco amcl",
        &[
            "method.name=moco",
            "method.bn_splits=2",
            "amcl.enabled=true",
            "heads.count=2",
        ],
    ),
    (
        "simsiam amcl",
        &[
            "method.name=simsiam",
            "heads.last=norm",
            "amcl.enabled=true",
            "heads.count=2",
        ],
    ),
    (
        "barlow twins amcl",
        &[
            "method.name=barlow_twins",
            "amcl.enabled=true",
            "heads.count=2",
        ],
    ),
    (
        "barlow twins amcl streamed",
        &[
            "method.name=barlow_twins",
            "amcl.enabled=true",
            "heads.count=2",
            "loss.path=stream",
        ],
    ),
    (
        "resnet50",
        &[
            "model.encoder=resnet50",
            "model.stem=imagenet",
            "model.width=16",
        ],
    ),
];

/// Settings of all: channels enough for Winograd's convolutions, in the first stage already, and few for the rest.
const BASE: [&str; 8] = [
    "model.encoder=resnet18",
    "model.width=32",
    "model.image_size=16",
    "heads.hidden=48",
    "heads.out=32",
    "method.queue=64",
    "method.predictor_hidden=16",
    "optim.batch_size=16",
];

/// Images of a step.
const BATCH: u32 = 16;

/// Steps before counting begins, and steps that are counted.
const STEPS: (usize, usize) = (2, 8);

/// Allocations of the host between a step's runs, at most: some for each program.
const HOST: usize = 40;

#[test]
fn no_allocation_in_the_runs_of_a_step() {
    let data = shapes::generate(1, 64, 10).train;
    // Every method by itself, as it stands in the list, and what is more to some.
    let plain: Vec<String> = METHODS
        .iter()
        .map(|m| format!("method.name={}", m.name))
        .collect();
    let plain: Vec<[&str; 1]> = plain.iter().map(|set| [set.as_str()]).collect();
    let methods = METHODS
        .iter()
        .zip(&plain)
        .map(|(m, set)| (m.name, &set[..]));
    for (name, set) in methods.chain(CASES.iter().copied()) {
        let set = common::settings_of(&[&BASE[..], set].concat());
        let config = Config::parse("", &set).unwrap();
        let exec = Box::new(Counted(HostExecutor::new()));
        let mut session = Session::new(&config, exec, &data).unwrap();
        let mut step = |at: usize| {
            let ids: Vec<u32> = (0..BATCH).map(|i| (i * 7 + at as u32) % 64).collect();
            let scalars = StepScalars {
                lr: 1e-3,
                step: at as u32,
                ema: 0.99,
                tau_scale: 1.0,
                ..StepScalars::default()
            };
            let before = CALLS.load(Relaxed);
            let pending = session.start(&data, &ids, &scalars).unwrap();
            let done = session.finish(&pending).unwrap();
            assert!(!done.failed, "{name}: {done:?}");
            CALLS.load(Relaxed) - before
        };
        for at in 0..STEPS.0 {
            step(at);
        }
        *RUNS.lock().unwrap() = Counts::default();
        let all: usize = (STEPS.0..STEPS.0 + STEPS.1).map(&mut step).sum();
        let runs = *RUNS.lock().unwrap();
        println!(
            "{name}: {} allocations, {} bytes in {} runs of {} steps, the largest {}; {} more by the host",
            runs.calls,
            runs.bytes,
            runs.runs,
            STEPS.1,
            runs.largest,
            all - runs.calls
        );
        assert!(
            2 * runs.calls < STEPS.1 && runs.largest < 4096,
            "{name}: {runs:?} in {} steps",
            STEPS.1
        );
        assert!(
            all - runs.calls <= HOST * STEPS.1,
            "{name}: {} allocations of the host in {} steps",
            all - runs.calls,
            STEPS.1
        );
    }
}
