//! The static graph: nodes, differentiation by appending nodes, the plan, and its two executors.
//!
//! A graph is built once per kind of step, differentiated into itself ([`crate::ops::backward`]), planned once
//! ([`plan`]: order, lifetimes, pooled memory, exact peak before anything is allocated), and replayed ([`exec`]) by
//! WGSL dispatches or by the CPU twins.

pub(crate) mod backward;
pub(crate) mod class;
pub mod exec;
pub mod gpu;
pub mod host;
pub mod memory;
pub mod onnx;
pub(crate) mod op;
pub mod plan;
pub mod planner;
pub mod portable;
pub mod recorded;
pub(crate) mod rematerialise;
pub mod state;
pub(crate) mod step;
pub mod tape;
pub(crate) mod tensor;
pub mod watched;

pub use class::Class;
pub use exec::{Executor, HostData, ProgramId};
pub use op::{Bindings, Cost, HostIo, Op};
pub use state::{StateId, States};
pub use step::StepScalars;
pub use tensor::{DType, MAX_ELEMENTS, Shape, TensorType};

use std::sync::Arc;

/// Why a graph could not be built, planned or run.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    /// An op rejected its inputs: names the op, its label and the shapes.
    #[error("{op} ({label}): {reason}; inputs {inputs}")]
    Shape {
        /// The op's name.
        op: &'static str,
        /// The node's label in the graph.
        label: String,
        /// What is wrong and what would be right.
        reason: String,
        /// The input types, printed.
        inputs: String,
    },
    /// An op without a gradient stands between the loss and a differentiated tensor.
    #[error("{op} ({label}) has no gradient rule, but a gradient reaches it")]
    NoGradient {
        /// The op's name.
        op: &'static str,
        /// The node's label.
        label: String,
    },
    /// The plan does not fit.
    #[error("{0}")]
    Memory(String),
    /// The device failed.
    #[error(transparent)]
    Device(#[from] crate::device::DeviceError),
    /// A request that names something absent or of another type.
    #[error("{0}")]
    Invalid(String),
}

/// Result of graph operations.
pub type Result<T> = std::result::Result<T, GraphError>;

/// A tensor of one graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TensorId(pub(crate) u32);

/// A node of one graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(crate) u32);

/// Where a tensor's value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Written by the host before a run.
    Input,
    /// Lives across runs, in a [`States`] group.
    State(StateId),
    /// Output `1` of node `0`.
    Node(NodeId, usize),
}

/// A tensor's record.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Name, for messages, profiles and memory reports.
    pub name: String,
    /// Shape and type.
    pub ty: TensorType,
    /// Where the value comes from.
    pub origin: Origin,
    /// A node's result that is written into a state ([`Graph::write_into`]) and needs no memory of the plan's.
    pub written_into: Option<StateId>,
}

impl Tensor {
    /// The state in whose memory the value lies, if it lies in one.
    pub fn state(&self) -> Option<StateId> {
        match self.origin {
            Origin::State(id) => Some(id),
            _ => self.written_into,
        }
    }
}

/// A node's record.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it computes.
    pub op: Arc<dyn Op>,
    /// Tensors read.
    pub inputs: Vec<TensorId>,
    /// Tensors written.
    pub outputs: Vec<TensorId>,
    /// State tensors read and written in place.
    pub updates: Vec<TensorId>,
    /// Where in the model it stands (`layer1.0.conv1`), for messages and profiles.
    pub label: String,
}

impl Node {
    /// The op and its place, for messages and profiles: `conv2d layer1.0.conv1`.
    pub fn title(&self) -> String {
        format!("{} {}", self.op.name(), self.label)
            .trim_end()
            .to_string()
    }
}

/// A tensor that no memory holds.
fn too_large(of: &str, ty: &TensorType) -> GraphError {
    GraphError::Memory(format!(
        "{}: a tensor {ty} is more than can be computed with; use a smaller batch, image or network",
        of.trim()
    ))
}

/// A static computation graph.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    pub(crate) tensors: Vec<Tensor>,
    pub(crate) nodes: Vec<Node>,
    scope: Vec<String>,
    /// Runs of nodes whose results are not kept for the backward pass ([`Graph::end_checkpoint`]), one behind the other.
    segments: Vec<std::ops::Range<usize>>,
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// Names all nodes appended by `f` under `name`, dot separated.
    pub fn scope<T>(&mut self, name: &str, f: impl FnOnce(&mut Self) -> T) -> T {
        self.scope.push(name.to_string());
        let out = f(self);
        self.scope.pop();
        out
    }

    /// Enters a scope, for a caller that holds more than the graph; [`Graph::leave`] leaves it.
    pub(crate) fn enter(&mut self, name: &str) {
        self.scope.push(name.to_string());
    }

    /// Leaves the scope that was entered last.
    pub(crate) fn leave(&mut self) {
        self.scope.pop();
    }

    /// Where a segment begins that [`Graph::end_checkpoint`] ends.
    pub fn begin_checkpoint(&self) -> usize {
        self.nodes.len()
    }

    /// Makes a segment of the nodes that were appended since [`Graph::begin_checkpoint`]. They are run a second time in
    /// the backward pass, where it reads their results, instead of those results being kept (Chen et al., "Training
    /// Deep Nets with Sublinear Memory Cost", 2016): of a Transformer's block its input alone is kept. What later
    /// nodes of the forward pass read is kept too, and so are results of nodes that update states.
    ///
    /// A segment that holds others takes their place.
    pub fn end_checkpoint(&mut self, began: usize) {
        self.segments.retain(|s| s.end <= began);
        self.segments.push(began..self.nodes.len());
    }

    /// The current scope joined with `leaf` (`layer1.0` + `conv1` -> `layer1.0.conv1`).
    pub fn path(&self, leaf: &str) -> String {
        let mut parts: Vec<&str> = self.scope.iter().map(String::as_str).collect();
        if !leaf.is_empty() {
            parts.push(leaf);
        }
        parts.join(".")
    }

    fn push_tensor(&mut self, name: String, ty: TensorType, origin: Origin) -> TensorId {
        self.tensors.push(Tensor {
            name,
            ty,
            origin,
            written_into: None,
        });
        TensorId(self.tensors.len() as u32 - 1)
    }

    /// A tensor that the host writes before a run.
    pub fn input(&mut self, name: &str, ty: TensorType) -> TensorId {
        self.push_tensor(name.to_string(), ty, Origin::Input)
    }

    /// Every node with its cost.
    pub fn costs(&self) -> impl Iterator<Item = (&Node, Cost)> {
        self.nodes.iter().map(|n| {
            let types = |ids: &[TensorId]| -> Vec<&TensorType> {
                ids.iter().map(|t| &self.tensors[t.0 as usize].ty).collect()
            };
            let inputs: Vec<&TensorType> = types(&n.inputs)
                .into_iter()
                .chain(types(&n.updates))
                .collect();
            (n, n.op.cost(&inputs, &types(&n.outputs)))
        })
    }

    /// Operations of one run that count as the model's ([`Class::is_matrix_work`]).
    pub fn model_flops(&self) -> f64 {
        let counted = self.costs().filter(|(n, _)| n.op.class().is_matrix_work());
        counted.map(|(_, cost)| cost.flops).sum()
    }

    /// A state entry as a tensor of this graph (the same tensor when asked twice).
    pub fn state(&mut self, states: &States, id: StateId) -> TensorId {
        let found = self
            .tensors
            .iter()
            .position(|t| t.origin == Origin::State(id));
        if let Some(i) = found {
            return TensorId(i as u32);
        }
        let entry = states.entry(id);
        self.push_tensor(entry.name.clone(), entry.ty, Origin::State(id))
    }

    /// Makes the node that computes `t` write it into the state `id`: after a run the state holds it, and nothing is
    /// copied.
    ///
    /// False, and nothing is changed, where that cannot be:
    /// - `t` is not a node's output, another node reads it, or it is written into a state already;
    /// - its type is not the state's;
    /// - another tensor of this graph lies in that state, or is the state's whole group;
    /// - the node reads the state's group, and a kernel may not read a buffer that it writes.
    pub fn write_into(&mut self, t: TensorId, states: &States, id: StateId) -> bool {
        let Origin::Node(node, _) = self.tensor(t).origin else {
            return false;
        };
        let node = &self.nodes[node.0 as usize];
        let touched = node.inputs.iter().chain(&node.updates);
        let group = |t: &TensorId| self.tensor(*t).state().map(|s| s.group);
        let free = self.tensor(t).written_into.is_none()
            && *self.ty(t) == states.entry(id).ty
            && self
                .tensors
                .iter()
                .all(|t| !t.state().is_some_and(|s| s.overlaps(id)))
            && self.nodes.iter().all(|n| !n.inputs.contains(&t))
            && touched.map(group).all(|g| g != Some(id.group));
        if free {
            self.tensors[t.0 as usize].written_into = Some(id);
        }
        free
    }

    /// Appends a node that updates no state.
    ///
    /// # Errors
    /// [`GraphError::Shape`] when the op rejects its inputs.
    pub fn push(&mut self, op: impl Op + 'static, inputs: &[TensorId]) -> Result<Vec<TensorId>> {
        self.push_updating(op, inputs, &[])
    }

    /// Appends a node with exactly one output and returns that output.
    ///
    /// # Errors
    /// As [`Graph::push`].
    pub fn push1(&mut self, op: impl Op + 'static, inputs: &[TensorId]) -> Result<TensorId> {
        Ok(self.push(op, inputs)?[0])
    }

    /// Appends a node that reads and writes the state tensors `updates` in place.
    ///
    /// # Errors
    /// [`GraphError::Shape`] when the op rejects its inputs, [`GraphError::Invalid`] when an update is not a state.
    pub fn push_updating(
        &mut self,
        op: impl Op + 'static,
        inputs: &[TensorId],
        updates: &[TensorId],
    ) -> Result<Vec<TensorId>> {
        self.push_arc(Arc::new(op), inputs, updates)
    }

    /// [`Graph::push_updating`] for an op that is already shared.
    ///
    /// # Errors
    /// As [`Graph::push_updating`].
    pub fn push_arc(
        &mut self,
        op: Arc<dyn Op>,
        inputs: &[TensorId],
        updates: &[TensorId],
    ) -> Result<Vec<TensorId>> {
        let label = self.path("");
        let mut types: Vec<&TensorType> = inputs.iter().map(|t| self.ty(*t)).collect();
        for &u in updates {
            if !matches!(self.tensor(u).origin, Origin::State(_)) {
                return Err(GraphError::Invalid(format!(
                    "{} ({label}) updates `{}`, which is not a state",
                    op.name(),
                    self.tensor(u).name
                )));
            }
            types.push(self.ty(u));
        }
        let large = types.iter().find(|t| !t.is_possible());
        if let Some(t) = large {
            return Err(too_large(&label, t));
        }
        let narrow = !op.takes_f16() && types.iter().any(|t| t.dtype == DType::F16);
        let inferred = match narrow {
            true => Err("takes f32, not f16".to_string()),
            false => op.infer(&types),
        };
        let outs = inferred.map_err(|reason| GraphError::Shape {
            op: op.name(),
            label: label.clone(),
            reason,
            inputs: types
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", "),
        })?;
        if let Some(t) = outs.iter().find(|t| !t.is_possible()) {
            return Err(too_large(&format!("{} {label}", op.name()), t));
        }
        let node = NodeId(self.nodes.len() as u32);
        let outputs = outs
            .into_iter()
            .enumerate()
            .map(|(i, ty)| {
                let name = if label.is_empty() {
                    format!("{}#{}.{i}", op.name(), node.0)
                } else {
                    format!("{label}.{}#{}.{i}", op.name(), node.0)
                };
                self.push_tensor(name, ty, Origin::Node(node, i))
            })
            .collect::<Vec<_>>();
        self.nodes.push(Node {
            op,
            inputs: inputs.to_vec(),
            outputs: outputs.clone(),
            updates: updates.to_vec(),
            label,
        });
        Ok(outputs)
    }

    /// A tensor's record.
    pub fn tensor(&self, id: TensorId) -> &Tensor {
        &self.tensors[id.0 as usize]
    }

    /// A tensor's type.
    pub fn ty(&self, id: TensorId) -> &TensorType {
        &self.tensor(id).ty
    }

    /// A tensor's dimensions.
    pub fn dims(&self, id: TensorId) -> &[usize] {
        self.ty(id).shape.dims()
    }

    /// A node's record.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    /// All nodes, in order of execution.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// One line a node: label, op, inputs, outputs. For people and tests.
    pub fn describe(&self) -> String {
        use std::fmt::Write;
        let mut s = String::new();
        for (i, n) in self.nodes.iter().enumerate() {
            let list = |ids: &[TensorId]| {
                ids.iter()
                    .map(|t| format!("%{}{}", t.0, self.ty(*t)))
                    .collect::<Vec<_>>()
                    .join(", ")
            };
            let _ = writeln!(
                s,
                "{i:4} {} = {}({}){} [{}]",
                list(&n.outputs),
                n.op.name(),
                list(&n.inputs),
                if n.updates.is_empty() {
                    String::new()
                } else {
                    format!(" updates {}", list(&n.updates))
                },
                n.label
            );
        }
        s
    }
}
