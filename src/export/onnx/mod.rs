//! Writes a graph as an ONNX model (opset 17). Every op says its nodes ([`crate::graph::onnx`]); nothing here knows a
//! network or an op.

mod proto;
#[cfg(test)]
mod tests;

use crate::graph::onnx::{Axes, BATCH, OnnxNode, Operand};
use crate::graph::{DType, Graph, Node, Origin, TensorId, TensorType};
use crate::nn::import::Named;
use prost::Message;
use std::collections::{HashMap, HashSet};

/// Why a graph is no ONNX model.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OnnxError {
    /// An op without a form in ONNX, or whose further outputs (which have none) are read.
    #[error("{op} ({label}) has no form in ONNX")]
    NoForm {
        /// The op's name.
        op: &'static str,
        /// The node's label.
        label: String,
    },
    /// The graph is not built for [`BATCH`] images.
    #[error("a graph that becomes an ONNX model takes f32 tensors of {BATCH} images, not {0}")]
    Batch(String),
    /// Something else than the input and states is read.
    #[error("the model would need the input `{0}` too")]
    Input(String),
    /// The weights lack a state.
    #[error("the weights lack `{0}`")]
    Missing(String),
    /// A state has another shape among the weights.
    #[error("`{name}` is {found:?} among the weights and {wanted:?} in the network")]
    Weight {
        /// The state.
        name: String,
        /// The weights' shape.
        found: Vec<usize>,
        /// The network's, in the file's order.
        wanted: Vec<usize>,
    },
    /// A shape with more than one dimension that counts images.
    #[error("{op} ({label}): two dimensions of its shape count images")]
    Open {
        /// The op's name.
        op: &'static str,
        /// The node's label.
        label: String,
    },
}

type Result<T> = std::result::Result<T, OnnxError>;

/// Version of ONNX's operators.
const OPSET: i64 = 17;
/// Version of the file format that belongs to it.
const IR_VERSION: i64 = 8;

/// The model that computes the tensor `output` of a graph from the tensor `input`, as bytes. Both go by these names in
/// the file, and the dimensions of both that count images are open. An input of rank 4, [n,h,w,c], is [n,c,h,w] in the
/// file; an output has the graph's axes. The graph is built for [`BATCH`] images.
///
/// States are initializers. `weights` has them by their names, in PyTorch's layouts (filters OIHW), and the file has
/// them so.
///
/// # Errors
/// An op on the way that has no form in ONNX: its name and label. A state that `weights` lacks or has in another shape.
/// A graph for another number of images; another input than `input` on the way.
pub fn model(
    graph: &Graph,
    (input, input_name): (TensorId, &str),
    (output, output_name): (TensorId, &str),
    weights: &Named,
) -> Result<Vec<u8>> {
    let mut w = Writer {
        graph,
        weights,
        values: HashMap::new(),
        taken: HashSet::from([input_name.to_string(), output_name.to_string()]),
        file: proto::Graph {
            name: "encoder".into(),
            ..proto::Graph::default()
        },
    };
    let ty = graph.ty(input);
    if ty.dims().first() != Some(&BATCH) || ty.dtype != DType::F32 {
        return Err(OnnxError::Batch(ty.to_string()));
    }
    let axes = in_files(ty.dims());
    w.values.insert(input, Value::new(input_name, axes));
    let dims = open(&permuted(ty.dims(), axes));
    w.file.input = vec![proto::Value::floats(input_name, &dims)];
    let needed = needed(graph, output);
    for node in graph.nodes() {
        if node.outputs.iter().any(|t| needed.contains(t)) {
            w.op(node)?;
        }
    }
    let made = w.value(output, Axes::Graph)?;
    w.name_output(&made, output_name);
    let dims = open(graph.dims(output));
    w.file.output = vec![proto::Value::floats(output_name, &dims)];
    let model = proto::Model {
        ir_version: IR_VERSION,
        producer_name: "amcl-wgpu".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: Some(w.file),
        opset_import: vec![proto::OperatorSet {
            domain: String::new(),
            version: OPSET,
        }],
    };
    Ok(model.encode_to_vec())
}

/// The tensors that `output` is made of, itself included.
fn needed(graph: &Graph, output: TensorId) -> HashSet<TensorId> {
    let mut needed = HashSet::from([output]);
    for node in graph.nodes().iter().rev() {
        if node.outputs.iter().any(|t| needed.contains(t)) {
            needed.extend(&node.inputs);
        }
    }
    needed
}

/// The axes of images and filters in files.
fn in_files(dims: &[usize]) -> Axes {
    match dims.len() {
        4 => Axes::ChannelsFirst,
        _ => Axes::Graph,
    }
}

/// Dimensions in the file's order.
fn permuted(dims: &[usize], axes: Axes) -> Vec<usize> {
    order(dims.len(), Axes::Graph, axes)
        .into_iter()
        .map(|axis| dims[axis])
        .collect()
}

/// The `perm` of the transposition that turns axes `from` into `to`.
fn order(rank: usize, from: Axes, to: Axes) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rank).collect();
    match (from, to) {
        (Axes::Graph, Axes::ChannelsFirst) if rank > 2 => order[1..].rotate_right(1),
        (Axes::ChannelsFirst, Axes::Graph) if rank > 2 => order[1..].rotate_left(1),
        _ => {}
    }
    order
}

/// Sizes, but for those that count images.
fn open(dims: &[usize]) -> Vec<Option<usize>> {
    let size = |d: &usize| (!d.is_multiple_of(BATCH)).then_some(*d);
    dims.iter().map(size).collect()
}

/// A tensor in the file.
#[derive(Clone, Debug)]
struct Value {
    name: String,
    axes: Axes,
}

impl Value {
    fn new(name: &str, axes: Axes) -> Self {
        let name = name.to_string();
        Self { name, axes }
    }
}

fn no_form(node: &Node) -> OnnxError {
    OnnxError::NoForm {
        op: node.op.name(),
        label: node.label.clone(),
    }
}

/// Appends nodes to the file.
struct Writer<'a> {
    graph: &'a Graph,
    weights: &'a Named,
    /// What the graph's tensors are in the file.
    values: HashMap<TensorId, Value>,
    /// Names of nodes and values so far.
    taken: HashSet<String>,
    file: proto::Graph,
}

impl Writer<'_> {
    /// Appends the nodes of an op.
    fn op(&mut self, node: &Node) -> Result<()> {
        let graph = self.graph;
        let none = || no_form(node);
        let types: Vec<&TensorType> = node.inputs.iter().map(|t| graph.ty(*t)).collect();
        let form = node.op.onnx(&types).ok_or_else(none)?;
        let first = match node.inputs.first() {
            Some(t) => self.any(*t)?.axes,
            None => Axes::Graph,
        };
        let kept = |axes| match axes {
            Axes::Kept => first,
            other => other,
        };
        let mut made: Vec<String> = Vec::new();
        for OnnxNode {
            op_type,
            inputs,
            attributes,
        } in &form.nodes
        {
            let mut names = Vec::new();
            for operand in inputs {
                names.push(match operand {
                    Operand::Input(i, axes) => self.value(node.inputs[*i], kept(*axes))?,
                    Operand::Node(i) => made[*i].clone(),
                    Operand::Shape(dims) => self.shape(dims, node)?,
                    Operand::Integers(values) => self.integers(values),
                    Operand::Scalar(value) => self.number(*value),
                });
            }
            let label = match (node.label.as_str(), made.len()) {
                ("", 0) => node.op.name().to_string(),
                (label, 0) => label.to_string(),
                ("", _) => format!("{}.{}", node.op.name(), op_type.to_lowercase()),
                (label, _) => format!("{label}.{}", op_type.to_lowercase()),
            };
            let attributes = attributes.iter();
            let attributes = attributes.map(|(name, value)| proto::Attribute::new(name, value));
            made.push(self.node(op_type, &label, names, attributes.collect()));
        }
        // Only the first output has a form: who reads another one is told that it has none.
        let name = made.last().ok_or_else(none)?;
        let value = Value::new(name, kept(form.axes));
        self.values.insert(node.outputs[0], value);
        Ok(())
    }

    /// Appends a node under a name that nothing else has; returns its result's name.
    fn node(
        &mut self,
        op_type: &str,
        name: &str,
        input: Vec<String>,
        attribute: Vec<proto::Attribute>,
    ) -> String {
        let name = self.unique(name);
        let output = self.unique(&format!("{name}.y"));
        self.file.node.push(proto::Node {
            input,
            output: vec![output.clone()],
            name,
            op_type: op_type.into(),
            attribute,
        });
        output
    }

    /// `name`, with a number behind it if it is taken.
    fn unique(&mut self, name: &str) -> String {
        let numbered = (1..).map(|i| format!("{name}.{i}"));
        let mut names = std::iter::once(name.to_string()).chain(numbered);
        let free = names.find(|n| !self.taken.contains(n)).unwrap_or_default();
        self.taken.insert(free.clone());
        free
    }

    /// A tensor's name in the file, with the axes that are asked for.
    fn value(&mut self, t: TensorId, axes: Axes) -> Result<String> {
        let value = self.any(t)?;
        let order = order(self.graph.dims(t).len(), value.axes, axes);
        if order.is_sorted() {
            return Ok(value.name);
        }
        let perm = proto::Attribute::new("perm", &crate::graph::onnx::Attribute::sizes(&order));
        let name = format!("{}.transpose", value.name);
        Ok(self.node("Transpose", &name, vec![value.name], vec![perm]))
    }

    /// A tensor in the file, with whichever axes: what an earlier node made, or a state.
    fn any(&mut self, t: TensorId) -> Result<Value> {
        if let Some(value) = self.values.get(&t) {
            return Ok(value.clone());
        }
        let value = match self.graph.tensor(t).origin {
            Origin::State(_) => self.state(t)?,
            Origin::Input => {
                return Err(OnnxError::Input(self.graph.tensor(t).name.clone()));
            }
            // A further output of an op.
            Origin::Node(n, _) => return Err(no_form(self.graph.node(n))),
        };
        self.values.insert(t, value.clone());
        Ok(value)
    }

    /// A state as an initializer, as its file has it.
    fn state(&mut self, t: TensorId) -> Result<Value> {
        let tensor = self.graph.tensor(t);
        let (name, dims) = (&tensor.name, tensor.ty.dims());
        let lacks = || OnnxError::Missing(name.clone());
        let w = self.weights.get(name).ok_or_else(lacks)?;
        let axes = in_files(dims);
        let want = permuted(dims, axes);
        // Files leave out a leading axis of one (a single head).
        let short = want.strip_prefix(&[1][..]).unwrap_or(&want);
        if w.shape != want && w.shape != short {
            return Err(OnnxError::Weight {
                name: name.clone(),
                found: w.shape.clone(),
                wanted: want.clone(),
            });
        }
        self.taken.insert(name.clone());
        let tensor = proto::Tensor::floats(name, &w.shape, &w.values);
        self.file.initializer.push(tensor);
        if w.shape == want {
            return Ok(Value::new(name, axes));
        }
        let sizes: Vec<i64> = want.iter().map(|d| *d as i64).collect();
        let sizes = self.integers(&sizes);
        let input = vec![name.clone(), sizes];
        let whole = self.node("Reshape", &format!("{name}.whole"), input, vec![]);
        Ok(Value::new(&whole, axes))
    }

    /// A shape as a constant: what counts images is what is left over.
    fn shape(&mut self, dims: &[usize], node: &Node) -> Result<String> {
        let sizes = open(dims);
        if sizes.iter().filter(|d| d.is_none()).count() > 1 {
            return Err(OnnxError::Open {
                op: node.op.name(),
                label: node.label.clone(),
            });
        }
        let sizes: Vec<i64> = sizes.iter().map(|d| d.map_or(-1, |d| d as i64)).collect();
        Ok(self.integers(&sizes))
    }

    fn integers(&mut self, values: &[i64]) -> String {
        let name = self.unique("shape");
        let tensor = proto::Tensor::integers(&name, values);
        self.file.initializer.push(tensor);
        name
    }

    fn number(&mut self, value: f32) -> String {
        let name = self.unique("number");
        let tensor = proto::Tensor::floats(&name, &[], &[value]);
        self.file.initializer.push(tensor);
        name
    }

    /// Has the value `made` go by the output's name.
    fn name_output(&mut self, made: &str, name: &str) {
        let nodes = &mut self.file.node;
        if !nodes.iter().any(|n| n.output[0] == made) {
            // An input or a weight keeps its own name.
            nodes.push(proto::Node {
                input: vec![made.into()],
                output: vec![name.into()],
                name: "identity".into(),
                op_type: "Identity".into(),
                attribute: vec![],
            });
            return;
        }
        for node in nodes {
            for value in node.input.iter_mut().chain(&mut node.output) {
                if value == made {
                    *value = name.into();
                }
            }
        }
    }
}
