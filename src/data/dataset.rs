//! The images of a part of a data set, in memory or read when they are needed.

use super::DataError;
use super::stored::{Spent, Stored};
use rayon::prelude::*;
use std::borrow::Cow;

/// Images with labels, if they have any. They are of one size, or have sides of their own within one.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Pixels of all images, image by image, rows, columns, RGB; empty where they are read when they are needed. An image
    /// of sides of its own lies at the beginning of the room of `height` times `width` pixels, whose rest is zeros.
    pub images: Vec<u8>,
    /// Class of each image; empty when the images are not labelled.
    pub labels: Vec<u32>,
    /// Height of every image, or of the room that it has.
    pub height: usize,
    /// Width of every image, or of the room that it has.
    pub width: usize,
    /// Height and width of each image in memory, where each has its own; empty where all have those above.
    pub sides: Vec<(usize, usize)>,
    /// File of each image, relative to the data set; empty where images have no files of their own.
    pub names: Vec<String>,
    /// Where the images are that are not in memory.
    pub(super) stored: Option<Stored>,
}

/// An image's own pixels, without what fills its room; its height and width.
pub type Picture<'a> = (Cow<'a, [u8]>, (usize, usize));

impl Dataset {
    /// No images of this size.
    pub fn empty(height: usize, width: usize) -> Self {
        Self {
            images: Vec::new(),
            labels: Vec::new(),
            height,
            width,
            sides: Vec::new(),
            names: Vec::new(),
            stored: None,
        }
    }

    /// Name of image `i`: its file's, or its number.
    pub fn name(&self, i: usize) -> String {
        self.names.get(i).cloned().unwrap_or_else(|| i.to_string())
    }

    /// The images `ids`, in this order. Pixels that are not in memory stay where they are.
    pub fn select(&self, ids: &[usize]) -> Self {
        let mut d = Self::empty(self.height, self.width);
        for i in ids {
            d.images
                .extend_from_slice(self.in_memory(*i).unwrap_or_default());
            d.sides.extend(self.sides.get(*i));
            d.labels.extend(self.labels.get(*i));
            d.names.extend(self.names.get(*i).cloned());
        }
        d.stored = self.stored.as_ref().map(|s| s.select(ids));
        d
    }

    /// The images `picks` (number of the set, number in it) of sets of one size that are in memory, with these labels.
    pub(super) fn gather(sets: &[&Self], picks: &[(usize, usize)], labels: Vec<u32>) -> Self {
        let mut d = Self::empty(sets[0].height, sets[0].width);
        for (set, i) in picks {
            let set = sets[*set];
            d.images
                .extend_from_slice(set.in_memory(*i).unwrap_or_default());
            d.sides.extend(set.sides.get(*i));
            d.names.extend(set.names.get(*i).cloned());
        }
        // Some images with a name and some without would be named wrongly.
        if d.names.len() != picks.len() {
            d.names.clear();
        }
        d.labels = labels;
        d
    }

    /// Bytes of an image, or of the room that it has.
    pub fn image_bytes(&self) -> usize {
        self.height * self.width * 3
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        match &self.stored {
            Some(s) => s.len(),
            None => self.images.len() / self.image_bytes().max(1),
        }
    }

    /// No images.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Are all pixels in memory?
    pub fn resident(&self) -> bool {
        self.stored.is_none()
    }

    fn in_memory(&self, i: usize) -> Option<&[u8]> {
        let n = self.image_bytes();
        self.images.get(i * n..(i + 1) * n)
    }

    /// Pixels of image `i`, rows, columns, RGB.
    ///
    /// # Errors
    /// Where pixels are read when they are needed: storage that fails, more bad images than `data.max_bad` allows.
    pub fn image(&self, i: usize) -> Result<Cow<'_, [u8]>, DataError> {
        Ok(self.picture(i)?.0)
    }

    /// As [`Dataset::image`], with its height and width.
    ///
    /// # Errors
    /// As [`Dataset::image`].
    pub fn picture(&self, i: usize) -> Result<Picture<'_>, DataError> {
        if let Some(stored) = &self.stored {
            let mut out = vec![0; self.image_bytes()];
            let side = stored.read(i, &mut out)?;
            out.truncate(3 * side.0 * side.1);
            return Ok((out.into(), side));
        }
        let (room, side) = (self.in_memory(i).unwrap_or_default(), self.side(i));
        let bytes = room.get(..3 * side.0 * side.1).unwrap_or_default();
        Ok((bytes.into(), side))
    }

    /// Heights and widths of the images `ids`, which are in memory.
    pub fn sides_of(&self, ids: &[u32]) -> Vec<(usize, usize)> {
        ids.iter().map(|i| self.side(*i as usize)).collect()
    }

    /// Height and width of image `i`, which is in memory.
    pub(super) fn side(&self, i: usize) -> (usize, usize) {
        let own = self.sides.get(i).copied();
        own.unwrap_or((self.height, self.width))
    }

    /// The same images with all pixels in memory.
    ///
    /// # Errors
    /// As [`Dataset::image`].
    pub fn loaded(&self) -> Result<Self, DataError> {
        let mut d = self.clone();
        if let Some(stored) = d.stored.take() {
            let bytes = self.image_bytes();
            d.images = vec![0; bytes * stored.len()];
            let images = d.images.par_chunks_exact_mut(bytes.max(1)).enumerate();
            let read = |(i, out): (usize, &mut [u8])| stored.read(i, out);
            let sides: Result<Vec<_>, DataError> =
                stored.store.install(|| images.map(read).collect());
            d.sides = sides?;
            if d.sides.iter().all(|s| *s == (d.height, d.width)) {
                d.sides.clear();
            }
        }
        Ok(d)
    }

    /// Time that reading took by now; none where all pixels are in memory.
    pub fn spent(&self) -> Option<Spent> {
        self.stored.as_ref().map(|s| s.store.spent())
    }

    /// What is known by now of images that could not be read, a line each, that was not asked for before. Another
    /// image of the same class stands in for each.
    pub fn new_faults(&self) -> Vec<String> {
        self.stored
            .as_ref()
            .map_or_else(Vec::new, Stored::new_faults)
    }
}
