//! Twin of `shaders/mask_ranks.wgsl`.

use super::Scalar;
use rayon::prelude::*;

/// Of `noise` [images,n] the `rank` of every value in its image, the places of the `kept` least [images,keep] by rank,
/// and the `mask`, 1 where a patch is taken out.
pub fn mask_ranks<T: Scalar>(
    (n, keep): (usize, usize),
    noise: &[T],
    (rank, kept): (&mut [u32], &mut [u32]),
    mask: &mut [T],
) {
    let images = noise.par_chunks(n).zip(mask.par_chunks_mut(n));
    let places = rank.par_chunks_mut(n).zip(kept.par_chunks_mut(keep));
    images
        .zip(places)
        .for_each(|((noise, mask), (rank, kept))| {
            for (i, own) in noise.iter().enumerate() {
                let least = noise.iter().filter(|v| *v < own).count();
                let equal = noise[..i].iter().filter(|v| *v == own).count();
                let before = least + equal;
                rank[i] = before as u32;
                mask[i] = T::of(if before < keep { 0.0 } else { 1.0 });
                if let Some(place) = kept.get_mut(before) {
                    *place = i as u32;
                }
            }
        });
}
