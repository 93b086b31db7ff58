//! Every kernel against its twin: one case table for the tests, `amcl-wgpu check` and `bench`.
//!
//! A [`Case`] names an op, its inputs and what its result's error may be. [`Harness::run`] compares the device with the
//! f64 twin; [`gradient`] compares the op's gradient rule with central differences through the f64 twin, the op
//! standing mid-graph.

pub(crate) mod cases;
pub mod gradient;
pub mod harness;
pub mod page;
pub mod report;
pub mod self_test;

pub use harness::{Harness, Outcome};
pub use report::Report;

use crate::graph::state::Group;
use crate::graph::{DType, HostData, Op, StepScalars, TensorType};
use std::collections::BTreeMap;
use std::sync::Arc;

/// States that a case updates: a group each, so that the group's padding stands behind the tensor.
const UPDATES: Group = Group::transient("update");

/// How an input is filled. Deterministic in the case's name and the input's position.
#[derive(Clone, Debug)]
pub enum Fill {
    /// Uniform in `[lo, hi)`.
    Uniform(f32, f32),
    /// Standard normal times the factor.
    Normal(f32),
    /// Integers in `[0, n)`.
    Index(u32),
    /// Exactly these values.
    Values(Vec<f32>),
    /// Exactly these integers.
    Words(Vec<u32>),
}

/// An input (or updated state) of a case.
#[derive(Clone, Debug)]
pub struct Feed {
    /// Type.
    pub ty: TensorType,
    /// Contents.
    pub fill: Fill,
}

impl Feed {
    /// A float tensor, uniform in [-1, 1).
    pub fn uniform<const N: usize>(shape: [usize; N]) -> Self {
        Self {
            ty: TensorType::f32(shape),
            fill: Fill::Uniform(-1.0, 1.0),
        }
    }
    /// A float tensor, uniform in `[lo, hi)`.
    pub fn range<const N: usize>(shape: [usize; N], lo: f32, hi: f32) -> Self {
        Self {
            ty: TensorType::f32(shape),
            fill: Fill::Uniform(lo, hi),
        }
    }
    /// A float tensor, standard normal.
    pub fn normal<const N: usize>(shape: [usize; N]) -> Self {
        Self {
            ty: TensorType::f32(shape),
            fill: Fill::Normal(1.0),
        }
    }
    /// Integers below `n`.
    pub fn index<const N: usize>(shape: [usize; N], n: u32) -> Self {
        Self {
            ty: TensorType::u32(shape),
            fill: Fill::Index(n),
        }
    }
    /// A float tensor of given values.
    pub fn values<const N: usize>(shape: [usize; N], values: Vec<f32>) -> Self {
        Self {
            ty: TensorType::f32(shape),
            fill: Fill::Values(values),
        }
    }
    /// An integer tensor of given values.
    pub fn words<const N: usize>(shape: [usize; N], values: Vec<u32>) -> Self {
        Self {
            ty: TensorType::u32(shape),
            fill: Fill::Words(values),
        }
    }

    /// The same numbers whatever the case's name, with NaNs of both signs at `at`.
    #[must_use]
    pub fn with_nan(mut self, at: &[usize]) -> Self {
        let mut values: Vec<f32> = self.make(1).to_f32();
        for (n, i) in at.iter().enumerate() {
            values[*i] = [f32::NAN, -f32::NAN][n % 2];
        }
        self.fill = Fill::Values(values);
        self
    }

    /// The contents, from a seed (SplitMix64: only tests use it).
    pub fn make(&self, seed: u64) -> HostData {
        let n = self.ty.elements();
        let mut state = seed;
        let mut next = move || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        let mut unit = move || (next() >> 40) as f32 / (1u32 << 24) as f32;
        match &self.fill {
            Fill::Uniform(lo, hi) => {
                HostData::F32((0..n).map(|_| lo + (hi - lo) * unit()).collect())
            }
            Fill::Normal(s) => HostData::F32(
                (0..n)
                    .map(|_| {
                        let r = (-2.0 * (1.0 - unit()).ln()).sqrt();
                        s * r * (std::f32::consts::TAU * unit()).cos()
                    })
                    .collect(),
            ),
            Fill::Index(m) => {
                HostData::U32((0..n).map(|_| (unit() * *m as f32) as u32 % m).collect())
            }
            Fill::Values(v) => HostData::F32(v.clone()),
            Fill::Words(v) => HostData::U32(v.clone()),
        }
    }
}

/// One row of the table.
#[derive(Clone, Debug)]
pub struct Case {
    /// The op.
    pub op: Arc<dyn Op>,
    /// What is special about this case; printed after the op's name and the shapes.
    pub note: String,
    /// Inputs.
    pub inputs: Vec<Feed>,
    /// States that the op updates.
    pub updates: Vec<Feed>,
    /// Accumulation length K of the longest sum behind an output element: the bounds grow with sqrt(K).
    pub depth: usize,
    /// Condition factor of the result relative to a sum (1 unless the case says why it is more).
    pub condition: f64,
    /// Inputs whose gradient is checked.
    pub differentiable: Vec<usize>,
    /// Outputs that the gradient check puts into its loss (statistics that carry no gradient come after these).
    pub loss_outputs: usize,
    /// Step of the central differences. Kinks (ReLU) must be further from the inputs than this, or the case
    /// leaves the input out.
    pub difference: f64,
    /// Per-step scalars.
    pub step: StepScalars,
}

impl Case {
    /// A case with bounds for plain elementwise arithmetic and no gradient check.
    pub fn new(op: impl Op + 'static, inputs: Vec<Feed>) -> Self {
        Self {
            op: Arc::new(op),
            note: String::new(),
            inputs,
            updates: Vec::new(),
            depth: 1,
            condition: 1.0,
            differentiable: Vec::new(),
            loss_outputs: usize::MAX,
            difference: 1e-4,
            step: StepScalars::default(),
        }
    }
    /// Says what is special.
    #[must_use]
    pub fn note(mut self, note: &str) -> Self {
        self.note = note.to_string();
        self
    }
    /// Accumulation length.
    #[must_use]
    pub fn depth(mut self, k: usize) -> Self {
        self.depth = k;
        self
    }
    /// Condition factor; say why beside the call.
    #[must_use]
    pub fn condition(mut self, c: f64) -> Self {
        self.condition = c;
        self
    }
    /// Updated states.
    #[must_use]
    pub fn updates(mut self, updates: Vec<Feed>) -> Self {
        self.updates = updates;
        self
    }
    /// Inputs whose gradient is checked.
    #[must_use]
    pub fn grads(mut self, inputs: &[usize]) -> Self {
        self.differentiable = inputs.to_vec();
        self
    }
    /// The same with these inputs in f16. Gradient rules are differenced in f32 alone: rounding has no derivative.
    #[must_use]
    pub fn in_f16(mut self, inputs: &[usize]) -> Self {
        for i in inputs {
            self.inputs[*i].ty.dtype = DType::F16;
        }
        self.differentiable.clear();
        self.note = format!("{} f16", self.note).trim().to_string();
        self
    }
    /// Only the first `n` outputs carry gradients.
    #[must_use]
    pub fn loss_outputs(mut self, n: usize) -> Self {
        self.loss_outputs = n;
        self
    }
    /// Per-step scalars.
    #[must_use]
    pub fn step(mut self, step: StepScalars) -> Self {
        self.step = step;
        self
    }
    /// Runs on devices whose shaders have f16 alone. (Casts work on the bits, everywhere.)
    pub fn needs_f16(&self) -> bool {
        let types = self.inputs.iter().chain(&self.updates).map(|f| &f.ty);
        let types: Vec<&TensorType> = types.collect();
        let outputs = self.op.infer(&types).unwrap_or_default();
        let mut all = types.into_iter().chain(&outputs);
        all.any(|t| t.dtype == DType::F16) && !self.op.name().starts_with("cast_")
    }
    /// Its op's kernels for GPUs have several tiles ([`crate::ops::tiles`]).
    pub fn is_tiled(&self) -> bool {
        self.op.class().is_tiled()
    }
    /// `gemm [3,4] [4,5] transposed`: name, shapes, note.
    pub fn title(&self) -> String {
        let shapes: Vec<String> = self
            .inputs
            .iter()
            .chain(&self.updates)
            .map(|f| f.ty.shape.to_string())
            .collect();
        format!("{} {} {}", self.op.name(), shapes.join(" "), self.note)
            .trim()
            .to_string()
    }
    /// Seed of an input: FNV-1a of the title and the position.
    pub fn seed(&self, input: usize) -> u64 {
        let mut h = 0xcbf2_9ce4_8422_2325u64;
        for b in self.title().bytes().chain([input as u8]) {
            h = (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3);
        }
        h
    }
}

/// A deliberate fault in a shader, which the case table must notice.
#[derive(Clone, Debug)]
pub struct Mutation {
    /// Kernel (file name without ending).
    pub kernel: &'static str,
    /// Text in the shader.
    pub find: &'static str,
    /// What replaces it.
    pub replace: &'static str,
}

/// The whole table.
pub fn table() -> Vec<Case> {
    cases::all()
}

/// A share of the table, or of its controls: of each op every `share`-th item, the first one among them. `share` is at
/// least 1.
pub fn every<T>(share: usize, items: Vec<T>, op: impl Fn(&T) -> &'static str) -> Vec<T> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let chosen = items.into_iter().filter(|item| {
        let count = seen.entry(op(item)).or_default();
        *count += 1;
        (*count - 1).is_multiple_of(share)
    });
    chosen.collect()
}

/// Negative controls of the kernels by cooperative matrices: to be run on devices that have them.
pub fn cooperative_mutations() -> Vec<Mutation> {
    cases::cooperative_mutations()
}

/// Negative controls of tiles with two buffers: to be run with these alone.
pub fn two_buffer_mutations() -> Vec<Mutation> {
    cases::two_buffer_mutations()
}

/// All negative controls of what every device runs.
pub fn mutations() -> Vec<Mutation> {
    cases::all_mutations()
}
