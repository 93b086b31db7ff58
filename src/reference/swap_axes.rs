//! Twin of `shaders/swap_axes.wgsl`.

use super::Scalar;
use rayon::prelude::*;

/// y[p,b,a,c] = x[p,a,b,c].
pub fn swap_axes<T: Scalar>([_, a, b, c]: [usize; 4], x: &[T], y: &mut [T]) {
    y.par_chunks_mut(a * c).enumerate().for_each(|(i, rows)| {
        let (outer, j) = (i / b, i % b);
        for (k, row) in rows.chunks_mut(c).enumerate() {
            let at = ((outer * a + k) * b + j) * c;
            row.copy_from_slice(&x[at..at + c]);
        }
    });
}
