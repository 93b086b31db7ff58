//! A plan as a file: everything that replaying needs, for whoever has a device and no Rust. `plan.json` of an exported
//! page is this, and `amcl-wgpu plan` writes and compares it.

use super::recorded::Segment;
use super::step::StepScalars;
use super::tape::{Port, Tape};
use super::{DType, GraphError, Result};
use crate::device::Limits;
use crate::device::recording::{Dispatch, Shader};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt::Write as _;

/// The mark of the format.
const FORMAT: &str = "amcl-wgpu plan";
/// Its version: a reader refuses others.
const VERSION: u32 = 1;

/// Bytes of the file of contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// First byte.
    pub offset: u64,
    /// How many.
    pub bytes: u64,
}

/// A storage buffer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Buffer {
    /// What lies in it, or the largest of what does.
    pub name: String,
    /// Bytes.
    pub bytes: u64,
    /// What its first bytes are at the start; the others are zero.
    pub from: Option<Span>,
}

/// A tensor that the host writes or reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tensor {
    /// Its name: no two of a program's inputs share one.
    pub name: String,
    /// `f32`, `f16` or `u32`.
    pub dtype: String,
    /// Dimensions, slowest first.
    pub dims: Vec<usize>,
    /// Number of its buffer.
    pub buffer: u32,
    /// First byte.
    pub offset: u64,
}

/// Dispatches that run together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Its name.
    pub name: String,
    /// What the host writes before a run; what is not written keeps its contents.
    pub inputs: Vec<Tensor>,
    /// What the host may read after it.
    pub outputs: Vec<Tensor>,
    /// In order. They number the file's shaders.
    pub dispatches: Vec<Dispatch>,
}

/// What the device must offer beyond WebGPU's defaults, by WebGPU's names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Needs {
    /// Bytes of the largest buffer, where they exceed 256 MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_buffer_size: Option<u64>,
    /// Bytes of the largest binding, where they exceed 128 MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_storage_buffer_binding_size: Option<u64>,
}

/// Programs on shared buffers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Portable {
    /// `amcl-wgpu plan`.
    pub format: String,
    /// Of the format.
    pub version: u32,
    /// The program that wrote it.
    pub made_by: String,
    /// What the device must offer.
    pub limits: Needs,
    /// Bytes of the step block: zero, or written before each run.
    pub step_bytes: usize,
    /// All buffers.
    pub buffers: Vec<Buffer>,
    /// All shaders, each once.
    pub shaders: Vec<Shader>,
    /// The programs.
    pub programs: Vec<Program>,
}

fn tensor(port: &Port) -> Tensor {
    Tensor {
        name: port.name.clone(),
        dtype: match port.dtype {
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::U32 => "u32",
        }
        .into(),
        dims: port.dims.clone(),
        buffer: port.buffer.0,
        offset: port.offset,
    }
}

/// Names that are told apart: a second `x` becomes `x 2`.
fn distinct(tensors: &mut [Tensor]) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for t in tensors {
        let n = seen.entry(t.name.clone()).or_default();
        *n += 1;
        if *n > 1 {
            t.name = format!("{} {n}", t.name);
        }
    }
}

impl Tape {
    /// The programs as a file, with these names in their order, and the contents of the buffers at their start.
    ///
    /// # Errors
    /// A program whose ops run in part on the host: no page has the twins.
    pub fn portable(&self, names: &[&str]) -> Result<(Portable, Vec<u8>)> {
        let mut contents = Vec::new();
        let buffers: Vec<Buffer> = self
            .buffers
            .iter()
            .map(|b| {
                let end = b.content.iter().map(|(at, c)| at + c.len() as u64).max();
                let from = end.map(|bytes| Span {
                    offset: contents.len() as u64,
                    bytes,
                });
                if let Some(span) = from {
                    contents.resize((span.offset + span.bytes) as usize, 0);
                    for (at, c) in &b.content {
                        let start = (span.offset + at) as usize;
                        contents[start..start + c.len()].copy_from_slice(c);
                    }
                }
                Buffer {
                    name: b.name.clone(),
                    bytes: b.bytes,
                    from,
                }
            })
            .collect();
        let (mut shaders, mut known) = (Vec::<Shader>::new(), HashMap::<&str, usize>::new());
        let mut programs = Vec::with_capacity(self.programs.len());
        for (i, p) in self.programs.iter().enumerate() {
            let name = names
                .get(i)
                .map_or_else(|| format!("program {i}"), |n| (*n).into());
            let mut dispatches = Vec::new();
            for s in &p.segments {
                let Segment::Device(recording) = s else {
                    let ops = p.on_host.join(", ");
                    return Err(GraphError::Invalid(format!(
                        "the program `{name}` runs {ops} on the host, by twins: it can be replayed only where the twins \
                         are, not in a page"
                    )));
                };
                let mut numbers = Vec::with_capacity(recording.shaders.len());
                for s in &recording.shaders {
                    let at = *known.entry(&s.key).or_insert_with(|| {
                        shaders.push(s.clone());
                        shaders.len() - 1
                    });
                    if shaders[at].wgsl != s.wgsl {
                        let taken =
                            format!("two kernels are called `{}`: choose other names", s.key);
                        return Err(GraphError::Invalid(taken));
                    }
                    numbers.push(at);
                }
                dispatches.extend(recording.dispatches.iter().map(|d| Dispatch {
                    shader: numbers[d.shader],
                    ..d.clone()
                }));
            }
            let mut inputs: Vec<Tensor> = p.inputs.iter().map(tensor).collect();
            let mut outputs: Vec<Tensor> = p.outputs.iter().map(tensor).collect();
            distinct(&mut inputs);
            distinct(&mut outputs);
            programs.push(Program {
                name,
                inputs,
                outputs,
                dispatches,
            });
        }
        let web = Limits::web();
        let buffer = buffers.iter().map(|b| b.bytes).max().unwrap_or(0);
        let bound = programs
            .iter()
            .flat_map(|p| &p.dispatches)
            .flat_map(|d| &d.bind);
        let binding = bound.map(|b| b.2).max().unwrap_or(0);
        let plan = Portable {
            format: FORMAT.into(),
            version: VERSION,
            made_by: format!("amcl-wgpu {}", env!("CARGO_PKG_VERSION")),
            limits: Needs {
                max_buffer_size: (buffer > web.max_buffer).then_some(buffer),
                max_storage_buffer_binding_size: (binding > web.max_binding as u64)
                    .then_some(binding),
            },
            step_bytes: size_of::<StepScalars>(),
            buffers,
            shaders,
            programs,
        };
        Ok((plan, contents))
    }
}

impl Portable {
    /// Reads a plan.
    ///
    /// # Errors
    /// No plan, or one of another version.
    pub fn parse(text: &str) -> std::result::Result<Self, String> {
        let plan: Self = serde_json::from_str(text).map_err(|e| format!("no plan: {e}"))?;
        if plan.format != FORMAT || plan.version != VERSION {
            return Err(format!(
                "`{}` version {}; this program reads `{FORMAT}` version {VERSION}",
                plan.format, plan.version
            ));
        }
        Ok(plan)
    }

    /// Bytes of all buffers.
    pub fn bytes(&self) -> u64 {
        self.buffers.iter().map(|b| b.bytes).sum()
    }

    /// Dispatches of all programs.
    pub fn dispatches(&self) -> usize {
        self.programs.iter().map(|p| p.dispatches.len()).sum()
    }

    /// What differs in `other`, a line each; nothing where both do the same work in the same memory. Contents are not
    /// compared.
    pub fn diff(&self, other: &Self) -> Vec<String> {
        let mut out = Vec::new();
        let mut tell = |what: String, a: String, b: String| {
            if a != b {
                out.push(format!("{what}: {a} -> {b}"));
            }
        };
        tell(
            "limits".into(),
            format!("{:?}", self.limits),
            format!("{:?}", other.limits),
        );
        let memory = |p: &Self| format!("{} buffers of {} bytes", p.buffers.len(), p.bytes());
        tell("memory".into(), memory(self), memory(other));
        for (a, b) in self.buffers.iter().zip(&other.buffers) {
            let text = |b: &Buffer| format!("{} bytes", b.bytes);
            tell(format!("buffer {} ({})", a.name, b.name), text(a), text(b));
        }
        let texts = |p: &Self| -> HashMap<String, String> {
            p.shaders
                .iter()
                .map(|s| (s.key.clone(), s.wgsl.clone()))
                .collect()
        };
        let (here, there) = (texts(self), texts(other));
        let mut keys: Vec<&String> = here.keys().chain(there.keys()).collect();
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            match (here.get(key), there.get(key)) {
                (Some(a), Some(b)) if a != b => out.push(format!("shader {key}: {}", line(a, b))),
                (Some(_), None) => out.push(format!("shader {key}: only in the first")),
                (None, Some(_)) => out.push(format!("shader {key}: only in the second")),
                _ => {}
            }
        }
        let names =
            |p: &Self| -> Vec<String> { p.programs.iter().map(|p| p.name.clone()).collect() };
        if names(self) != names(other) {
            out.push(format!("programs: {:?} -> {:?}", names(self), names(other)));
        }
        for (a, b) in self.programs.iter().zip(&other.programs) {
            if a.dispatches.len() != b.dispatches.len() {
                let (x, y) = (a.dispatches.len(), b.dispatches.len());
                out.push(format!("{}: {x} dispatches -> {y}", a.name));
            }
            if (&a.inputs, &a.outputs) != (&b.inputs, &b.outputs) {
                out.push(format!(
                    "{}: other inputs or outputs, or other places",
                    a.name
                ));
            }
            let work = |p: &Self, d: &Dispatch| {
                let mut s = String::new();
                let key = p.shaders.get(d.shader).map_or("?", |s| s.key.as_str());
                let _ = write!(s, "{key} {}x{}", d.grid.0, d.grid.1);
                s
            };
            for (i, (x, y)) in a.dispatches.iter().zip(&b.dispatches).enumerate() {
                let at = format!("{} dispatch {i} ({})", a.name, x.label);
                let (from, to) = (work(self, x), work(other, y));
                if from != to || x.label != y.label {
                    out.push(format!("{at}: {from} -> {to} ({})", y.label));
                    // What follows is shifted and would differ line by line.
                    if a.dispatches.len() != b.dispatches.len() {
                        break;
                    }
                } else if x.params != y.params {
                    out.push(format!("{at}: other parameters"));
                } else if x.bind != y.bind {
                    out.push(format!("{at}: other places in memory"));
                }
            }
        }
        out
    }
}

/// The first line in which two texts differ.
fn line(a: &str, b: &str) -> String {
    let (mut here, mut there) = (a.lines(), b.lines());
    for number in 1.. {
        match (here.next(), there.next()) {
            (None, None) => break,
            (x, y) if x == y => {}
            (x, y) => {
                let text =
                    |t: Option<&str>| t.map_or("nothing".into(), |t| format!("`{}`", t.trim()));
                return format!("line {number}: {} -> {}", text(x), text(y));
            }
        }
    }
    "other line ends".into()
}
