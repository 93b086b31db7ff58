//! Some images of a place, in an order of their own.

use super::{Fault, Form, Place, Source};
use std::path::PathBuf;

/// Images of a place that are chosen before it is known how they are read.
pub(in crate::data) struct Chosen {
    /// Numbers among all images of the place.
    pub images: Vec<u32>,
    /// Members of the place: all its images.
    pub of: Vec<PathBuf>,
    /// The place.
    pub place: Box<dyn Place>,
}

impl Place for Chosen {
    /// The chosen images; their members are known.
    fn source(self: Box<Self>, _members: Vec<PathBuf>) -> Box<dyn Source> {
        Box::new(Picked {
            images: self.images,
            of: self.place.source(self.of),
        })
    }
}

/// The images of a source with these numbers.
#[derive(Debug)]
struct Picked {
    images: Vec<u32>,
    of: Box<dyn Source>,
}

impl Picked {
    fn own(&self, image: u32) -> u32 {
        self.images[image as usize]
    }
}

impl Source for Picked {
    fn name(&self, image: u32) -> String {
        self.of.name(self.own(image))
    }

    fn read(&self, image: u32, bytes: &mut Vec<u8>) -> Result<(), Fault> {
        self.of.read(self.own(image), bytes)
    }

    fn form(&self) -> Form {
        self.of.form()
    }

    fn size(&self, image: u32) -> Option<u64> {
        self.of.size(self.own(image))
    }

    fn side(&self, image: u32) -> Option<(u32, u32)> {
        self.of.side(self.own(image))
    }

    fn kept(&self, image: u32) -> Option<(usize, usize)> {
        self.of.kept(self.own(image))
    }

    fn will_need(&self, images: &[u32]) {
        let own: Vec<u32> = images.iter().map(|i| self.own(*i)).collect();
        self.of.will_need(&own);
    }

    fn block(&self, image: u32) -> u32 {
        self.of.block(self.own(image))
    }

    fn keep(&mut self, bytes: u64) {
        self.of.keep(bytes);
    }

    fn blocks_at_once(&self) -> usize {
        self.of.blocks_at_once()
    }

    fn has_blocks(&self) -> bool {
        self.of.has_blocks()
    }

    fn random_access(&self) -> bool {
        self.of.random_access()
    }
}
