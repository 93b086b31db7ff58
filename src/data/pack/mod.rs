//! Packing: the images of a set, decoded and brought to size once, in a few large files that are read at the speed of
//! the disk. A packed set opens as its source does: the same images in the same order, classes, parts, and the same
//! images held out. `RGB` records have the bits of the source; JPEG records are a tenth of the size and have their own.

mod cache;
mod folder;
pub(super) mod format;
mod writer;

pub use cache::open_cached;

use super::listed::{self, Listed, digest};
use super::parts::Group;
use super::pixels::{Facts, Kept};
use super::source::pack;
use super::stored::Store;
use super::tally::{NAMED, Tally};
use super::{DataError, Request, Result, able, divided};
use crate::reference::philox::{Purpose, Stream};
use format::{About, Index, Listing};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// MiB after which a shard ends, unless others are asked for.
pub const SHARD_MIB: usize = 256;

/// How images lie in a packed set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Records {
    /// RGB, three bytes a pixel: the bits that the source gives.
    #[default]
    Raw,
    /// JPEGs of quality 90 with halved chroma (4:2:0), as most photographs have it: at 256 px a tenth of the bytes.
    /// Full chroma would take a third more bytes and decode slower, for detail that photographs in JPEG files have
    /// lost before.
    Jpeg90,
}

impl std::fmt::Display for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Raw => "raw",
            Self::Jpeg90 => "jpeg90",
        })
    }
}

impl std::str::FromStr for Records {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "raw" => Ok(Self::Raw),
            "jpeg90" => Ok(Self::Jpeg90),
            _ => Err("expected raw or jpeg90".into()),
        }
    }
}

/// What to pack, and how.
pub struct Packing<'a> {
    /// The set, and the side of its images. `progress` is told of images that are packed, and of all.
    pub data: Request<'a>,
    /// The folder for the packed set.
    pub out: &'a Path,
    /// How images lie in it.
    pub records: Records,
    /// Seed of an order in which they are written; none: that of the list. Images have the same numbers in either case.
    pub shuffle: Option<u64>,
    /// MiB after which a shard ends.
    pub shard_mib: usize,
    /// Packing stops soon after this is set, and can go on later.
    pub stop: &'a AtomicBool,
}

/// What was packed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// False where packing was stopped before its end.
    pub finished: bool,
    /// Images in the set.
    pub images: usize,
    /// Images that could not be read, and are not in it.
    pub bad: usize,
    /// Its shards.
    pub shards: usize,
    /// Shards that were there before.
    pub found: usize,
    /// Their bytes.
    pub bytes: u64,
    /// What is odd about the files, and shards that were damaged.
    pub notes: Vec<String>,
}

fn fail(path: &Path, reason: impl Into<String>) -> DataError {
    DataError::Format {
        path: path.into(),
        reason: reason.into(),
    }
}

/// The order in which images are written.
fn order(images: usize, shuffle: Option<u64>) -> Vec<u32> {
    let mut order: Vec<u32> = (0..images as u32).collect();
    if let Some(seed) = shuffle {
        let mut stream = Stream::new(seed, 2, 0, Purpose::Split);
        for i in (1..order.len()).rev() {
            order.swap(i, stream.below(i + 1));
        }
    }
    order
}

/// Packs a set of image files, or what `data.list` takes of it, in the list's order. What is in the folder already of the same set is kept: packing goes on where it broke
/// off, and makes anew what was removed.
///
/// # Errors
/// A set that is no files; a folder with something else; too little space; more bad images than `data.max_bad` allows.
/// Shards that were finished stay.
pub fn pack(p: &Packing<'_>) -> Result<Summary> {
    let path = Path::new(p.data.path);
    let Some(listed) = listed::files(path)? else {
        return Err(fail(
            path,
            "this set is kept in memory as it is, and packing brings nothing: train on it directly",
        ));
    };
    pack_listed(p, divided(listed, p.data.list)?)
}

fn pack_listed(p: &Packing<'_>, listed: Listed) -> Result<Summary> {
    able(&p.data)?;
    listed.check(&p.data)?;
    let Listed {
        what,
        path,
        root,
        place,
        parts,
        notes,
        packed: _,
    } = listed;
    let members: Vec<_> = parts.entries().map(|(path, _)| path.clone()).collect();
    let count = members.len();
    let source = place.source(members);
    let how = (p.data.reading, p.data.stored_size);
    let digest = digest(&what, &root, &parts, source.as_ref());
    let about = About::new(digest, how, p.records, (p.shuffle, p.shard_mib));
    let group = |g: &Option<Group>| {
        g.as_ref().map(|g| Listing {
            name: g.name.clone(),
            images: g.entries.len(),
        })
    };
    let mut index = Index {
        format: String::new(),
        version: 0,
        about: about.clone(),
        what,
        train: parts.train.len(),
        bank: group(&parts.bank),
        test: group(&parts.test),
        classes: parts.classes.clone(),
        notes,
        shards: Vec::new(),
        checksum: String::new(),
    };
    let store = Store::new(source, count, &path, how, p.data.keeping.alone());
    let labels: Vec<Option<u32>> = parts.entries().map(|(_, label)| *label).collect();
    let order = order(count, p.shuffle);
    let mut writer = writer::Writer::new(p, &about, &store, (&order, &labels))?;
    let finished = writer.run()?;
    let mut tally = Tally::default();
    let (mut images, mut bad) = (0, 0);
    for shard in &writer.shards {
        for r in &shard.footer.records {
            tally.add(&r.name, r.facts());
            images += 1;
        }
        for b in &shard.footer.bad {
            tally.fail(&b.name, &b.why);
            bad += 1;
        }
    }
    let odd = tally.warnings(p.data.reading, NAMED);
    let found = writer.found;
    let summary = Summary {
        finished,
        images,
        bad,
        shards: writer.shards.len(),
        found,
        bytes: writer.shards.iter().map(|s| s.bytes).sum(),
        notes: [&index.notes[..], &odd, &writer.remade].concat(),
    };
    if !finished {
        return Ok(summary);
    }
    if images == 0 {
        return Err(fail(
            &path,
            format!(
                "none of {count} images could be decoded; {}",
                tally.first_failure()
            ),
        ));
    }
    index.notes.extend(odd);
    index.shards = writer.known();
    writer.finish(index)?;
    Ok(summary)
}

/// What is kept of the images of the packed set at a path, and their (shorter) side; none where there is none.
pub fn kept_as(path: &str) -> Option<(Kept, usize)> {
    let folder = Path::new(path);
    if !pack::is(folder) {
        return None;
    }
    let about = Index::read(folder).ok()?.about;
    Some((about.stored, about.side))
}
