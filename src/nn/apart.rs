//! What makes several heads differ, beside initial values of their own.
//!
//! Heads have one architecture, the same images and the same loss. What is drawn for each of them is of one
//! distribution, which a rotation of the features leaves as it is (exactly for normal values, nearly for the uniform
//! ones here), so that turning a head alone would be another draw and no more. Here one rotation is cut among the
//! heads.

use crate::reference::philox::Stream;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// What the initial values of several heads have to do with each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// Nothing: each head draws its own.
    #[default]
    Drawn,
    /// They are the same. Identical heads with identical losses stay identical: the control of what several heads give.
    Copies,
    /// The first layers begin on orthogonal subspaces of the features: of a random rotation's coordinates, each head
    /// takes its own share. They are free to leave them.
    Subspaces,
}

/// The share of head `head` of d coordinates; at least one.
fn share(d: usize, head: usize, heads: usize) -> Range<usize> {
    let first = (head * d / heads).min(d - 1);
    first..((head + 1) * d / heads).max(first + 1)
}

/// Brings the rows of every head of w [heads, rows, d] into that head's subspace, with their expected length kept.
/// `stream` draws the rotation.
pub(super) fn into_subspaces(w: &mut [f32], heads: usize, d: usize, stream: &mut Stream) {
    let q = rotation(d, stream);
    let of_head = w.len() / heads;
    for (head, w) in w.chunks_mut(of_head).enumerate() {
        let own = share(d, head, heads);
        let scale = (d as f64 / own.len() as f64).sqrt();
        w.par_chunks_mut(d).for_each(|row| {
            let mut out = vec![0.0; d];
            for axis in own.clone().map(|a| &q[a * d..(a + 1) * d]) {
                let along: f64 = row.iter().zip(axis).map(|(w, q)| f64::from(*w) * q).sum();
                out.iter_mut().zip(axis).for_each(|(o, q)| *o += along * q);
            }
            let scaled = out.iter().map(|o| (scale * o) as f32);
            row.iter_mut().zip(scaled).for_each(|(w, o)| *w = o);
        });
    }
}

/// A random rotation: d rows of length d, orthonormal, uniform over all such (Gram-Schmidt on normal vectors).
fn rotation(d: usize, stream: &mut Stream) -> Vec<f64> {
    let mut q: Vec<f64> = (0..d * d).map(|_| f64::from(stream.normal())).collect();
    for i in 0..d {
        let (done, rest) = q.split_at_mut((i + 1) * d);
        let row = &mut done[i * d..];
        let length = row.iter().map(|v| v * v).sum::<f64>().sqrt();
        row.iter_mut().for_each(|v| *v /= length);
        let row = &*row;
        rest.par_chunks_mut(d).for_each(|other| {
            let along: f64 = other.iter().zip(row).map(|(o, r)| o * r).sum();
            other.iter_mut().zip(row).for_each(|(o, r)| *o -= along * r);
        });
    }
    q
}

/// For a head's weights [rows, d]: 1 where the head sees the channel, 0 at a drawn `unseen` share of the channels, the
/// same for all rows. One channel at least is seen.
pub(super) fn seen(rows: usize, d: usize, unseen: f32, stream: &mut Stream) -> Vec<f32> {
    let mut order: Vec<(f32, usize)> = (0..d).map(|j| (stream.uniform(), j)).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let hidden = ((unseen * d as f32).round() as usize).min(d - 1);
    let mut row = vec![1.0; d];
    order[..hidden].iter().for_each(|(_, j)| row[*j] = 0.0);
    row.repeat(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::philox::Purpose;

    fn stream(seed: u64) -> Stream {
        Stream::new(seed, 0, 0, Purpose::Init)
    }

    #[test]
    fn heads_begin_on_orthogonal_subspaces_at_their_usual_length() {
        let (heads, rows, d) = (3, 40, 64);
        let mut s = stream(1);
        let drawn: Vec<f32> = (0..heads * rows * d).map(|_| s.range(-0.1, 0.1)).collect();
        let mut w = drawn.clone();
        into_subspaces(&mut w, heads, d, &mut stream(2));
        let row = |w: &[f32], i: usize| w[i * d..(i + 1) * d].to_vec();
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            a.iter()
                .zip(b)
                .map(|(a, b)| f64::from(*a) * f64::from(*b))
                .sum()
        };
        let square = |w: &[f32]| dot(w, w);
        // Rows of two heads have nothing in common; the control: as they were drawn, they have.
        let most = |w: &[f32]| -> f64 {
            let pairs = (0..rows).flat_map(|i| (rows..2 * rows).map(move |j| (i, j)));
            let cosine = |(i, j)| {
                let (a, b) = (row(w, i), row(w, j));
                (dot(&a, &b) / (square(&a) * square(&b)).sqrt()).abs()
            };
            pairs.map(cosine).fold(0.0, f64::max)
        };
        assert!(
            most(&w) < 1e-6 && most(&drawn) > 0.2,
            "{} {}",
            most(&w),
            most(&drawn)
        );
        // A sum of 40 rows of squares in 21 dimensions deviates by sqrt(2 / 840) = 5 %.
        for head in w.chunks(rows * d).zip(drawn.chunks(rows * d)) {
            let ratio = square(head.0) / square(head.1);
            assert!((ratio - 1.0).abs() < 0.2, "{ratio}");
        }
        let covered: Vec<usize> = (0..5).map(|h| share(3, h, 5).len()).collect();
        assert_eq!(covered, [1; 5], "more heads than channels");
    }

    #[test]
    fn a_head_is_blind_to_a_share_of_the_channels() {
        let mask = seen(5, 64, 0.25, &mut stream(3));
        assert_eq!(mask.len(), 5 * 64);
        assert!(mask.chunks(64).all(|row| row == &mask[..64]));
        assert_eq!(mask[..64].iter().filter(|v| **v == 0.0).count(), 16);
        assert_ne!(mask, seen(5, 64, 0.25, &mut stream(4)), "another head's");
        assert_eq!(seen(1, 2, 0.9, &mut stream(3)).iter().sum::<f32>(), 1.0);
    }
}
