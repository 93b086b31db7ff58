//! k-nearest-neighbour accuracy (Wu et al., CVPR 2018, as lightly and MoCo's demo compute it): cosine similarity of L2-normalised backbone
//! features, the k nearest of the bank vote with weight exp(sim / t).

use crate::reference::gemm::{Mat, product};
use crate::reference::l2_normalize::l2_normalize;
use rayon::prelude::*;

/// Predicted classes of `queries` [q,d] from `bank` [n,d] with `labels`; k is clipped to n.
#[allow(
    clippy::too_many_arguments,
    reason = "the protocol has this many facts"
)]
pub fn predict(
    queries: &[f32],
    bank: &[f32],
    labels: &[u32],
    d: usize,
    classes: usize,
    k: usize,
    t: f32,
) -> Vec<u32> {
    let n = labels.len();
    let k = k.min(n);
    let unit = |x: &[f32]| {
        let mut y = vec![0.0; x.len()];
        l2_normalize(d, 1e-12, x, &mut y);
        y
    };
    let (queries, bank) = (unit(queries), unit(bank));
    queries
        .par_chunks(64 * d)
        .flat_map_iter(|q| {
            let rows = q.len() / d;
            let mut sim = vec![0.0f32; rows * n];
            product(
                rows,
                n,
                d,
                1.0,
                Mat {
                    data: q,
                    rs: d,
                    cs: 1,
                },
                Mat {
                    data: &bank,
                    rs: 1,
                    cs: d,
                },
                &mut sim,
                n,
                false,
            );
            let mut out = Vec::with_capacity(rows);
            let mut order: Vec<u32> = Vec::with_capacity(n);
            for s in sim.chunks(n) {
                order.clear();
                order.extend(0..n as u32);
                let by =
                    |a: &u32, b: &u32| s[*b as usize].total_cmp(&s[*a as usize]).then(a.cmp(b));
                if k < n {
                    order.select_nth_unstable_by(k - 1, by);
                }
                let mut votes = vec![0.0f64; classes];
                for j in &order[..k] {
                    votes[labels[*j as usize] as usize] += f64::from(s[*j as usize] / t).exp();
                }
                let best = (0..classes)
                    .max_by(|a, b| votes[*a].total_cmp(&votes[*b]).then(b.cmp(a)))
                    .unwrap_or(0);
                out.push(best as u32);
            }
            out
        })
        .collect()
}

/// Share of `predicted` that equals `labels`, in percent.
pub fn accuracy(predicted: &[u32], labels: &[u32]) -> f64 {
    let hits = predicted.iter().zip(labels).filter(|(a, b)| a == b).count();
    100.0 * hits as f64 / labels.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_neighbours_outvote_many_far_ones() {
        let bank = [1.0, 0.0, 0.0, 1.0, 0.1, 1.0, -0.1, 1.0];
        let p = predict(&[0.9, 0.1, 0.0, 5.0], &bank, &[0, 1, 1, 1], 2, 2, 200, 0.1);
        assert_eq!(p, [0, 1]);
        assert_eq!(accuracy(&p, &[0, 0]), 50.0);
    }
}
