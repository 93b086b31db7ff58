//! Views of buffers, and how they are cut to fit bindings.

use super::Limits;
use std::ops::Range;

/// Storage offsets must be multiples of this (WebGPU's default limit; adapters may allow less).
pub const BINDING_ALIGN: usize = 256;

/// A buffer by its number: what is recorded needs no device. Whoever replays it has the table of buffers.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct BufferId(pub u32);

/// A range of a buffer, read as a tensor.
#[derive(Clone, Debug)]
pub struct View {
    pub(crate) buffer: BufferId,
    /// Byte offset within the buffer.
    pub(crate) offset: u64,
    pub(super) dims: Vec<usize>,
    /// Bytes of an element.
    element: usize,
}

impl View {
    /// A view of `buffer` from `offset` bytes on, of elements of `element` bytes (4, or 2: halves).
    pub fn new(buffer: BufferId, offset: u64, dims: &[usize], element: usize) -> Self {
        Self {
            buffer,
            offset,
            dims: dims.to_vec(),
            element,
        }
    }

    /// Elements of 16 bits: the kernel's variant with f16 storage reads or writes it.
    pub fn is_half(&self) -> bool {
        self.element == 2
    }

    /// Dimensions.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.dims.iter().product()
    }

    /// Size in bytes, whole words (bindings and copies take no less).
    pub fn bytes(&self) -> usize {
        (self.elements() * self.element).next_multiple_of(4)
    }

    /// Rows `start..end` of the leading dimension.
    #[must_use]
    pub fn rows(&self, range: Range<usize>) -> Self {
        let row: usize = self.dims[1..].iter().product();
        let mut dims = self.dims.clone();
        dims[0] = range.len();
        Self {
            buffer: self.buffer,
            offset: self.offset + (range.start * row * self.element) as u64,
            dims,
            element: self.element,
        }
    }

    /// Elements `range` of the flattened tensor, as a vector.
    #[must_use]
    pub fn flat(&self, range: Range<usize>) -> Self {
        Self {
            buffer: self.buffer,
            offset: self.offset + (range.start * self.element) as u64,
            dims: vec![range.len()],
            element: self.element,
        }
    }

    /// Elements `range` of the flattened tensor, whose start need not be aligned: a vector that begins at the aligned
    /// element before it, and the position of the range's first element in that vector (below 64, or 128 for halves).
    #[must_use]
    pub fn window(&self, range: Range<usize>) -> (Self, u32) {
        let step = BINDING_ALIGN / self.element;
        let start = range.start / step * step;
        (self.flat(start..range.end), (range.start - start) as u32)
    }

    /// Ranges of the flattened tensor, each of which fits one binding and starts aligned. They fit a tensor with as
    /// many elements of the other width (f32, f16) too.
    pub fn flat_chunks(&self, limits: &Limits) -> Vec<Range<usize>> {
        let (n, step) = (self.elements(), BINDING_ALIGN / 2);
        let piece = (limits.max_binding / 4 / step * step).max(step);
        (0..n)
            .step_by(piece)
            .map(|start| start..(start + piece).min(n))
            .collect()
    }

    /// The same elements under other dimensions.
    ///
    /// # Panics
    /// When the number of elements differs (a programming error).
    #[must_use]
    pub fn reshape(&self, dims: &[usize]) -> Self {
        assert_eq!(
            self.elements(),
            dims.iter().product::<usize>(),
            "reshape {:?} to {dims:?}",
            self.dims
        );
        Self {
            buffer: self.buffer,
            offset: self.offset,
            dims: dims.to_vec(),
            element: self.element,
        }
    }
}

/// Ranges of the common leading dimension such that every view's slice fits one binding and starts aligned.
/// A single range when everything fits.
pub fn row_chunks(views: &[&View], limits: &Limits) -> Vec<Range<usize>> {
    let shapes: Vec<(&[usize], usize)> = views.iter().map(|v| (v.dims(), v.element)).collect();
    row_chunks_of(&shapes, limits)
}

/// [`row_chunks`] from shapes and bytes of an element alone, for ops that size their workspace by the number of chunks.
pub fn row_chunks_of(shapes: &[(&[usize], usize)], limits: &Limits) -> Vec<Range<usize>> {
    let rows = shapes.first().map_or(0, |s| s.0[0]);
    debug_assert!(
        shapes.iter().all(|s| s.0[0] == rows),
        "views differ in their leading dimension: {shapes:?}"
    );
    let row_bytes = |s: &(&[usize], usize)| s.0[1..].iter().product::<usize>() * s.1;
    if shapes
        .iter()
        .all(|s| row_bytes(s) * rows <= limits.max_binding)
    {
        return std::iter::once(0..rows).collect();
    }
    // Row counts whose byte offset is aligned in every view: multiples of the largest 256 / gcd(row bytes, 256),
    // all powers of two.
    let step = shapes
        .iter()
        .map(|s| BINDING_ALIGN / gcd(row_bytes(s), BINDING_ALIGN))
        .max()
        .unwrap_or(1);
    let fit = shapes
        .iter()
        .map(|s| limits.max_binding / row_bytes(s).max(1))
        .min()
        .unwrap_or(rows);
    // Where not even one aligned step fits, the dispatch will say so, naming the op.
    let chunk = (fit / step * step).max(step);
    (0..rows)
        .step_by(chunk)
        .map(|a| a..(a + chunk).min(rows))
        .collect()
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
