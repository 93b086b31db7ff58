//! Twin of `shaders/class_votes.wgsl`.

use super::Scalar;
use rayon::prelude::*;

/// What a neighbour's vote weighs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Weight {
    /// v is a similarity: exp((v - the row's largest) / t).
    Similarity {
        /// Temperature.
        t: f32,
    },
    /// v is a squared distance: 1 / (sqrt(v) + 1e-8).
    SquaredDistance,
}

/// Votes [rows,classes] of neighbours with values v and `label` [rows,k]; a label of `classes` or more votes for none.
pub fn class_votes<T: Scalar>(
    k: usize,
    classes: usize,
    weight: Weight,
    v: &[T],
    label: &[u32],
    y: &mut [T],
) {
    y.par_chunks_mut(classes)
        .zip(v.par_chunks(k))
        .zip(label.par_chunks(k))
        .for_each(|((y, v), label)| {
            // Of values with a NaN it is the NaN.
            let larger = |m: T, v: T| if v <= m || m.is_nan() { m } else { v };
            let top = v.iter().copied().fold(T::neg_infinity(), larger);
            y.fill(T::zero());
            for (v, label) in v.iter().zip(label) {
                if let Some(y) = y.get_mut(*label as usize) {
                    *y += match weight {
                        Weight::Similarity { t } => ((*v - top) / T::of(t.into())).exp(),
                        Weight::SquaredDistance => T::one() / (v.sqrt() + T::of(1e-8)),
                    };
                }
            }
        });
}
