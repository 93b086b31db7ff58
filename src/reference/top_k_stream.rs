//! Twin of `shaders/top_k_stream.wgsl`: rows of similarities a few at a time.

use super::Scalar;
use super::amcl_stream::{Anchors, STRIP, count, products, strip};
use super::scratch;
use super::top_k::{Candidates, last_selected};
use rayon::prelude::*;

/// `value` and `index` [heads*own] of these anchors: the threshold of the `kappa` largest candidates among the products
/// of unit rows z [heads*n,d].
pub fn top_k_stream<T: Scalar>(
    c: &Candidates,
    kappa: usize,
    (z, d): (&[T], usize),
    anchors: &Anchors,
    value: &mut [T],
    index: &mut [u32],
) {
    let (n, own) = (c.anchors, count(anchors));
    let heads = value.par_chunks_mut(own).zip(index.par_chunks_mut(own));
    let heads = heads.zip(z.par_chunks(n * d));
    heads.for_each(|((mut value, mut index), z)| {
        for run in anchors {
            let (of_run, rest) = (value.split_at_mut(run.len()), index.split_at_mut(run.len()));
            let strips = of_run.0.par_chunks_mut(STRIP);
            let strips = strips.zip(rest.0.par_chunks_mut(STRIP));
            strips.enumerate().for_each(|(k, (value, index))| {
                let first = run.start + k * STRIP;
                let mut memory = scratch::local(strip(n));
                let s = products(z, d, first..first + value.len(), &mut memory);
                for (i, s) in s.chunks(n).enumerate() {
                    index[i] = last_selected(c, first + i, kappa, s);
                    value[i] = s[index[i] as usize];
                }
            });
            (value, index) = (of_run.1, rest.1);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::amcl_stream::all;
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
            top_k_stream(&c, kappa, (&z, d), &all(n), &mut got.0, &mut got.1);
            assert_eq!(got, want, "kappa {kappa}");
            // Of some anchors, theirs.
            let (anchors, own) = ([5..9, 40..45], 9);
            let mut some = (vec![0.0; heads * own], vec![0; heads * own]);
            top_k_stream(&c, kappa, (&z, d), &anchors, &mut some.0, &mut some.1);
            for (h, head) in some.1.chunks(own).enumerate() {
                let all = &want.1[h * n..(h + 1) * n];
                assert_eq!(*head, [&all[5..9], &all[40..45]].concat(), "kappa {kappa}");
            }
        }
    }
}
