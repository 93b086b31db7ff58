//! Images of a packed set (`data::pack`): records of shards, each read by itself and checked.
//!
//! Read by `pread`, not through a mapping: a disk that fails under a mapping ends the process, and pages come one fault
//! at a time (random records of 192 KB beyond memory: 101 a second mapped, 2,144 by `pread`, 3,688 when they are
//! announced 64 ahead).

use super::pread::{done_with, read_at, will_need};
use super::{Fault, Form, Place, Source};
use crate::data::DataError;
use crate::data::listed::Listed;
use crate::data::load::Entry;
use crate::data::pack::Records;
use crate::data::pack::format::{Footer, INDEX, Index, Listing, Shard, shard_name, shard_path};
use crate::data::parts::{Group, Parts};
use crate::data::pixels::Kept;
use crate::graph::memory::free_memory;
use rayon::prelude::*;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Images that lie together are drawn together, so many, where that is asked for (`data.shuffle = "blocks"`).
const BLOCK: u32 = 256;
/// Shards that stay open, where the system does not say how many files may be.
const OPEN: usize = 128;

/// Is a packed set in this folder?
pub(in crate::data) fn is(folder: &Path) -> bool {
    folder.join(INDEX).is_file() || shard_path(folder, 0).is_file()
}

/// What is in a packed set: the images of its source that could be read, in their order.
///
/// # Errors
/// A set that is not whole.
pub(in crate::data) fn list(folder: &Path) -> Result<Listed, DataError> {
    let fail = |reason: String| DataError::Format {
        path: folder.into(),
        reason,
    };
    if !folder.join(INDEX).is_file() {
        return Err(fail(
            "packing it was not finished: run the same `amcl-wgpu data pack` again, which goes on where it broke off"
                .into(),
        ));
    }
    let index = Index::read(folder)?;
    let footers = footers(folder, &index).map_err(fail)?;
    let (source, entries) = Packed::new(folder, &index, footers).map_err(fail)?;
    let parts = parts(&index, entries);
    Ok(Listed {
        what: index.what,
        path: folder.into(),
        root: folder.into(),
        place: Box::new(source),
        parts,
        notes: index.notes,
        packed: Some(index.about),
    })
}

/// The footers of all shards. Each has to be the one that the index means.
fn footers(folder: &Path, index: &Index) -> Result<Vec<Footer>, String> {
    let read = |number: usize| {
        let shard = Shard::read(&shard_path(folder, number), number)?;
        let known = &index.shards[number];
        match (shard.bytes, shard.crc, &shard.about) == (known.bytes, known.footer, &index.about) {
            true => Ok(shard.footer),
            false => Err("it belongs to another set".to_string()),
        }
    };
    let again = "remove it, and pack again into the same folder: it alone is made anew";
    (0..index.shards.len())
        .into_par_iter()
        .map(|n| read(n).map_err(|e| format!("{}: {e}; {again}", shard_name(n))))
        .collect()
}

/// The parts that the images belong to, by their numbers in the list.
fn parts(index: &Index, entries: Vec<(u32, Entry)>) -> Parts {
    let listed = |l: &Option<Listing>| l.as_ref().map_or(0, |l| l.images);
    let banks = index.train + listed(&index.bank);
    let (mut train, mut bank, mut test) = (Vec::new(), Vec::new(), Vec::new());
    for (image, entry) in entries {
        let image = image as usize;
        match () {
            () if image < index.train => train.push(entry),
            () if image < banks => bank.push(entry),
            () => test.push(entry),
        }
    }
    let group = |of: &Option<Listing>, entries: Vec<Entry>| {
        of.as_ref().map(|l| Group {
            name: l.name.clone(),
            classes: index.classes.clone(),
            entries,
            ..Group::default()
        })
    };
    Parts {
        classes: index.classes.clone(),
        train,
        bank: group(&index.bank, bank),
        test: group(&index.test, test),
    }
}

/// Where an image is.
#[derive(Clone, Copy, Debug)]
struct At {
    shard: u32,
    /// Its number among the shard's.
    record: u32,
    offset: u64,
    len: u32,
    crc: u32,
    side: (u32, u32),
    /// Height and width, where it is no square.
    kept: Option<(u16, u16)>,
}

/// The images of a packed set.
#[derive(Debug)]
struct Packed {
    folder: PathBuf,
    form: Form,
    images: Vec<At>,
    /// Images in front of each shard.
    starts: Vec<u32>,
    /// Their names one behind the other, and where each ends.
    names: String,
    ends: Vec<usize>,
    /// Shards that stay open: as many as may be.
    open: Vec<OnceLock<File>>,
    left: AtomicUsize,
    /// Shards that the system may keep in its cache. What is read of the others is dropped from there: a set beyond
    /// memory would otherwise push out what comes next in favour of what was just read.
    kept: usize,
}

impl Packed {
    /// The images of these shards by their numbers in the list, and their entries.
    fn new(
        folder: &Path,
        index: &Index,
        footers: Vec<Footer>,
    ) -> Result<(Self, Vec<(u32, Entry)>), String> {
        let (mut all, mut starts) = (Vec::new(), Vec::new());
        for (shard, footer) in (0..).zip(footers) {
            starts.push(all.len() as u32);
            for (record, r) in (0..).zip(footer.records) {
                if r.label.is_some_and(|l| l as usize >= index.classes.len()) {
                    return Err(format!(
                        "{}: a class that there is not",
                        shard_name(shard as usize)
                    ));
                }
                let at = At {
                    shard,
                    record,
                    offset: r.offset,
                    len: r.len,
                    crc: r.crc,
                    side: (r.width, r.height),
                    kept: match index.about.stored {
                        Kept::Square => None,
                        Kept::ShortSide => Some((r.rows as u16, r.columns as u16)),
                    },
                };
                all.push((r.image, at, r.name, r.label));
            }
        }
        all.sort_by_key(|(image, ..)| *image);
        if let Some([a, ..]) = all.windows(2).find(|w| w[0].0 == w[1].0) {
            return Err(format!("image {} ({}) is there twice", a.0, a.2));
        }
        let (mut images, mut names, mut ends) = (Vec::new(), String::new(), Vec::new());
        let mut entries = Vec::with_capacity(all.len());
        for (image, at, name, label) in all {
            images.push(at);
            names += &name;
            ends.push(names.len());
            entries.push((image, (PathBuf::from(name), label)));
        }
        let source = Self {
            folder: folder.into(),
            form: match index.about.records {
                Records::Raw => Form::Pixels,
                Records::Jpeg90 => Form::Encoded,
            },
            images,
            starts,
            names,
            ends,
            open: index.shards.iter().map(|_| OnceLock::new()).collect(),
            left: AtomicUsize::new(may_be_open()),
            kept: cached(index.shards.iter().map(|s| s.bytes)),
        };
        Ok((source, entries))
    }

    /// Does something with a shard's file.
    fn with<T>(&self, shard: u32, work: impl FnOnce(&File) -> T) -> std::io::Result<T> {
        let slot = &self.open[shard as usize];
        if let Some(file) = slot.get() {
            return Ok(work(file));
        }
        let file = File::open(shard_path(&self.folder, shard as usize))?;
        let one = |left: usize| left.checked_sub(1);
        let stays = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one);
        Ok(match stays {
            Ok(_) => work(slot.get_or_init(|| file)),
            Err(_) => work(&file),
        })
    }

    fn damaged(&self, at: &At, what: &str) -> Fault {
        let shard = shard_name(at.shard as usize);
        Fault::Corrupt(format!(
            "record {} of {shard} {what}; the file was damaged after it was written: remove {} and pack again into \
             the same folder, which makes that shard anew",
            at.record,
            self.folder.join(&shard).display()
        ))
    }
}

impl Place for Packed {
    /// The images are those of [`Packed::new`], in the same order.
    fn source(self: Box<Self>, _members: Vec<PathBuf>) -> Box<dyn Source> {
        self
    }
}

impl Source for Packed {
    fn name(&self, image: u32) -> String {
        let image = image as usize;
        let begin = image.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.names[begin..self.ends[image]].into()
    }

    fn read(&self, image: u32, bytes: &mut Vec<u8>) -> Result<(), Fault> {
        let at = self.images[image as usize];
        bytes.resize(at.len as usize, 0);
        let drop_it = at.shard as usize >= self.kept;
        let read = self.with(at.shard, |file| {
            let read = read_at(file, bytes, at.offset);
            if drop_it {
                done_with(file, at.offset, at.len.into());
            }
            read
        });
        match read.flatten() {
            Ok(()) if crc32c::crc32c(bytes) == at.crc => Ok(()),
            Ok(()) => Err(self.damaged(&at, "does not match its checksum")),
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
                Err(self.damaged(&at, "is cut off"))
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                Err(self.damaged(&at, "is not there any more"))
            }
            Err(e) => Err(e.into()),
        }
    }

    fn form(&self) -> Form {
        self.form
    }

    fn size(&self, image: u32) -> Option<u64> {
        Some(self.images[image as usize].len.into())
    }

    fn side(&self, image: u32) -> Option<(u32, u32)> {
        Some(self.images[image as usize].side)
    }

    fn kept(&self, image: u32) -> Option<(usize, usize)> {
        let kept = self.images[image as usize].kept;
        kept.map(|(rows, columns)| (rows.into(), columns.into()))
    }

    fn will_need(&self, images: &[u32]) {
        for image in images {
            let at = self.images[*image as usize];
            // A shard that cannot be opened is named when it is read.
            let _ = self.with(at.shard, |file| will_need(file, at.offset, at.len.into()));
        }
    }

    fn block(&self, image: u32) -> u32 {
        let at = self.images[image as usize];
        (self.starts[at.shard as usize] + at.record) / BLOCK
    }

    fn has_blocks(&self) -> bool {
        true
    }
}

/// Half of the files that this process may have open.
fn may_be_open() -> usize {
    #[cfg(unix)]
    {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        limit.map_or(OPEN, |n| (n / 2).min(4096) as usize)
    }
    #[cfg(not(unix))]
    OPEN
}

/// Shards that fit half of the free memory, the first ones; all where all do.
fn cached(bytes: impl Iterator<Item = u64>) -> usize {
    let Some(free) = free_memory() else {
        return usize::MAX;
    };
    let mut sum = 0u64;
    for (before, b) in bytes.enumerate() {
        sum = sum.saturating_add(b);
        if sum > free / 2 {
            return before;
        }
    }
    usize::MAX
}
