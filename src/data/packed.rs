//! Images as words: the form in which they go to the device.

use super::stored::Stored;
use super::{Dataset, Result};
use crate::graph::{self, Executor, HostData, ProgramId, TensorId};
use crate::ops::augment::words;
use rayon::prelude::*;
use std::ops::Range;

/// Images as they go to the device. Each lies at the beginning of as many words as the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// [images, words]: bytes, little-endian, padded with zeros.
    pub words: Vec<u32>,
    /// Height and width of each image.
    pub sides: Vec<(usize, usize)>,
}

impl Packed {
    /// Makes room for `count` images of so many words.
    pub(super) fn resize(&mut self, count: usize, words: usize) {
        self.words.resize(count * words, 0);
        self.sides.resize(count, (0, 0));
    }

    /// Words of an image.
    fn each(&self) -> usize {
        self.words.len() / self.sides.len().max(1)
    }

    /// Some of the images.
    pub(super) fn part(&self, images: Range<usize>) -> Self {
        let each = self.each();
        Self {
            words: self.words[images.start * each..images.end * each].to_vec(),
            sides: self.sides[images].to_vec(),
        }
    }

    /// Adds black images of the last one's sides, so that there are `count`.
    pub fn fill(&mut self, count: usize) {
        if let Some(last) = self.sides.last().copied() {
            self.words.resize(count * self.each(), 0);
            self.sides.resize(count, last);
        }
    }

    /// Sends the images to an input of a program.
    ///
    /// # Errors
    /// Device loss.
    pub fn upload(
        &mut self,
        exec: &mut dyn Executor,
        program: ProgramId,
        input: TensorId,
    ) -> graph::Result<()> {
        let words = HostData::U32(std::mem::take(&mut self.words));
        let sent = exec.upload(program, input, &words);
        if let HostData::U32(words) = words {
            self.words = words;
        }
        sent
    }
}

/// Images that are fetched by their ids, when a step is sent. A set need not be in memory.
pub trait Images {
    /// The images `ids`.
    ///
    /// # Errors
    /// Images that are read when they are needed, and cannot be.
    fn packed(&self, ids: &[u32]) -> Result<Packed>;

    /// Takes back what [`Images::packed`] gave, once it was sent, so that its memory is used again.
    fn done(&self, _images: Packed) {}

    /// The set, where all of it is in memory.
    fn whole(&self) -> Option<&Dataset> {
        None
    }
}

impl Images for Dataset {
    fn packed(&self, ids: &[u32]) -> Result<Packed> {
        pack(self, ids)
    }

    fn whole(&self) -> Option<&Dataset> {
        self.resident().then_some(self)
    }
}

/// The images `ids` of a data set.
///
/// # Errors
/// As [`Dataset::image`].
pub fn pack(data: &Dataset, ids: &[u32]) -> Result<Packed> {
    if let Some(stored) = &data.stored {
        return pack_stored(stored, ids);
    }
    let each = words(data.height, data.width);
    let mut words = vec![0u32; ids.len() * each];
    let work = |(out, id): (&mut [u32], &u32)| -> Result<()> {
        for (word, bytes) in out.iter_mut().zip(data.image(*id as usize)?.chunks(4)) {
            let mut four = [0; 4];
            four[..bytes.len()].copy_from_slice(bytes);
            *word = u32::from_le_bytes(four);
        }
        Ok(())
    };
    words
        .par_chunks_mut(each.max(1))
        .zip(ids)
        .try_for_each(work)?;
    let sides = data.sides_of(ids);
    Ok(Packed { words, sides })
}

/// As [`pack`], of images that are not in memory, by the set's own threads.
pub(super) fn pack_stored(stored: &Stored, ids: &[u32]) -> Result<Packed> {
    let mut out = Packed::default();
    fill(stored, ids, &mut out, &|| false)?;
    Ok(out)
}

/// Reads the images `ids` into `out`, by the set's own threads; ends early, with images left out, once `stop` says so.
pub(super) fn fill(
    stored: &Stored,
    ids: &[u32],
    out: &mut Packed,
    stop: &(dyn Fn() -> bool + Sync),
) -> Result<()> {
    let each = stored.store.words();
    out.resize(ids.len(), each);
    let Packed { words, sides } = out;
    let chunks = words.par_chunks_mut(each.max(1)).zip(sides).zip(ids);
    let read = |((out, side), id): ((&mut [u32], &mut (usize, usize)), &u32)| {
        if !stop() {
            *side = stored.read_words(*id, out)?;
        }
        Ok(())
    };
    stored.store.install(|| chunks.try_for_each(read))
}
