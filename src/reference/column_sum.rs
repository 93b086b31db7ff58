//! Twin of `shaders/column_sum.wgsl`.

use super::{Scalar, scratch};
use rayon::prelude::*;

/// `y[b,j] = sum_i x[b,i,j]`, x [batch,m,n]; partial sums over 64 rows, added in order.
pub fn column_sum<T: Scalar>(m: usize, n: usize, x: &[T], y: &mut [T]) {
    y.par_chunks_mut(n)
        .zip(x.par_chunks(m * n))
        .for_each(|(y, x)| {
            y.fill(T::zero());
            let part = &mut scratch::local(n)[..];
            for rows in x.chunks(64 * n) {
                part.fill(T::zero());
                for row in rows.chunks(n) {
                    part.iter_mut().zip(row).for_each(|(p, v)| *p += *v);
                }
                y.iter_mut().zip(&*part).for_each(|(y, p)| *y += *p);
            }
        });
}
