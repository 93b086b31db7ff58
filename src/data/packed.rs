//! Images as words: the form in which they go to the device.

use super::stored::Stored;
use super::{Dataset, Result};
use crate::ops::augment::words;
use rayon::prelude::*;

/// Images that are fetched by their ids, when a step is sent. A set need not be in memory.
pub trait Images {
    /// The images `ids`, [ids, words]: bytes, little-endian, padded with zeros to whole words.
    ///
    /// # Errors
    /// Images that are read when they are needed, and cannot be.
    fn packed(&self, ids: &[u32]) -> Result<Vec<u32>>;

    /// Takes back what [`Images::packed`] gave, once it was sent, so that its memory is used again.
    fn done(&self, _images: Vec<u32>) {}
}

impl Images for Dataset {
    fn packed(&self, ids: &[u32]) -> Result<Vec<u32>> {
        pack(self, ids)
    }
}

/// The images `ids` of a data set, [ids, words]: bytes, little-endian, padded with zeros to whole words.
///
/// # Errors
/// As [`Dataset::image`].
pub fn pack(data: &Dataset, ids: &[u32]) -> Result<Vec<u32>> {
    if let Some(stored) = &data.stored {
        return pack_stored(stored, ids);
    }
    let words = words(data.height, data.width);
    let mut out = vec![0u32; ids.len() * words];
    let work = |(out, id): (&mut [u32], &u32)| -> Result<()> {
        for (word, bytes) in out.iter_mut().zip(data.image(*id as usize)?.chunks(4)) {
            let mut four = [0; 4];
            four[..bytes.len()].copy_from_slice(bytes);
            *word = u32::from_le_bytes(four);
        }
        Ok(())
    };
    out.par_chunks_mut(words.max(1))
        .zip(ids)
        .try_for_each(work)?;
    Ok(out)
}

/// As [`pack`], of images that are not in memory, by the set's own threads.
pub(super) fn pack_stored(stored: &Stored, ids: &[u32]) -> Result<Vec<u32>> {
    let words = stored.store.words();
    let mut out = vec![0u32; ids.len() * words];
    let chunks = out.par_chunks_mut(words.max(1)).zip(ids);
    stored
        .store
        .install(|| chunks.try_for_each(|(out, id)| stored.read_words(*id, out)))?;
    Ok(out)
}
