//! k-nearest-neighbour accuracy (Wu et al., CVPR 2018, as lightly and MoCo's demo compute it): cosine similarity of L2-normalised backbone
//! features, the k nearest of the bank vote with weight exp(sim / t).

use crate::reference::gemm::{Mat, product};
use crate::reference::l2_normalize::l2_normalize;
use rayon::prelude::*;

/// Rows of unit length.
fn unit(x: &[f32], d: usize) -> Vec<f32> {
    let mut y = vec![0.0; x.len()];
    l2_normalize(d, 1e-12, x, &mut y);
    y
}

/// Products [a,b] of the rows of x [a,d] and y [b,d].
fn products(x: &[f32], y: &[f32], d: usize) -> Vec<f32> {
    let (m, n) = (x.len() / d, y.len() / d);
    let mut out = vec![0.0f32; m * n];
    let a = Mat {
        data: x,
        rs: d,
        cs: 1,
    };
    let b = Mat {
        data: y,
        rs: 1,
        cs: d,
    };
    product(m, n, d, 1.0, a, b, &mut out, n, false);
    out
}

/// Cosine similarities [a,b] of the rows of x [a,d] and y [b,d].
pub fn cosines(x: &[f32], y: &[f32], d: usize) -> Vec<f32> {
    products(&unit(x, d), &unit(y, d), d)
}

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
    let (queries, bank) = (unit(queries, d), unit(bank, d));
    queries
        .par_chunks(64 * d)
        .flat_map_iter(|q| {
            let sim = products(q, &bank, d);
            let mut out = Vec::with_capacity(q.len() / d);
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
