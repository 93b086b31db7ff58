//! Twin of `shaders/add_rows.wgsl`.

use super::Scalar;
use rayon::prelude::*;

/// `y[b,i] = x[b,i] + v[i]`.
pub fn add_rows<T: Scalar>(x: &[T], v: &[T], y: &mut [T]) {
    let rows = y.par_chunks_mut(v.len()).zip(x.par_chunks(v.len()));
    rows.for_each(|(y, x)| {
        let all = y.iter_mut().zip(x).zip(v);
        all.for_each(|((y, x), v)| *y = *x + *v);
    });
}
