//! Shapes and element types.

use std::fmt;

/// Element type as stored on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// 32-bit float.
    F32,
    /// 16-bit float (IEEE binary16): activations and copies of weights in mixed precision. Kernels widen what they read
    /// and round what they write; the twins compute in their own precision and round what they store.
    F16,
    /// 32-bit unsigned integer: indices, labels, and bytes packed by the op that owns them.
    U32,
}

impl DType {
    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 | Self::U32 => 4,
        }
    }
    /// A float of any width.
    pub fn is_float(self) -> bool {
        self != Self::U32
    }
}

/// Most elements of a tensor: 32 TiB of f32, more than any machine's memory, and so few that sums of all sizes of a
/// graph stay far below the largest `usize`. The graph refuses larger tensors; what fits the device, the plan decides.
pub const MAX_ELEMENTS: usize = 1 << 43;

/// Dimensions, slowest first (row-major).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shape(Vec<usize>);

impl Shape {
    /// The dimensions.
    pub fn dims(&self) -> &[usize] {
        &self.0
    }
    /// Number of elements; a shape without dimensions is a scalar (1). Numbers beyond `usize` are `usize::MAX`.
    pub fn elements(&self) -> usize {
        // A dimension of zero counts, whatever the others multiply to before it.
        match self.0.contains(&0) {
            true => 0,
            false => self.0.iter().fold(1, |n, d| n.saturating_mul(*d)),
        }
    }
    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.0.len()
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(d: [usize; N]) -> Self {
        Self(d.to_vec())
    }
}

impl From<&[usize]> for Shape {
    fn from(d: &[usize]) -> Self {
        Self(d.to_vec())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "[{}]",
            self.0
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(",")
        )
    }
}

/// Shape and element type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TensorType {
    /// Dimensions.
    pub shape: Shape,
    /// Element type.
    pub dtype: DType,
}

impl TensorType {
    /// A float tensor.
    pub fn f32(shape: impl Into<Shape>) -> Self {
        Self {
            shape: shape.into(),
            dtype: DType::F32,
        }
    }
    /// A 16-bit float tensor.
    pub fn f16(shape: impl Into<Shape>) -> Self {
        Self {
            shape: shape.into(),
            dtype: DType::F16,
        }
    }
    /// A tensor of this shape in the element type of `self`.
    pub fn with_shape(&self, shape: impl Into<Shape>) -> Self {
        Self {
            shape: shape.into(),
            dtype: self.dtype,
        }
    }
    /// An unsigned integer tensor.
    pub fn u32(shape: impl Into<Shape>) -> Self {
        Self {
            shape: shape.into(),
            dtype: DType::U32,
        }
    }
    /// The dimensions.
    pub fn dims(&self) -> &[usize] {
        self.shape.dims()
    }
    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.elements()
    }
    /// Size in bytes. Numbers beyond `usize` are `usize::MAX`.
    pub fn bytes(&self) -> usize {
        self.elements().saturating_mul(self.dtype.bytes())
    }
    /// Can there be such a tensor: has it at most [`MAX_ELEMENTS`] elements? Shaders count in 32 bits, and no further
    /// than one binding, by which longer tensors are cut.
    pub fn is_possible(&self) -> bool {
        self.elements() <= MAX_ELEMENTS
    }
    /// Exactly `N` dimensions, or a message.
    ///
    /// # Errors
    /// A message naming `what` when the rank differs.
    pub fn rank<const N: usize>(&self, what: &str) -> Result<[usize; N], String> {
        self.dims()
            .try_into()
            .map_err(|_| format!("{what} needs {N} dimensions, has shape {}", self.shape))
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let d = match self.dtype {
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::U32 => "u32",
        };
        write!(f, "{d}{}", self.shape)
    }
}
