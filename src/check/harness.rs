//! Running a case on an executor and judging the result against the f64 twin.

use super::{Case, Mutation};
use crate::device::{Choice, Device, DeviceError, Options};
use crate::graph::gpu::GpuExecutor;
use crate::graph::host::HostExecutor;
use crate::graph::{
    DType, Executor, Graph, GraphError, HostData, ProgramId, States, TensorId, TensorType,
};
use crate::ops::tiles::TILES;
use std::sync::Arc;
use std::time::Instant;

/// Factor k of the error bounds. An element's error in a sum of K rounded terms is a random walk of about eps*sqrt(K)
/// times the terms' size; 8 covers the walk's tail over the elements of a case and a final division or square root.
const WALK: f64 = 8.0;

/// What a case showed.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The case's title.
    pub title: String,
    /// Normalised mean squared error over all results: sum (a-b)^2 / sum b^2.
    pub nmse: f64,
    /// Its bound.
    pub nmse_bound: f64,
    /// Largest error over the largest reference value.
    pub max_error: f64,
    /// Its bound.
    pub max_bound: f64,
    /// Empty when the case passed.
    pub fault: String,
    /// Seconds that the device took, with compiling, sending and reading back; the twin's are not among them.
    pub seconds: f64,
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (error, bound) = (self.max_error, self.max_bound);
        write!(
            f,
            "{}: largest error {error:.1e} (bound {bound:.1e})",
            self.title
        )
    }
}

impl Outcome {
    /// Within the bounds, nothing unwritten, nothing overwritten.
    pub fn passed(&self) -> bool {
        self.fault.is_empty()
    }
}

/// Where cases run.
pub enum Harness {
    /// On a device (guarded and poisoned buffers).
    Gpu(Arc<Device>),
    /// On the CPU executor in f32.
    Cpu,
}

impl Harness {
    /// A harness on the chosen device.
    ///
    /// # Errors
    /// No such adapter.
    pub fn open(choice: &Choice, options: Options) -> Result<Self, DeviceError> {
        if *choice == Choice::Cpu {
            return Ok(Self::Cpu);
        }
        Ok(Self::Gpu(Device::open(choice, options)?))
    }

    /// Whether the device has what the case needs: f16 in shaders.
    pub fn can(&self, case: &Case) -> bool {
        match self {
            Self::Cpu => true,
            Self::Gpu(d) => d.limits.f16 || !case.needs_f16(),
        }
    }

    /// Runs a case and judges it; a launch error is a fault, never a skip.
    pub fn run(&self, case: &Case) -> Outcome {
        match self.try_run(case) {
            Ok(o) => o,
            Err(e) => Outcome {
                title: case.title(),
                nmse: f64::NAN,
                nmse_bound: 0.0,
                max_error: f64::NAN,
                max_bound: 0.0,
                fault: e.to_string(),
                seconds: 0.0,
            },
        }
    }

    /// Compiles a case's kernels and runs nothing. On the CPU there is nothing to compile.
    ///
    /// # Errors
    /// What the device or the graph refuses.
    pub fn compile(&self, case: &Case) -> Result<(), GraphError> {
        let Self::Gpu(device) = self else {
            return Ok(());
        };
        let (g, states, _, outputs) = build(case)?;
        let mut gpu = GpuExecutor::new(device.clone());
        gpu.allocate_states(&states)?;
        gpu.compile(&g, &outputs)?;
        Ok(())
    }

    fn try_run(&self, case: &Case) -> Result<Outcome, GraphError> {
        let want = results(&mut HostExecutor::<f64>::new().poisoned(), case)?.0;
        let mut fault = String::new();
        let start = Instant::now();
        let got = match self {
            Self::Cpu => results(&mut HostExecutor::<f32>::new().poisoned(), case)?.0,
            Self::Gpu(device) => {
                let mut gpu = GpuExecutor::new(device.clone()).guarded();
                let (got, program) = results(&mut gpu, case)?;
                let stray = gpu.check_guards(program)?;
                if !stray.is_empty() {
                    fault = format!("wrote past the end of {}", stray.join(", "));
                }
                got
            }
        };
        let seconds = start.elapsed().as_secs_f64();
        let mut o = judge(case, &got, &want);
        o.seconds = seconds;
        if !fault.is_empty() {
            o.fault = fault;
        }
        Ok(o)
    }
}

/// Builds the case's graph: its inputs, the op; every output and updated state is a result.
pub(super) fn build(
    case: &Case,
) -> Result<(Graph, States, Vec<TensorId>, Vec<TensorId>), GraphError> {
    let mut g = Graph::new();
    let mut states = States::new();
    let inputs: Vec<TensorId> = case
        .inputs
        .iter()
        .enumerate()
        .map(|(i, f)| g.input(&format!("input {i}"), f.ty.clone()))
        .collect();
    let updates: Vec<TensorId> = case
        .updates
        .iter()
        .enumerate()
        .map(|(i, f)| {
            // A group each: the group's padding then stands behind the tensor.
            let id = states.add(super::UPDATES.numbered(i as u32), "update", f.ty.clone());
            g.state(&states, id)
        })
        .collect();
    let outputs = g.push_arc(case.op.clone(), &inputs, &updates)?;
    Ok((g, states, inputs, outputs))
}

/// The op's outputs, then the updated states.
pub(super) fn results(
    exec: &mut dyn Executor,
    case: &Case,
) -> Result<(Vec<HostData>, ProgramId), GraphError> {
    let (g, states, inputs, outputs) = build(case)?;
    exec.allocate_states(&states)?;
    let program = exec.compile(&g, &outputs)?;
    for (i, (t, f)) in inputs.iter().zip(&case.inputs).enumerate() {
        exec.upload(program, *t, &f.make(case.seed(i)))?;
    }
    let ids: Vec<_> = (0..case.updates.len())
        .filter_map(|i| states.find(super::UPDATES.numbered(i as u32), "update"))
        .collect();
    for (i, (id, f)) in ids.iter().zip(&case.updates).enumerate() {
        exec.write_state(&states, *id, &f.make(case.seed(case.inputs.len() + i)))?;
    }
    exec.run(program, &case.step)?;
    let mut out = Vec::new();
    for t in &outputs {
        out.push(exec.fetch(program, *t)?);
    }
    for id in ids {
        out.push(exec.read_state(&states, id)?);
    }
    Ok((out, program))
}

/// What errors of a case's results may be.
pub(super) struct Bounds {
    unit: f64,
    /// Which results are rounded to f16.
    half: Vec<bool>,
}

impl Bounds {
    /// Those of a case.
    pub(super) fn of(case: &Case) -> Self {
        let eps = f64::from(f32::EPSILON);
        let types = case.inputs.iter().chain(&case.updates).map(|f| &f.ty);
        let outputs = case.op.infer(&types.collect::<Vec<_>>());
        // (What only moves or rounds numbers has no sum before the rounding that could differ.)
        let rounded = |t: &TensorType| t.dtype == DType::F16 && !case.op.class().is_exact();
        Self {
            unit: WALK * eps * (case.depth.max(1) as f64).sqrt() * case.condition,
            half: outputs.unwrap_or_default().iter().map(rounded).collect(),
        }
    }

    /// Of result `r`: of the normalised mean squared error, and of the largest error over the largest value. One element
    /// may lie further out than the mean: 8 more for the largest of up to millions. A result in f16 is rounded by 2^-11
    /// at most, and may come out one unit (2^-10) beside the twin's where the two stood on either side of a tie.
    pub(super) fn result(&self, r: usize) -> (f64, f64) {
        let unit = self.unit;
        match self.half.get(r) {
            Some(true) => ((unit + 2f64.powi(-11)).powi(2), 8.0 * unit + 2f64.powi(-10)),
            _ => (unit * unit, 8.0 * unit),
        }
    }
}

/// Errors against the bounds. Integers must be equal; infinities must agree; a NaN where the twin has none is an
/// unwritten or broken element.
fn judge(case: &Case, got: &[HostData], want: &[HostData]) -> Outcome {
    let bounds = Bounds::of(case);
    let mut worst = Outcome {
        title: case.title(),
        nmse: 0.0,
        nmse_bound: bounds.result(usize::MAX).0,
        max_error: 0.0,
        max_bound: bounds.result(usize::MAX).1,
        fault: String::new(),
        seconds: 0.0,
    };
    for (r, (g, w)) in got.iter().zip(want).enumerate() {
        let fault = &mut worst.fault;
        if let (HostData::U32(a), HostData::U32(b)) = (g, w) {
            if let Some(i) = (0..b.len()).find(|i| a[*i] != b[*i]) {
                *fault = format!("result {r}, element {i}: {} instead of {}", a[i], b[i]);
            }
            continue;
        }
        let (nmse_bound, max_bound) = bounds.result(r);
        let (a, b) = (g.to_f64(), w.to_f64());
        let scale = b
            .iter()
            .filter(|v| v.is_finite())
            .fold(0f64, |m, v| m.max(v.abs()));
        let (mut num, mut den, mut max_error) = (0f64, 0f64, 0f64);
        for (i, (x, y)) in a.iter().zip(&b).enumerate() {
            if y.is_finite() && x.is_finite() {
                num += (x - y) * (x - y);
                den += y * y;
                let e = (x - y).abs() / scale.max(f64::MIN_POSITIVE);
                max_error = max_error.max(e);
                if e > max_bound && fault.is_empty() {
                    *fault = format!("result {r}, element {i}: {x} instead of {y}");
                }
            } else if !(x == y || x.is_nan() && y.is_nan()) && fault.is_empty() {
                *fault = format!("result {r}, element {i}: {x} instead of {y}");
            }
        }
        let nmse = if den > 0.0 { num / den } else { num };
        if nmse > nmse_bound && fault.is_empty() {
            *fault = format!("result {r}: NMSE {nmse:.2e} over {nmse_bound:.2e}");
        }
        if max_error / max_bound >= worst.max_error / worst.max_bound {
            (worst.nmse, worst.nmse_bound) = (nmse, nmse_bound);
            (worst.max_error, worst.max_bound) = (max_error, max_bound);
        }
    }
    worst
}

/// The devices, opened anew, whose shaders have the fault: all kinds of kernels that the chosen one can run, or the tiles
/// with two buffers alone, which the table gives to no shape.
fn faulty(
    choice: &Choice,
    mutation: &Mutation,
    two_buffers: bool,
) -> Result<Vec<Arc<Device>>, String> {
    let open = |gpu_kernels, no_cooperative, forced_tile| {
        let m = (
            mutation.kernel.to_string(),
            mutation.find.to_string(),
            mutation.replace.to_string(),
        );
        let options = Options {
            checked: true,
            gpu_kernels,
            no_cooperative,
            forced_tile,
            mutations: vec![m],
            ..Options::default()
        };
        Device::open(choice, options).map_err(|e| e.to_string())
    };
    if two_buffers {
        let mut devices = Vec::new();
        for (i, tile) in TILES.iter().enumerate().filter(|t| t.1.has_two_buffers()) {
            let device = open(true, !tile.is_cooperative(), Some(i))?;
            if [false, true]
                .iter()
                .any(|half| tile.suits(&device.limits, *half))
            {
                devices.push(device);
            }
        }
        return Ok(devices);
    }
    // A CPU driver can run both kinds of kernels; a mutation is in one of them or in both.
    let mut devices = vec![open(true, false, None)?];
    // The tiles by registers stand behind those by cooperative matrices.
    if !devices[0].limits.cooperative.is_empty() {
        devices.push(open(true, true, None)?);
    }
    if devices[0].report.kind == "cpu" {
        devices.push(open(false, false, None)?);
    }
    Ok(devices)
}

/// Runs a negative control: the mutated shader must give a wrong result in at least one of the cases; with `two_buffers`
/// that of tiles with two buffers.
///
/// # Errors
/// A message when the fault went unnoticed, when the text to replace is not in the shader, or when what comes out does
/// not run.
pub fn negative_control(
    choice: &Choice,
    mutation: &Mutation,
    two_buffers: bool,
    cases: &[Case],
) -> Result<String, String> {
    let devices = faulty(choice, mutation, two_buffers)?;
    let Some(first) = devices.first() else {
        return Ok("no case: the device's workgroup memory holds no tile with two buffers".into());
    };
    let hardware = first.report.kind != "cpu";
    for c in cases {
        for device in &devices {
            // A shader that does not compile, or whose bindings no longer fit, proves nothing about the table: only a
            // wrong result counts.
            let o = Harness::Gpu(device.clone()).try_run(c).map_err(|e| {
                format!(
                    "{}: replacing `{}` by `{}` makes a shader that does not run: {e}",
                    mutation.kernel, mutation.find, mutation.replace
                )
            })?;
            if o.passed() {
                continue;
            }
            return Ok(format!("{} ({})", o.title, o.fault));
        }
    }
    if hardware && !devices.iter().any(|d| d.mutated()) {
        return Ok("no case: the text is in kernels for CPU drivers alone".into());
    }
    Err(format!(
        "{}: replacing `{}` by `{}` went unnoticed",
        mutation.kernel, mutation.find, mutation.replace
    ))
}
