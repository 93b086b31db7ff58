//! Twin of `shaders/top_k.wgsl`.

use super::{Scalar, scratch};
use rayon::prelude::*;

/// How a row's columns are arranged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Every column is a candidate; there is no positive.
    All = 0,
    /// NT-Xent: rows and columns are both views of the batch. The row itself is no candidate, and the positive is half
    /// the batch away.
    NtXent = 1,
    /// Column 0 is the positive, the rest are candidates (MoCo's queue).
    Pairs = 2,
    /// Rows are queries, columns their keys: column i is the positive of row i (MoCo v3's batch).
    Diagonal = 3,
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
            Layout::Diagonal => i,
            Layout::All | Layout::Pairs => 0,
        }
    }
    /// Is column j a candidate of anchor i?
    pub fn contains(&self, i: usize, j: usize) -> bool {
        let itself = self.layout == Layout::NtXent && j == i;
        self.layout == Layout::All || !itself && (self.include_positive || j != self.positive(i))
    }
    /// The columns that are no candidates of anchor i.
    pub(super) fn excluded(&self, i: usize) -> impl Iterator<Item = usize> {
        let own = (self.layout == Layout::NtXent).then_some(i);
        let positive = Some(self.positive(i)).filter(|j| !self.contains(i, *j));
        own.into_iter().chain(positive)
    }
}

/// Orders column j of a row before column i when it is larger, or as large and further left. It is a total order, in
/// which NaN is larger than any number and -0 equals 0.
pub(super) fn before<T: Scalar>(s: &[T], i: u32, j: u32) -> std::cmp::Ordering {
    let key = |c: u32| {
        let v = (s[c as usize] + T::zero()).f64();
        if v.is_nan() { f64::NAN } else { v }
    };
    key(j).total_cmp(&key(i)).then(i.cmp(&j))
}

/// Column of the last of the `kappa` largest candidates of anchor i in its row of similarities. Of equal ones the lower
/// column wins.
pub(super) fn last_selected<T: Scalar>(c: &Candidates, i: usize, kappa: usize, s: &[T]) -> u32 {
    let mut memory = scratch::local::<u32>(s.len());
    let mut count = 0;
    for j in (0..s.len()).filter(|j| c.contains(i, *j)) {
        memory[count] = j as u32;
        count += 1;
    }
    let order = &mut memory[..count];
    let k = kappa.min(count) - 1;
    *order.select_nth_unstable_by(k, |i, j| before(s, *i, *j)).1
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
            *index = last_selected(c, row % c.anchors, kappa, s);
            *value = s[*index as usize];
        });
}
