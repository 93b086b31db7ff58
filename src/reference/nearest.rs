//! Twin of `shaders/nearest.wgsl`.

use super::top_k::before;
use super::{Scalar, scratch};
use rayon::prelude::*;

/// The `k` largest values of each row of s [rows,n] and their columns, by ascending column, into [rows,k] each. Of
/// equal values the lower column wins. k <= n.
pub fn nearest<T: Scalar>(n: usize, k: usize, s: &[T], value: &mut [T], column: &mut [u32]) {
    value
        .par_chunks_mut(k)
        .zip(column.par_chunks_mut(k))
        .zip(s.par_chunks(n))
        .for_each(|((value, column), s)| {
            let mut order = scratch::local::<u32>(n);
            for (j, column) in order.iter_mut().enumerate() {
                *column = j as u32;
            }
            order.select_nth_unstable_by(k - 1, |i, j| before(s, *i, *j));
            let chosen = &mut order[..k];
            chosen.sort_unstable();
            for ((v, c), j) in value.iter_mut().zip(column).zip(chosen) {
                *v = s[*j as usize];
                *c = *j;
            }
        });
}
