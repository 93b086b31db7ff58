//! Images as words: the form in which they go to the device.

use super::Dataset;
use crate::ops::augment::words;
use rayon::prelude::*;

/// Images that are fetched by their ids, when a step is sent. A set need not be in memory.
pub trait Images {
    /// The images `ids`, [ids, words]: bytes, little-endian, padded with zeros to whole words.
    fn packed(&self, ids: &[u32]) -> Vec<u32>;
}

impl Images for Dataset {
    fn packed(&self, ids: &[u32]) -> Vec<u32> {
        pack(self, ids)
    }
}

/// The images `ids` of a data set, [ids, words]: bytes, little-endian, padded with zeros to whole words.
pub fn pack(data: &Dataset, ids: &[u32]) -> Vec<u32> {
    let words = words(data.height, data.width);
    let mut out = vec![0u32; ids.len() * words];
    out.par_chunks_mut(words).zip(ids).for_each(|(out, id)| {
        for (word, bytes) in out.iter_mut().zip(data.image(*id as usize).chunks(4)) {
            let mut four = [0; 4];
            four[..bytes.len()].copy_from_slice(bytes);
            *word = u32::from_le_bytes(four);
        }
    });
    out
}
