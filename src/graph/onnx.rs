//! What an op is in ONNX, as plain data: nodes, their operands and attributes, and the layout of each tensor. Writing
//! files is `export::onnx`'s.
//!
//! Our images are NHWC and our filters KRSC; ONNX's are NCHW and OIHW. An op says which [`Axes`] each operand must have
//! and which its result has. Whoever writes the model moves axes where a tensor has others than are asked for, so a
//! chain of convolutions needs no transposition, and an op that takes tokens behind it gets one.
//!
//! The number of images is no number in a file. A graph that shall become a model is built for [`BATCH`] images.
//!
//! # Example
//! A batch norm with a residual and a ReLU is three nodes:
//! ```
//! use amcl_wgpu::graph::{Op, TensorType, onnx::{Axes, Operand}};
//! use amcl_wgpu::ops::batch_norm::BatchNormInference;
//! let op = BatchNormInference { eps: 1e-5, relu: true, residual: true };
//! let (x, c) = (TensorType::f32([8, 4, 4, 16]), TensorType::f32([16]));
//! let form = op.onnx(&[&x, &c, &c, &c, &c, &x]).unwrap();
//! let kinds: Vec<&str> = form.nodes.iter().map(|n| n.op_type).collect();
//! assert_eq!(kinds, ["BatchNormalization", "Add", "Relu"]);
//! assert_eq!(form.nodes[1].inputs[1], Operand::Input(5, Axes::ChannelsFirst));
//! assert_eq!(form.axes, Axes::ChannelsFirst);
//! ```

/// Images of a graph that becomes a model. It is a prime that no width, side or number of heads has as a factor: a
/// dimension that it divides counts images, and is left open in the file. Such a graph is never run.
pub const BATCH: usize = 1_000_003;

/// The order of a tensor's axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axes {
    /// As in the graph.
    Graph,
    /// The last axis second: [n,h,w,c] as [n,c,h,w], [k,r,s,c] as [k,c,r,s]; the same as [`Axes::Graph`] for matrices.
    ChannelsFirst,
    /// As the op's first input has them, whichever these are: for ops that treat elements alike.
    Kept,
}

/// What an ONNX node reads.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    /// Input number `0` of the op, with these axes.
    Input(usize, Axes),
    /// The result of node number `0` of this form.
    Node(usize),
    /// A shape (an `int64` vector). At most one of its dimensions may count images ([`BATCH`]).
    Shape(Vec<usize>),
    /// Integers as they are (an `int64` vector): indices, bounds.
    Integers(Vec<i64>),
    /// A number (a `float` without dimensions).
    Scalar(f32),
}

/// An attribute's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// `INT`.
    Int(i64),
    /// `INTS`.
    Ints(Vec<i64>),
    /// `FLOAT`.
    Float(f32),
}

impl Attribute {
    /// `INTS` of sizes.
    pub fn sizes(sizes: &[usize]) -> Self {
        Self::Ints(sizes.iter().map(|s| *s as i64).collect())
    }
}

/// One node of the default domain, opset 17, with one result.
#[derive(Clone, Debug, PartialEq)]
pub struct OnnxNode {
    /// `Conv`, `Relu`, ...
    pub op_type: &'static str,
    /// In ONNX's order.
    pub inputs: Vec<Operand>,
    /// By name.
    pub attributes: Vec<(&'static str, Attribute)>,
}

/// An op as nodes of ONNX. The last one's result is the op's first output; an op's further outputs have no form.
#[derive(Clone, Debug, PartialEq)]
pub struct OnnxForm {
    /// The nodes, each after those that it reads.
    pub nodes: Vec<OnnxNode>,
    /// The axes of the result.
    pub axes: Axes,
}

impl OnnxForm {
    /// A form without nodes, whose result will have these axes.
    pub fn new(axes: Axes) -> Self {
        let nodes = Vec::new();
        Self { nodes, axes }
    }

    /// Appends a node without attributes; returns what reads its result.
    pub fn push(&mut self, op_type: &'static str, inputs: Vec<Operand>) -> Operand {
        self.push_with(op_type, inputs, Vec::new())
    }

    /// Appends a node; returns what reads its result.
    pub fn push_with(
        &mut self,
        op_type: &'static str,
        inputs: Vec<Operand>,
        attributes: Vec<(&'static str, Attribute)>,
    ) -> Operand {
        self.nodes.push(OnnxNode {
            op_type,
            inputs,
            attributes,
        });
        Operand::Node(self.nodes.len() - 1)
    }

    /// One node that treats the elements of its `inputs` inputs alike (`Add`, `Relu`).
    pub fn elementwise(op_type: &'static str, inputs: usize) -> Self {
        let mut form = Self::new(Axes::Kept);
        let inputs = (0..inputs).map(|i| Operand::Input(i, Axes::Kept));
        form.push(op_type, inputs.collect());
        form
    }
}
