//! Twin of `shaders/top_k.wgsl`.

use super::{Scalar, scratch};
use rayon::prelude::*;

/// How a row's columns are arranged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Every column is a candidate; there is no positive.
    All = 0,
    /// NT-Xent: rows and columns are both views of the batch; the row itself is no candidate, the positive is half the batch away.
    NtXent = 1,
    /// Column 0 is the positive, the rest are candidates (MoCo's queue).
    Pairs = 2,
}

/// Which columns of a row are candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidates {
    /// Rows that share a head: anchors.
    pub anchors: usize,
    /// Arrangement of the columns.
    pub layout: Layout,
    /// The positive is a candidate.
    pub include_positive: bool,
}

impl Candidates {
    /// Column of anchor i's positive.
    pub fn positive(&self, i: usize) -> usize {
        match self.layout {
            Layout::NtXent => (i + self.anchors / 2) % self.anchors,
            Layout::All | Layout::Pairs => 0,
        }
    }
    /// Is column j a candidate of anchor i?
    pub fn contains(&self, i: usize, j: usize) -> bool {
        let itself = self.layout == Layout::NtXent && j == i;
        self.layout == Layout::All || !itself && (self.include_positive || j != self.positive(i))
    }
}

/// Threshold (value, index) of the `kappa` largest candidates of each row of s [rows,n]; ties to the lower column.
pub fn top_k<T: Scalar>(
    c: &Candidates,
    n: usize,
    kappa: usize,
    s: &[T],
    value: &mut [T],
    index: &mut [u32],
) {
    value
        .par_iter_mut()
        .zip(index)
        .zip(s.par_chunks(n))
        .enumerate()
        .for_each(|(row, ((value, index), s))| {
            let mut memory = scratch::local::<u32>(n);
            let mut count = 0;
            for j in (0..n).filter(|j| c.contains(row % c.anchors, *j)) {
                memory[count] = j as u32;
                count += 1;
            }
            let order = &mut memory[..count];
            // No two are equal, so it does not matter that this sort, which needs no memory, is not stable.
            order.sort_unstable_by(|a, b| {
                s[*b as usize]
                    .partial_cmp(&s[*a as usize])
                    .unwrap_or(std::cmp::Ordering::Equal)
                    .then(a.cmp(b))
            });
            let last = order[kappa.min(count) - 1];
            *value = s[last as usize];
            *index = last;
        });
}
