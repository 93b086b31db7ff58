//! The case table as a page: what a browser needs to prove the kernels on its visitor's GPU, with nothing installed.
//! `check.js` replays each case and judges it as [`super::harness`] does.

use super::harness::{Bounds, build, results};
use super::{Case, Feed, Fill};
use crate::device::Limits;
use crate::device::recording::{Dispatch, Shader};
use crate::graph::gpu::{GUARD, POISON};
use crate::graph::host::HostExecutor;
use crate::graph::planner::Planner;
use crate::graph::recorded::Segment;
use crate::graph::{DType, Executor, GraphError, HostData, Result, StepScalars};
use serde_json::{Value, json};
use std::collections::HashMap;

/// Cases whose tensors are more than this are left out.
const LARGEST: u64 = 16 << 20;
/// Bytes after which a part ends.
const PART: usize = 16 << 20;

/// The table as files.
#[derive(Debug, Default)]
pub struct Page {
    /// `cases.json`.
    pub table: Value,
    /// `cases-0.bin` and so on: numbers that are carried.
    pub parts: Vec<Vec<u8>>,
    /// Cases in it.
    pub cases: usize,
    /// Cases that are left out.
    pub left_out: usize,
}

/// The name of part `i`.
pub fn part(i: usize) -> String {
    format!("cases-{i}.bin")
}

/// Shaders of all cases, each once.
#[derive(Default)]
struct Shaders {
    all: Vec<Shader>,
    known: HashMap<String, usize>,
}

impl Shaders {
    fn number(&mut self, s: &Shader) -> usize {
        *self.known.entry(s.key.clone()).or_insert_with(|| {
            self.all.push(s.clone());
            self.all.len() - 1
        })
    }
}

fn dtype(d: DType) -> &'static str {
    match d {
        DType::F32 => "f32",
        DType::F16 => "f16",
        DType::U32 => "u32",
    }
}

/// A tensor's numbers, in f32 or as words.
fn bytes(data: &HostData) -> Vec<u8> {
    match data {
        HostData::U32(x) => bytemuck::cast_slice(x).to_vec(),
        floats => bytemuck::cast_slice(&floats.to_f32()).to_vec(),
    }
}

/// Puts `data` at the end of the last part, and says where.
fn carry(parts: &mut [Vec<u8>], data: &HostData) -> (usize, usize) {
    let last = parts.len() - 1;
    let at = parts[last].len();
    parts[last].extend(bytes(data));
    (last, at)
}

/// What fills a tensor: a rule where the page can follow it to the bit, else numbers.
fn feed(parts: &mut [Vec<u8>], f: &Feed, seed: u64, (buffer, offset): (u32, u64)) -> Value {
    let mut out = json!({
        "dtype": dtype(f.ty.dtype), "n": f.ty.elements(), "buffer": buffer, "offset": offset,
    });
    match &f.fill {
        Fill::Uniform(lo, hi) => {
            out["make"] = json!({"uniform": [lo, hi], "seed": seed.to_string()});
        }
        Fill::Index(n) => out["make"] = json!({"index": n, "seed": seed.to_string()}),
        // Logarithms and cosines are not the same everywhere.
        Fill::Normal(_) | Fill::Values(_) | Fill::Words(_) => {
            let (file, at) = carry(parts, &f.make(seed));
            (out["file"], out["at"]) = (file.into(), at.into());
        }
    }
    out
}

/// A case, or why it is left out.
fn described(
    case: &Case,
    shaders: &mut Shaders,
    parts: &mut Vec<Vec<u8>>,
) -> Result<std::result::Result<Value, String>> {
    let limits = Limits {
        f16: case.needs_f16(),
        ..Limits::web()
    };
    let mut planner = Planner::guarded(&limits);
    let (g, states, inputs, outputs) = build(case)?;
    planner.allocate_states(&states)?;
    if let Err(e) = planner.compile(&g, &outputs) {
        return Ok(Err(format!("WebGPU's default limits: {e}")));
    }
    let Some(tape) = planner.tape() else {
        return Err(GraphError::Invalid("the planner did not record".into()));
    };
    let size: u64 = tape.buffers.iter().map(|b| b.bytes).sum();
    if size > LARGEST {
        return Ok(Err(format!("its tensors are {} MiB", size >> 20)));
    }
    if parts.last().is_none_or(|p| p.len() > PART) {
        parts.push(Vec::new());
    }
    let program = &tape.programs[0];
    let mut dispatches = Vec::new();
    for s in &program.segments {
        if let Segment::Device(r) = s {
            let numbers: Vec<usize> = r.shaders.iter().map(|s| shaders.number(s)).collect();
            dispatches.extend(r.dispatches.iter().map(|d| Dispatch {
                shader: numbers[d.shader],
                ..d.clone()
            }));
        }
    }
    let mut feeds = Vec::new();
    for (i, (t, f)) in inputs.iter().zip(&case.inputs).enumerate() {
        // An input that no dispatch reads has no place.
        if let Some(p) = program.inputs.iter().find(|p| p.tensor == *t) {
            feeds.push(feed(parts, f, case.seed(i), (p.buffer.0, p.offset)));
        }
    }
    let count = case.inputs.len();
    for (i, (group, f)) in tape.groups.iter().zip(&case.updates).enumerate() {
        feeds.push(feed(parts, f, case.seed(count + i), (group.0, 0)));
    }
    let want = results(&mut HostExecutor::<f64>::new().poisoned(), case)?.0;
    let of_outputs = program
        .outputs
        .iter()
        .map(|p| (p.dtype, p.buffer.0, p.offset));
    let of_states = tape
        .groups
        .iter()
        .zip(&case.updates)
        .map(|(b, f)| (f.ty.dtype, b.0, 0));
    let bounds = Bounds::of(case);
    let mut expect = Vec::new();
    for (r, ((kind, buffer, offset), w)) in of_outputs.chain(of_states).zip(&want).enumerate() {
        let ((file, at), (nmse, max)) = (carry(parts, w), bounds.result(r));
        expect.push(json!({
            "dtype": dtype(kind), "n": w.len(), "buffer": buffer, "offset": offset, "file": file, "at": at,
            "nmse": nmse, "max": max,
        }));
    }
    let buffers = tape.buffers.iter().map(|b| match b.guard {
        Some(_) => json!({"name": b.name, "bytes": b.bytes, "fill": POISON}),
        None => json!({"name": b.name, "bytes": b.bytes}),
    });
    let guarded = tape.buffers.iter().enumerate();
    let guards =
        guarded.filter_map(|(i, b)| Some(json!({"buffer": i, "offset": b.guard?, "n": GUARD})));
    let step: &[u32] = bytemuck::cast_slice(std::slice::from_ref(&case.step));
    let mut out = json!({
        "op": case.op.name(), "title": case.title(), "buffers": buffers.collect::<Vec<_>>(),
        "dispatches": dispatches, "step": step, "feeds": feeds, "expect": expect,
        "guards": guards.collect::<Vec<_>>(),
    });
    if limits.f16 {
        out["features"] = json!(["shader-f16"]);
    }
    Ok(Ok(out))
}

/// Records cases for WebGPU's default limits. What they need beyond those, or too much memory, leaves them out, named.
/// `progress` is told of cases done, and of all.
///
/// # Errors
/// A case that cannot be built: a defect of the table.
pub fn page(cases: &[Case], progress: &mut dyn FnMut(usize, usize)) -> Result<Page> {
    let (mut shaders, mut out) = (Shaders::default(), Page::default());
    let (mut all, mut left) = (Vec::new(), Vec::new());
    for (i, c) in cases.iter().enumerate() {
        match described(c, &mut shaders, &mut out.parts)? {
            Ok(case) => all.push(case),
            Err(reason) => {
                left.push(json!({"op": c.op.name(), "title": c.title(), "reason": reason}));
            }
        }
        progress(i + 1, cases.len());
    }
    (out.cases, out.left_out) = (all.len(), left.len());
    let files: Vec<String> = (0..out.parts.len()).map(part).collect();
    out.table = json!({
        "format": "amcl-wgpu cases", "version": 1,
        "made_by": format!("amcl-wgpu {}", env!("CARGO_PKG_VERSION")),
        "step_bytes": size_of::<StepScalars>(),
        "shaders": shaders.all, "files": files, "cases": all, "left_out": left,
    });
    Ok(out)
}
