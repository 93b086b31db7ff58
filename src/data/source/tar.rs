//! Images in tar files, each read singly at its offset.

use super::pread::{read_at, will_need};
use super::tar_index::Member;
use super::{Fault, Place, Source};
use crate::data::load::name_of;
use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Files that are kept open. Systems allow some hundreds a process; the others are opened for each read.
const OPEN: usize = 128;
/// Bytes of an image file at most: as many as its pixels may have.
const LARGEST: u64 = 1 << 30;

/// The members of tar files; names of images are relative to a folder.
#[derive(Debug)]
pub(in crate::data) struct Tars {
    root: PathBuf,
    files: Vec<PathBuf>,
    members: HashMap<PathBuf, (u32, u64, u64)>,
}

impl Tars {
    /// No members yet, of these files.
    pub(in crate::data) fn new(root: &Path, files: Vec<PathBuf>) -> Self {
        Self {
            root: root.into(),
            files,
            members: HashMap::new(),
        }
    }

    /// Adds a member of file number `file`, and gives its path: the file's, with the member's behind it.
    pub(in crate::data) fn add(&mut self, file: usize, member: &Member) -> PathBuf {
        let path = self.files[file].join(&member.name);
        let place = (file as u32, member.at, member.bytes);
        self.members.insert(path.clone(), place);
        path
    }
}

impl Place for Tars {
    fn source(self: Box<Self>, members: Vec<PathBuf>) -> Box<dyn Source> {
        let nowhere = (u32::MAX, 0, 0);
        let places = members.iter().map(|m| self.members.get(m).copied());
        Box::new(Shards {
            images: places.map(|p| p.unwrap_or(nowhere)).collect(),
            open: self.files.iter().map(|_| OnceLock::new()).collect(),
            root: self.root,
            files: self.files,
            members,
        })
    }
}

/// The images of a set.
#[derive(Debug)]
struct Shards {
    root: PathBuf,
    files: Vec<PathBuf>,
    /// The first [`OPEN`] files, once one of their images was read.
    open: Vec<OnceLock<File>>,
    members: Vec<PathBuf>,
    /// File, offset and bytes of each image.
    images: Vec<(u32, u64, u64)>,
}

impl Shards {
    /// Does something with a file that is kept open.
    fn with<T>(
        &self,
        file: u32,
        work: impl FnOnce(&File) -> std::io::Result<T>,
    ) -> std::io::Result<T> {
        let file = file as usize;
        let path = self.files.get(file).ok_or(std::io::ErrorKind::NotFound)?;
        if file >= OPEN {
            return work(&File::open(path)?);
        }
        match self.open[file].get() {
            Some(open) => work(open),
            None => {
                let new = File::open(path)?;
                work(self.open[file].get_or_init(|| new))
            }
        }
    }
}

impl Source for Shards {
    fn name(&self, image: u32) -> String {
        name_of(&self.members[image as usize], &self.root)
    }

    fn size(&self, image: u32) -> Option<u64> {
        Some(self.images[image as usize].2)
    }

    fn read(&self, image: u32, bytes: &mut Vec<u8>) -> Result<(), Fault> {
        let (file, at, count) = self.images[image as usize];
        if count > LARGEST {
            return Err(Fault::Bad(format!("a file of {count} bytes is no image")));
        }
        bytes.resize(count as usize, 0);
        let kept = self.with(file, |f| read_at(f, bytes, at));
        kept.or_else(|e| match self.files.get(file as usize) {
            // A file that was replaced on a network file system has to be opened anew.
            Some(path) => read_at(&File::open(path)?, bytes, at),
            None => Err(e),
        })?;
        Ok(())
    }

    fn will_need(&self, images: &[u32]) {
        for image in images {
            let (file, at, count) = self.images[*image as usize];
            if (file as usize) < OPEN {
                // A file that does not open is named when it is read.
                let _ = self.with(file, |f| {
                    will_need(f, at, count);
                    Ok(())
                });
            }
        }
    }
}
