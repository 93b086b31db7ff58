//! Memory of the CPU executor: pool slots and state groups, and the ranges of them that a node reads and writes.

use crate::graph::exec::HostData;
use crate::graph::op::{HostMut, HostRef};
use crate::graph::tensor::DType;
use crate::graph::{GraphError, Result};
use crate::reference::Scalar;
use rayon::prelude::*;

/// Memory of one element type.
pub(super) enum Memory<T> {
    Float(Box<[T]>),
    U32(Box<[u32]>),
}

impl<T: Scalar> Memory<T> {
    pub(super) fn new(elements: usize, dtype: DType) -> Self {
        match dtype {
            DType::F32 | DType::F16 => Self::Float(vec![T::zero(); elements].into_boxed_slice()),
            DType::U32 => Self::U32(vec![0; elements].into_boxed_slice()),
        }
    }
}

/// Where a tensor lies: a slot or a state group, its first element there, and its length.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Region {
    pub(super) state: bool,
    pub(super) index: usize,
    pub(super) offset: usize,
    pub(super) len: usize,
}

impl Region {
    pub(super) fn overlaps(&self, o: &Self) -> bool {
        self.state == o.state
            && self.index == o.index
            && self.offset < o.offset + o.len
            && o.offset < self.offset + self.len
    }
}

/// The start of a memory, from which disjoint regions are handed out.
#[derive(Clone, Copy)]
pub(super) enum Start<T> {
    Float(*mut T),
    U32(*mut u32),
}

// SAFETY: this is an address; reading and writing through it is under the contracts of `get` and `get_mut`.
unsafe impl<T: Send> Send for Start<T> {}

impl<T: Scalar> Start<T> {
    /// Writes the starts of all memories into a list, whose allocation is reused.
    pub(super) fn all(memory: &mut [Memory<T>], into: &mut Vec<Self>) {
        into.clear();
        into.extend(memory.iter_mut().map(|m| match m {
            Memory::Float(x) => Self::Float(x.as_mut_ptr()),
            Memory::U32(x) => Self::U32(x.as_mut_ptr()),
        }));
    }

    /// # Safety
    /// The range lies inside the memory, and nothing writes it while the slice lives.
    pub(super) unsafe fn get<'a>(self, p: &Region) -> HostRef<'a, T> {
        // SAFETY: by this function's contract.
        unsafe {
            match self {
                Self::Float(x) => {
                    HostRef::Float(std::slice::from_raw_parts(x.add(p.offset), p.len))
                }
                Self::U32(x) => HostRef::U32(std::slice::from_raw_parts(x.add(p.offset), p.len)),
            }
        }
    }

    /// # Safety
    /// The range lies inside the memory, and nothing else touches it while the slice lives.
    pub(super) unsafe fn get_mut<'a>(self, p: &Region) -> HostMut<'a, T> {
        // SAFETY: by this function's contract.
        unsafe {
            match self {
                Self::Float(x) => {
                    HostMut::Float(std::slice::from_raw_parts_mut(x.add(p.offset), p.len))
                }
                Self::U32(x) => {
                    HostMut::U32(std::slice::from_raw_parts_mut(x.add(p.offset), p.len))
                }
            }
        }
    }
}

/// Rounds values that the device would keep in 16 bits.
pub(super) fn round_to_half<T: Scalar>(x: &mut [T]) {
    x.par_chunks_mut(4096)
        .for_each(|c| c.iter_mut().for_each(|v| *v = v.half()));
}

pub(super) fn write<T: Scalar>(
    m: &mut Memory<T>,
    offset: usize,
    len: usize,
    data: &HostData,
    name: &str,
) -> Result<()> {
    if data.len() != len {
        return Err(GraphError::Invalid(format!(
            "`{name}` holds {len} elements, got {}",
            data.len()
        )));
    }
    let range = offset..offset + len;
    match (m, data) {
        (Memory::Float(x), HostData::F32(v)) => {
            x[range]
                .iter_mut()
                .zip(v)
                .for_each(|(a, b)| *a = T::of(f64::from(*b)));
        }
        (Memory::Float(x), HostData::F64(v)) => {
            x[range].iter_mut().zip(v).for_each(|(a, b)| *a = T::of(*b));
        }
        (Memory::U32(x), HostData::U32(v)) => x[range].copy_from_slice(v),
        _ => {
            return Err(GraphError::Invalid(format!(
                "`{name}`: float and integer data do not mix"
            )));
        }
    }
    Ok(())
}
