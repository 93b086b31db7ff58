//! Speed: every kernel family at the shapes of training, and the training step, against the adapter's own ceilings.
//!
//! A ceiling is measured first: fused multiply-adds from registers (`fma_probe`) and bandwidth by a scaled copy. Each
//! row then says what share it reaches. Times are GPU timestamps where the adapter has them, else the wall clock
//! around a run that is waited for.

pub mod comm;
pub mod data;
pub mod loss;
pub mod shapes;
pub mod step;

use crate::check::{Feed, Fill};
use crate::graph::state::Group;
use crate::graph::{
    Cost, DType, Executor, Graph, GraphError, Op, StateId, States, StepScalars, TensorId,
    TensorType,
};
use crate::ops::add::Add;
use crate::ops::fma_probe::FmaProbe;
use crate::ops::gemm::Gemm;
use crate::ops::scale::Scale;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Instant;

/// States that subjects update: a group each, since their types differ.
const UPDATES: Group = Group::transient("update");

/// One op at one shape.
#[derive(Clone)]
pub struct Subject {
    /// What the row is called: kernel family and shapes.
    pub name: String,
    /// The op.
    pub op: Arc<dyn Op>,
    /// Its inputs.
    pub inputs: Vec<Feed>,
    /// States that it updates.
    pub updates: Vec<Feed>,
}

/// A subject in a graph.
struct Appended {
    inputs: Vec<TensorId>,
    updates: Vec<StateId>,
    outputs: Vec<TensorId>,
}

impl Subject {
    /// Appends the op with inputs and states of its own.
    fn append(&self, g: &mut Graph, states: &mut States) -> Result<Appended, GraphError> {
        let inputs: Vec<TensorId> = self
            .inputs
            .iter()
            .enumerate()
            .map(|(i, f)| g.input(&format!("input {i}"), f.ty.clone()))
            .collect();
        // A group each: their types differ.
        let at = states.groups().len() as u32;
        let updates: Vec<StateId> = self
            .updates
            .iter()
            .enumerate()
            .map(|(i, f)| states.add(UPDATES.numbered(at + i as u32), "update", f.ty.clone()))
            .collect();
        let updated: Vec<TensorId> = updates.iter().map(|id| g.state(states, *id)).collect();
        let outputs = g.push_arc(self.op.clone(), &inputs, &updated)?;
        Ok(Appended {
            inputs,
            updates,
            outputs,
        })
    }

    /// Uniform values in [-1, 1) of a type.
    pub fn uniform(ty: TensorType) -> Feed {
        Feed {
            ty,
            fill: Fill::Uniform(-1.0, 1.0),
        }
    }
}

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Runs that are not timed, at least.
    pub warm: usize,
    /// Seconds of them, at least: a GPU raises its clock only some 50 ms after work has come.
    pub warm_seconds: f64,
    /// Most runs that are timed.
    pub runs: usize,
    /// Seconds after which no further run starts.
    pub seconds: f64,
}

/// One measurement.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Name of the subject.
    pub name: String,
    /// Median seconds.
    pub seconds: f64,
    /// 10 % quantile.
    pub low: f64,
    /// 90 % quantile.
    pub high: f64,
    /// Timed runs.
    pub runs: usize,
    /// 1e9 operations a second.
    pub gflops: f64,
    /// 1e9 bytes a second, each operand counted once.
    pub gbytes: f64,
    /// Share of the nearer ceiling (of f32 arithmetic or of bandwidth; on halves of bandwidth alone); 0 when the
    /// ceilings are unknown.
    pub share: f64,
}

/// What the adapter reaches at best.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ceilings {
    /// 1e9 f32 operations a second.
    pub gflops: f64,
    /// 1e9 bytes a second, read and written.
    pub gbytes: f64,
}

/// Seconds of each run of a compiled program.
fn times(
    exec: &mut dyn Executor,
    program: crate::graph::ProgramId,
    effort: Effort,
) -> Result<Vec<f64>, GraphError> {
    let step = StepScalars {
        lr: 1e-3,
        ..StepScalars::default()
    };
    let (start, mut warm) = (Instant::now(), 0);
    while warm < effort.warm || start.elapsed().as_secs_f64() < effort.warm_seconds {
        exec.run(program, &step)?;
        exec.wait()?;
        warm += 1;
    }
    let (begin, mut out) = (Instant::now(), Vec::new());
    while out.len() < effort.runs
        && (out.is_empty() || begin.elapsed().as_secs_f64() < effort.seconds)
    {
        let stamped = exec.profile(program, &step).ok();
        out.push(match stamped {
            Some(t) => t.iter().map(|t| t.seconds).sum(),
            None => {
                let start = Instant::now();
                exec.run(program, &step)?;
                exec.wait()?;
                start.elapsed().as_secs_f64()
            }
        });
    }
    out.sort_by(f64::total_cmp);
    Ok(out)
}

fn row(name: String, half: bool, sorted: &[f64], cost: Cost, c: Ceilings) -> Row {
    let at = |q: f64| sorted[((sorted.len() - 1) as f64 * q).round() as usize];
    let seconds = at(0.5).max(1e-12);
    let (gflops, gbytes) = (cost.flops / seconds / 1e9, cost.bytes / seconds / 1e9);
    let known = c.gflops > 0.0 && c.gbytes > 0.0;
    Row {
        name,
        seconds,
        low: at(0.1),
        high: at(0.9),
        runs: sorted.len(),
        gflops,
        gbytes,
        share: match (known, half) {
            (true, false) => (gflops / c.gflops).max(gbytes / c.gbytes),
            // Matrix units may take halves: f32 arithmetic is no ceiling then.
            (true, true) => gbytes / c.gbytes,
            (false, _) => 0.0,
        },
    }
}

/// One graph of all subjects, for choosing tiles; it is not meant to run.
///
/// # Errors
/// Shapes.
pub fn graph(subjects: &[&Subject]) -> Result<Graph, GraphError> {
    let (mut g, mut states) = (Graph::new(), States::new());
    for s in subjects {
        s.append(&mut g, &mut states)?;
    }
    Ok(g)
}

/// Times one op on an executor of its own making (`fresh` gives an empty one, so that memory of one subject does not
/// stay for the next).
///
/// # Errors
/// Shapes, memory, device.
pub fn measure(
    mut exec: Box<dyn Executor>,
    s: &Subject,
    effort: Effort,
    c: Ceilings,
) -> Result<Row, GraphError> {
    let (mut g, mut states) = (Graph::new(), States::new());
    let a = s.append(&mut g, &mut states)?;
    let cost = g.costs().map(|c| c.1).next().unwrap_or_default();
    exec.allocate_states(&states)?;
    let program = exec.compile(&g, &a.outputs)?;
    for (i, (t, f)) in a.inputs.iter().zip(&s.inputs).enumerate() {
        exec.upload(program, *t, &f.make(i as u64))?;
    }
    for (i, (id, f)) in a.updates.iter().zip(&s.updates).enumerate() {
        exec.write_state(&states, *id, &f.make((s.inputs.len() + i) as u64))?;
    }
    let sorted = times(exec.as_mut(), program, effort)?;
    let half = s.inputs.iter().any(|f| f.ty.dtype == DType::F16);
    Ok(row(s.name.clone(), half, &sorted, cost, c))
}

/// Measures the ceilings: `large` for hardware GPUs.
///
/// # Errors
/// Memory, device.
pub fn ceilings(
    fresh: &dyn Fn() -> Result<Box<dyn Executor>, GraphError>,
    large: bool,
    effort: Effort,
) -> Result<Ceilings, GraphError> {
    let (groups, rounds, elements) = if large {
        (16384, 512, 1 << 26)
    } else {
        (256, 512, 1 << 23)
    };
    // They come first, when a GPU is at rest.
    let effort = Effort {
        warm_seconds: 4.0 * effort.warm_seconds,
        ..effort
    };
    let rate = |name: &str, op: Arc<dyn Op>, inputs: Vec<TensorType>| {
        let s = Subject {
            name: name.into(),
            op,
            inputs: inputs.into_iter().map(Subject::uniform).collect(),
            updates: Vec::new(),
        };
        measure(fresh()?, &s, effort, Ceilings::default())
    };
    let square = || TensorType::f32([1024, 1024]);
    // The probe has no twin that a compiler would vectorise; on the CPU executor the matrix product is the better
    // ceiling.
    let probe = rate("fma", Arc::new(FmaProbe { groups, rounds }), vec![])?;
    let product = rate("gemm", Arc::new(Gemm::default()), vec![square(), square()])?;
    let copy = rate(
        "copy",
        Arc::new(Scale { factor: 1.5 }),
        vec![TensorType::f32([elements])],
    )?;
    // Two reads for a write may go faster than one.
    let sum = rate(
        "add",
        Arc::new(Add),
        vec![TensorType::f32([elements]), TensorType::f32([elements])],
    )?;
    Ok(Ceilings {
        gflops: probe.gflops.max(product.gflops),
        gbytes: copy.gbytes.max(sum.gbytes),
    })
}
