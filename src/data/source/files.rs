//! Files, each an image: of a folder, or of a list.

use super::{Fault, Place, Source};
use crate::data::load::name_of;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

/// A folder; names of images are relative to it.
#[derive(Debug)]
pub(in crate::data) struct Folder(pub PathBuf);

impl Place for Folder {
    fn source(self: Box<Self>, members: Vec<PathBuf>) -> Box<dyn Source> {
        Box::new(Files {
            root: self.0,
            files: members,
        })
    }
}

/// The files of a set.
#[derive(Debug)]
struct Files {
    root: PathBuf,
    files: Vec<PathBuf>,
}

impl Source for Files {
    fn name(&self, image: u32) -> String {
        name_of(&self.files[image as usize], &self.root)
    }

    fn size(&self, image: u32) -> Option<u64> {
        let file = std::fs::metadata(&self.files[image as usize]);
        file.ok().map(|m| m.len())
    }

    fn read(&self, image: u32, bytes: &mut Vec<u8>) -> Result<(), Fault> {
        bytes.clear();
        File::open(&self.files[image as usize])?.read_to_end(bytes)?;
        Ok(())
    }
}
