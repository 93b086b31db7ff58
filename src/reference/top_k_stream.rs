//! Twin of `shaders/top_k_stream.wgsl`: rows of similarities a few at a time.

use super::Scalar;
use super::amcl_stream::{STRIP, products, strip};
use super::scratch;
use super::top_k::{Candidates, last_selected};
use rayon::prelude::*;

/// `value` and `index` [heads*anchors]: the threshold of the `kappa` largest candidates among the products of unit rows
/// z [heads*anchors,d].
pub fn top_k_stream<T: Scalar>(
    c: &Candidates,
    kappa: usize,
    z: &[T],
    d: usize,
    value: &mut [T],
    index: &mut [u32],
) {
    let n = c.anchors;
    let heads = value.par_chunks_mut(n).zip(index.par_chunks_mut(n));
    heads
        .zip(z.par_chunks(n * d))
        .for_each(|((value, index), z)| {
            let strips = value.par_chunks_mut(STRIP).zip(index.par_chunks_mut(STRIP));
            strips.enumerate().for_each(|(k, (value, index))| {
                let first = k * STRIP;
                let mut memory = scratch::local(strip(n));
                let s = products(z, d, first..first + value.len(), &mut memory);
                for (i, s) in s.chunks(n).enumerate() {
                    index[i] = last_selected(c, first + i, kappa, s);
                    value[i] = s[index[i] as usize];
                }
            });
        });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::top_k::{Layout, top_k};

    /// Of values whose products are exact, so that many are equal.
    #[test]
    fn equals_top_k_of_the_matrix() {
        let (heads, n, d) = (2, 70, 5);
        let z: Vec<f64> = (0..heads * n * d)
            .map(|i| f64::from((i * i + 3 * i) as u32 % 7) / 4.0 - 0.75)
            .collect();
        let mut s = Vec::new();
        for (h, i, j) in (0..heads * n * n).map(|at| (at / (n * n), at / n % n, at % n)) {
            let row = |i: usize| &z[(h * n + i) * d..(h * n + i + 1) * d];
            s.push(row(i).iter().zip(row(j)).map(|(x, y)| x * y).sum::<f64>());
        }
        for (kappa, include_positive) in [(1, true), (7, false), (40, true), (1000, false)] {
            let c = Candidates {
                anchors: n,
                layout: Layout::NtXent,
                include_positive,
            };
            let empty = || (vec![0.0; heads * n], vec![0; heads * n]);
            let (mut want, mut got) = (empty(), empty());
            top_k(&c, n, kappa, &s, &mut want.0, &mut want.1);
            top_k_stream(&c, kappa, &z, d, &mut got.0, &mut got.1);
            assert_eq!(got, want, "kappa {kappa}");
        }
    }
}
