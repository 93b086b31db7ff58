//! The contract of an op, and what it is handed to run.

use super::class::Class;
use super::onnx::OnnxForm;
use super::step::StepScalars;
use super::tensor::TensorType;
use super::{Graph, GraphError, Node, NodeId, Result, TensorId};
use crate::device::Limits;
use crate::device::recording::{Recorder, View};
use smallvec::SmallVec;
use std::fmt::Debug;
use std::sync::Arc;

/// One differentiable (or final) operation. One file in `ops/`, one shader, one twin, one case table: same name.
pub trait Op: Debug + Send + Sync {
    /// The op's name: equal to its file's, or that with a suffix for a fused variant.
    fn name(&self) -> &'static str;

    /// What kind of work it does. It has no default: an op that nobody classed would count as no work at all.
    fn class(&self) -> Class;

    /// Output types from input types (`inputs` first, then `updates`), or what is wrong with them.
    ///
    /// # Errors
    /// A message that says what was expected; the graph adds the op's name, label and shapes.
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String>;

    /// Its kernels and twin read inputs of 16 bits too (f16 is refused by the graph otherwise).
    fn takes_f16(&self) -> bool {
        false
    }

    /// It has no kernel: the host does it in the middle of a program, by the twin. Exchanges between ranks are so.
    fn on_host(&self) -> bool {
        false
    }

    /// It does something beside its outputs: it runs though nothing reads it, when its last input is there.
    fn acts(&self) -> bool {
        false
    }

    /// Temporary tensors that the kernels need while this node runs (partial sums). Twins get none.
    fn workspace(&self, _inputs: &[&TensorType], _limits: &Limits) -> Vec<TensorType> {
        Vec::new()
    }

    /// Appends the nodes of the gradient, and returns the gradient of each input (`None`: not differentiable, or not
    /// needed). `dy` are the gradients of the outputs (`None`: that output does not reach the loss).
    ///
    /// Every returned gradient must depend on `dy`. A rule that drops it is right only when the op is last.
    ///
    /// # Errors
    /// [`GraphError::NoGradient`] unless the op overrides this.
    fn gradient(
        &self,
        g: &mut Graph,
        node: NodeId,
        _dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        Err(GraphError::NoGradient {
            op: self.name(),
            label: g.node(node).label.clone(),
        })
    }

    /// The recipe by which the backward pass computes the node's first output a second time instead of keeping it: an
    /// op and its inputs, which give that output to the bit. The first input must be one that the node's own gradient
    /// reads, so that it is kept anyway. `None` (the default): the output is kept.
    ///
    /// A batch norm with a ReLU answers with its inference form on the batch's own statistics, which is one pass over
    /// memory. A convolution answers `None`: computing it again would cost as much as the forward pass. See
    /// `graph/rematerialise.rs`.
    fn rematerialise(&self, _node: &Node) -> Option<(Arc<dyn Op>, Vec<TensorId>)> {
        None
    }

    /// The op in ONNX, from its inputs' types. `None` (the default): it has no form there, and a network that has it in
    /// its evaluation graph cannot be exported.
    fn onnx(&self, _inputs: &[&TensorType]) -> Option<OnnxForm> {
        None
    }

    /// Records the WGSL dispatches.
    ///
    /// # Errors
    /// When a tensor cannot be bound or a shader does not build.
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()>;

    /// The twin in f32 (use [`crate::twin!`]).
    fn reference_f32(&self, io: &mut HostIo<'_, f32>);

    /// The twin in f64 (use [`crate::twin!`]).
    fn reference_f64(&self, io: &mut HostIo<'_, f64>);

    /// Floating-point operations and least bytes moved: for `bench`, and for the operations of a training step where
    /// the op's class is matrix work ([`Class::is_matrix_work`]), which has to give its own.
    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        let bytes = inputs.iter().chain(outputs).map(|t| t.bytes() as f64).sum();
        Cost {
            flops: outputs.iter().map(|t| t.elements() as f64).sum(),
            bytes,
        }
    }
}

/// Implements [`Op::reference_f32`] and [`Op::reference_f64`] by the inherent generic method
/// `fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>)`.
#[macro_export]
macro_rules! twin {
    () => {
        fn reference_f32(&self, io: &mut $crate::graph::HostIo<'_, f32>) {
            self.twin(io);
        }
        fn reference_f64(&self, io: &mut $crate::graph::HostIo<'_, f64>) {
            self.twin(io);
        }
    };
}

/// Work of a node: the two lower bounds of its time, by arithmetic and by memory.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Floating-point operations (a fused multiply-add counts two).
    pub flops: f64,
    /// Bytes read once plus bytes written once.
    pub bytes: f64,
}

impl Cost {
    /// The cost of an op that reads the first `inputs` of `all`, and reads and writes the others, with `flops`
    /// operations an element of the first.
    pub fn updating(all: &[&TensorType], inputs: usize, flops: f64) -> Self {
        let bytes = |t: &[&TensorType]| t.iter().map(|t| t.bytes() as f64).sum::<f64>();
        Self {
            flops: flops * all.first().map_or(0.0, |t| t.elements() as f64),
            bytes: bytes(all) + bytes(all.get(inputs..).unwrap_or_default()),
        }
    }
}

/// Device buffers of one node, in the order of the node's lists.
#[derive(Debug)]
pub struct Bindings {
    /// Tensors read.
    pub inputs: Vec<View>,
    /// Tensors written; their old content is undefined (poisoned in tests).
    pub outputs: Vec<View>,
    /// State tensors read and written.
    pub updates: Vec<View>,
    /// Temporaries, as [`Op::workspace`] asked.
    pub workspace: Vec<View>,
}

/// A host tensor to read.
#[derive(Debug)]
pub enum HostRef<'a, T> {
    /// Float elements.
    Float(&'a [T]),
    /// Integer elements.
    U32(&'a [u32]),
}

// Derived `Copy` would demand `T: Copy`, though only references are copied.
impl<T> Clone for HostRef<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for HostRef<'_, T> {}

/// A host tensor to write.
#[derive(Debug)]
pub enum HostMut<'a, T> {
    /// Float elements.
    Float(&'a mut [T]),
    /// Integer elements.
    U32(&'a mut [u32]),
}

impl<'a, T> HostRef<'a, T> {
    /// The float elements.
    ///
    /// # Panics
    /// When the tensor is an integer one (the op's `infer` let a wrong type pass).
    pub fn float(self) -> &'a [T] {
        match self {
            Self::Float(x) => x,
            Self::U32(_) => panic!("op read an integer tensor as float"),
        }
    }
    /// The integer elements.
    ///
    /// # Panics
    /// When the tensor is a float one.
    pub fn u32(self) -> &'a [u32] {
        match self {
            Self::U32(x) => x,
            Self::Float(_) => panic!("op read a float tensor as integer"),
        }
    }
}

impl<T> HostMut<'_, T> {
    /// The float elements, to write.
    ///
    /// # Panics
    /// When the tensor is an integer one.
    pub fn float(&mut self) -> &mut [T] {
        match self {
            Self::Float(x) => x,
            Self::U32(_) => panic!("op wrote an integer tensor as float"),
        }
    }
    /// The integer elements, to write.
    ///
    /// # Panics
    /// When the tensor is a float one.
    pub fn u32(&mut self) -> &mut [u32] {
        match self {
            Self::U32(x) => x,
            Self::Float(_) => panic!("op wrote a float tensor as integer"),
        }
    }
}

/// A list of a node's tensors that lies on the stack for up to eight, so that running a node allocates nothing.
pub type InlineVec<T> = SmallVec<[T; 8]>;

/// Host tensors of one node. Inputs and outputs are separate fields, so both can be borrowed at once.
#[derive(Debug)]
pub struct HostIo<'a, T> {
    /// Tensors read.
    pub inputs: InlineVec<HostRef<'a, T>>,
    /// Tensors written; their old content is undefined (NaN in tests).
    pub outputs: InlineVec<HostMut<'a, T>>,
    /// State tensors read and written.
    pub updates: InlineVec<HostMut<'a, T>>,
    /// Types of inputs, then updates: what `infer` saw.
    pub input_types: &'a [TensorType],
    /// Types of the outputs.
    pub output_types: &'a [TensorType],
    /// Per-step scalars.
    pub step: StepScalars,
}

impl<'a, T> HostIo<'a, T> {
    /// Float input `i`.
    pub fn input(&self, i: usize) -> &'a [T] {
        self.inputs[i].float()
    }
    /// Integer input `i`.
    pub fn input_u32(&self, i: usize) -> &'a [u32] {
        self.inputs[i].u32()
    }
    /// Float output `i`.
    pub fn output(&mut self, i: usize) -> &mut [T] {
        self.outputs[i].float()
    }
    /// All outputs as floats at once.
    ///
    /// # Panics
    /// When the node has not exactly `N` outputs.
    pub fn outputs_n<const N: usize>(&mut self) -> [&mut [T]; N] {
        floats(&mut self.outputs)
    }
    /// All updates as floats at once.
    ///
    /// # Panics
    /// When the node has not exactly `N` updates.
    pub fn updates_n<const N: usize>(&mut self) -> [&mut [T]; N] {
        floats(&mut self.updates)
    }
}

/// Exactly `N` tensors as floats.
fn floats<'b, T, const N: usize>(tensors: &'b mut [HostMut<'_, T>]) -> [&'b mut [T]; N] {
    match <&mut [HostMut<'_, T>; N]>::try_from(tensors) {
        Ok(all) => all.each_mut().map(HostMut::float),
        Err(_) => panic!("op asked for {N} tensors"),
    }
}
