//! Twin of `shaders/positives.wgsl`.

use super::Scalar;
use super::top_k::Candidates;

/// The similarity of each row's positive, of s [rows,n].
pub fn positives<T: Scalar>(c: &Candidates, n: usize, s: &[T], y: &mut [T]) {
    for (row, (y, s)) in y.iter_mut().zip(s.chunks(n)).enumerate() {
        *y = s[c.positive(row % c.anchors)];
    }
}
