//! The files of a packed set.
//!
//! `shard-00000.pack` and following: a header of 4096 bytes (magic, version, what the set is, which shard this is, a
//! checksum), the records one after the other, a footer (a line a record: where it is, its CRC-32C, its class, its
//! name), the footer's checksum and length, magic. A record is an image: RGB, rows, columns, or a JPEG file. Of images
//! that are not squares the line has height and width; such sets are of version 2, which older programs do not read.
//! `pack.json`, written last: what the set is, its parts and classes, how long each shard is.
//!
//! A shard gets its name when all of it is on the disk, so that what has a name is whole. Records of 256x256 begin at
//! multiples of a page of memory.

use super::Records;
use crate::data::DataError;
use crate::data::jpeg::Oddity;
use crate::data::pixels::{Alpha, Decoder, Facts, Kept, Reading};
use crate::data::source::pread::read_at;
use prost::Message;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::path::{Path, PathBuf};

/// Begins and ends a shard.
const MAGIC: [u8; 8] = *b"AMCLPACK";
/// The newest version of the files.
const VERSION: u32 = 2;
/// Bytes of a shard's header.
pub(in crate::data) const HEADER: usize = 4096;
/// Bytes in front of the header's text: magic, version, length of the text and its checksum.
const FRONT: usize = 20;
/// Bytes behind the footer: its length, its checksum, magic.
pub(super) const TRAILER: usize = 20;
/// Name of the file that is written last.
pub(in crate::data) const INDEX: &str = "pack.json";
/// What stands in front of the index's checksum.
const SUM: &str = "\"checksum\": \"";
/// What the index says first.
const NAME: &str = "amcl-wgpu packed images";

/// What a packed set was made of, and how. It stands in every shard and in the index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// SHA-256 of the list of images: names, classes, bytes of each.
    pub source: String,
    /// Side of the images, the shorter one where they are not squares.
    pub side: usize,
    /// `data.stored`
    #[serde(default, skip_serializing_if = "is_square")]
    pub stored: Kept,
    /// How they are stored.
    pub records: Records,
    /// `data.pixels`.
    pub pixels: usize,
    /// `data.exif`
    pub exif: bool,
    /// `data.alpha`
    pub alpha: Alpha,
    /// `data.decoder`
    pub decoder: Decoder,
    /// The crates that decoded the files, with their versions.
    pub versions: String,
    /// Seed of the order in which the images lie; none: that of the list.
    pub shuffle: Option<u64>,
    /// MiB after which a shard ends.
    pub shard_mib: usize,
}

fn is_square(kept: &Kept) -> bool {
    *kept == Kept::Square
}

impl About {
    /// Version of the set's files.
    fn version(&self) -> u32 {
        match self.stored {
            Kept::Square => 1,
            Kept::ShortSide => 2,
        }
    }

    /// Of a list with this digest.
    pub(super) fn new(
        source: String,
        (reading, side): (Reading, usize),
        records: Records,
        (shuffle, shard_mib): (Option<u64>, usize),
    ) -> Self {
        Self {
            source,
            side,
            stored: reading.kept,
            records,
            pixels: reading.version,
            exif: reading.exif,
            alpha: reading.alpha,
            decoder: reading.decoder,
            versions: reading.decoder.versions(),
            shuffle,
            shard_mib,
        }
    }

    /// How this differs from what is wanted, among `keys`, in words; none where it does not.
    pub(in crate::data) fn differs(&self, wanted: &Self, keys: &[&str]) -> Option<String> {
        let [is, wants] =
            [self, wanted].map(|a| serde_json::to_value(a).unwrap_or(serde_json::Value::Null));
        let differ = keys.iter().filter(|key| is[**key] != wants[**key]);
        let words: Vec<String> = differ
            .map(|key| match *key {
                "source" => {
                    "it was made of another list of images (other names, classes or bytes of files)"
                        .into()
                }
                "side" => format!(
                    "data.stored_size is {}, and {} is asked for",
                    is["side"], wants["side"]
                ),
                "stored" => format!(
                    "data.stored is \"{}\", and \"{}\" is asked for",
                    self.stored, wanted.stored
                ),
                "pixels" | "exif" | "alpha" | "decoder" => {
                    format!(
                        "data.{key} is {}, and {} is asked for",
                        is[*key], wants[*key]
                    )
                }
                _ => format!("{key} is {}, and {} is asked for", is[*key], wants[*key]),
            })
            .collect();
        (!words.is_empty()).then(|| words.join("; "))
    }
}

/// What decides whether the images are the same.
pub(in crate::data) const SAME_IMAGES: [&str; 7] = [
    "source", "side", "stored", "pixels", "exif", "alpha", "decoder",
];
/// What decides whether the pixels are as they are asked for.
pub(in crate::data) const SAME_PIXELS: [&str; 6] =
    ["side", "stored", "pixels", "exif", "alpha", "decoder"];
/// All of it: what decides whether a shard is one of this set.
pub(super) const ALL: [&str; 11] = [
    "source",
    "side",
    "stored",
    "records",
    "pixels",
    "exif",
    "alpha",
    "decoder",
    "versions",
    "shuffle",
    "shard_mib",
];

/// What a shard's header says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    /// The set.
    pub about: About,
    /// Number of the shard.
    pub shard: usize,
}

/// An image in a shard.
#[derive(Clone, PartialEq, Message)]
pub(in crate::data) struct Record {
    /// Its number in the list of images.
    #[prost(uint32, tag = "1")]
    pub image: u32,
    /// Where it begins.
    #[prost(uint64, tag = "2")]
    pub offset: u64,
    /// Its bytes.
    #[prost(uint32, tag = "3")]
    pub len: u32,
    /// Their CRC-32C.
    #[prost(fixed32, tag = "4")]
    pub crc: u32,
    /// Its class.
    #[prost(uint32, optional, tag = "5")]
    pub label: Option<u32>,
    /// Its name.
    #[prost(string, tag = "6")]
    pub name: String,
    /// Width in its file.
    #[prost(uint32, tag = "7")]
    pub width: u32,
    /// Height in its file.
    #[prost(uint32, tag = "8")]
    pub height: u32,
    /// What is odd about its file, a bit each.
    #[prost(uint32, tag = "9")]
    pub odd: u32,
    /// Height that is kept, and ...
    #[prost(uint32, tag = "10")]
    pub rows: u32,
    /// ... width; 0 where squares are kept.
    #[prost(uint32, tag = "11")]
    pub columns: u32,
}

impl Record {
    /// What is worth knowing of the image's file.
    pub(super) fn facts(&self) -> Facts {
        let is = |bit: u32| self.odd & (1 << bit) != 0;
        Facts {
            side: (self.width, self.height),
            kept: (self.rows as usize, self.columns as usize),
            long: is(5),
            lies: is(0),
            alpha: is(1),
            transparent: is(2),
            oddity: match (is(3), is(4)) {
                (true, _) => Some(Oddity::NoEnd),
                (_, true) => Some(Oddity::Header),
                _ => None,
            },
        }
    }

    /// Notes it, of a file of which `kept` is kept.
    pub(super) fn with(mut self, facts: Facts, kept: Kept) -> Self {
        let odd = |which| facts.oddity == Some(which);
        let [no_end, strays] = [Oddity::NoEnd, Oddity::Header].map(odd);
        let bits = [
            facts.lies,
            facts.alpha,
            facts.transparent,
            no_end,
            strays,
            facts.long,
        ];
        self.odd = (0..).zip(bits).map(|(i, is)| u32::from(is) << i).sum();
        (self.width, self.height) = facts.side;
        if kept != Kept::Square {
            (self.rows, self.columns) = (facts.kept.0 as u32, facts.kept.1 as u32);
        }
        self
    }
}

/// An image that could not be read.
#[derive(Clone, PartialEq, Message)]
pub(in crate::data) struct Bad {
    /// Its number in the list of images.
    #[prost(uint32, tag = "1")]
    pub image: u32,
    /// Its name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Why.
    #[prost(string, tag = "3")]
    pub why: String,
}

/// What is in a shard.
#[derive(Clone, PartialEq, Message)]
pub(in crate::data) struct Footer {
    /// Its images.
    #[prost(message, repeated, tag = "1")]
    pub records: Vec<Record>,
    /// Images that would stand here and could not be read.
    #[prost(message, repeated, tag = "2")]
    pub bad: Vec<Bad>,
    /// The first of its places in the order of writing.
    #[prost(uint64, tag = "3")]
    pub begin: u64,
}

impl Footer {
    /// The place behind its last one.
    pub(super) fn end(&self) -> u64 {
        let places = self.records.len() + self.bad.len();
        self.begin.saturating_add(places as u64)
    }

    /// Its bytes with what ends a shard.
    pub(super) fn ending(&self) -> Vec<u8> {
        let mut out = self.encode_to_vec();
        let (len, crc) = (out.len() as u64, crc32c::crc32c(&out));
        out.extend(len.to_le_bytes());
        out.extend(crc.to_le_bytes());
        out.extend(MAGIC);
        out
    }

    /// Are its records within the shard and as long as they have to be? If not, says what is wrong.
    fn check(&self, about: &About, end: u64) -> Result<(), String> {
        let side = about.side as u64;
        let (_, most) = about.stored.room(about.side);
        for r in &self.records {
            let (from, to) = (r.offset, r.offset.checked_add(r.len.into()));
            if from < HEADER as u64 || to.is_none_or(|to| to > end) {
                return Err(format!("the record of {} lies outside of it", r.name));
            }
            let (rows, columns) = match about.stored {
                Kept::Square => (side, side),
                Kept::ShortSide => (r.rows.into(), r.columns.into()),
            };
            if rows.min(columns) != side || rows.max(columns) > most as u64 {
                return Err(format!(
                    "the record of {} has sides {rows}x{columns}",
                    r.name
                ));
            }
            // Sides of 8192 px at most are made; more, of a file that somebody else made, do not wrap.
            let raw = rows.saturating_mul(columns).saturating_mul(3);
            if about.records == Records::Raw && u64::from(r.len) != raw {
                return Err(format!("the record of {} has {} bytes", r.name, r.len));
            }
        }
        Ok(())
    }
}

/// A shard's header.
pub(super) fn header(about: &About, shard: usize) -> Vec<u8> {
    let head = Head {
        about: about.clone(),
        shard,
    };
    let text = serde_json::to_vec(&head).unwrap_or_default();
    let mut out = MAGIC.to_vec();
    out.extend(about.version().to_le_bytes());
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(crc32c::crc32c(&text).to_le_bytes());
    out.extend(text);
    // Some 400 bytes, whatever the set.
    out.resize(HEADER, 0);
    out
}

/// Name of a shard's file.
pub(in crate::data) fn shard_name(shard: usize) -> String {
    format!("shard-{shard:05}.pack")
}

/// The four and eight bytes at a place.
fn four(bytes: &[u8], at: usize) -> u32 {
    let four = bytes.get(at..at + 4).and_then(|b| b.try_into().ok());
    four.map_or(0, u32::from_le_bytes)
}

fn eight(bytes: &[u8], at: usize) -> u64 {
    u64::from(four(bytes, at)) | u64::from(four(bytes, at + 4)) << 32
}

/// What a shard says of itself.
#[derive(Debug)]
pub(in crate::data) struct Shard {
    /// Its set.
    pub about: About,
    /// Its images.
    pub footer: Footer,
    /// CRC-32C of the footer.
    pub crc: u32,
    /// Its length.
    pub bytes: u64,
}

impl Shard {
    /// Reads header and footer of shard `number` at `path`. Records are checked when they are read.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(in crate::data) fn read(path: &Path, number: usize) -> Result<Self, String> {
        let words = |e: std::io::Error| match e.kind() {
            std::io::ErrorKind::NotFound => "it is missing".to_string(),
            _ => e.to_string(),
        };
        let file = File::open(path).map_err(words)?;
        let bytes = file.metadata().map_err(words)?.len();
        if bytes < (HEADER + TRAILER) as u64 {
            return Err(format!("it is cut off: it has {bytes} bytes"));
        }
        let mut head = vec![0; HEADER];
        read_at(&file, &mut head, 0).map_err(words)?;
        if head[..8] != MAGIC {
            return Err("it does not begin as a shard does".into());
        }
        match four(&head, 8) {
            1..=VERSION => (),
            other => {
                return Err(format!(
                    "it is of version {other}, and this program reads 1 to {VERSION}"
                ));
            }
        }
        let text = head.get(FRONT..FRONT + four(&head, 12) as usize);
        let text = text.filter(|t| crc32c::crc32c(t) == four(&head, 16));
        let head: Option<Head> = text.and_then(|t| serde_json::from_slice(t).ok());
        let Head { about, shard } = head.ok_or("its header is damaged")?;
        if shard != number {
            return Err(format!("it is shard {shard} by its header"));
        }
        let mut trailer = [0; TRAILER];
        let behind = bytes - TRAILER as u64;
        read_at(&file, &mut trailer, behind).map_err(words)?;
        let len = eight(&trailer, 0);
        let begin = behind.checked_sub(len).filter(|b| *b >= HEADER as u64);
        let (Some(begin), true) = (begin, trailer[12..] == MAGIC) else {
            return Err("it is cut off: it does not end as a shard does".into());
        };
        let mut footer = vec![0; len as usize];
        read_at(&file, &mut footer, begin).map_err(words)?;
        let crc = four(&trailer, 8);
        if crc32c::crc32c(&footer) != crc {
            return Err("its footer is damaged".into());
        }
        let footer = Footer::decode(&*footer).map_err(|_| "its footer is damaged")?;
        footer.check(&about, begin)?;
        Ok(Self {
            about,
            footer,
            crc,
            bytes,
        })
    }
}

/// What is known of a shard without it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::data) struct Known {
    /// Its length.
    pub bytes: u64,
    /// CRC-32C of its footer.
    pub footer: u32,
}

/// A group of images beside those to train on: its name, and how many were listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::data) struct Listing {
    /// Name of the folder, or of the split.
    pub name: String,
    /// Images listed.
    pub images: usize,
}

/// What is in the index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::data) struct Index {
    /// [`NAME`]
    pub format: String,
    /// Version of the files.
    pub version: u32,
    /// What the set is.
    pub about: About,
    /// What the data were: the beginning of their description.
    pub what: String,
    /// Images to train on that were listed.
    pub train: usize,
    /// Labelled ones that evaluation learns from.
    pub bank: Option<Listing>,
    /// Ones to test on.
    pub test: Option<Listing>,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// What was said when the set was packed.
    pub notes: Vec<String>,
    /// The shards.
    pub shards: Vec<Known>,
    /// CRC-32C of the file as it is with an empty checksum.
    pub checksum: String,
}

impl Index {
    fn fail(path: &Path, reason: String) -> DataError {
        DataError::Format {
            path: path.into(),
            reason,
        }
    }

    /// The file's text.
    pub(super) fn text(mut self) -> String {
        self.format = NAME.into();
        self.version = self.about.version();
        self.checksum = String::new();
        let bare = serde_json::to_string_pretty(&self).unwrap_or_default() + "\n";
        let sum = format!("{:08x}", crc32c::crc32c(bare.as_bytes()));
        match bare.rsplit_once(SUM) {
            Some((front, rest)) => format!("{front}{SUM}{sum}{rest}"),
            None => bare,
        }
    }

    /// Has the text the checksum that it says?
    fn is_whole(text: &str) -> bool {
        let Some((front, rest)) = text.rsplit_once(SUM) else {
            return false;
        };
        let said = rest
            .get(..8)
            .and_then(|sum| u32::from_str_radix(sum, 16).ok());
        let bare = [front, SUM, rest.get(8..).unwrap_or_default()].concat();
        said == Some(crc32c::crc32c(bare.as_bytes()))
    }

    /// Reads the index of the packed set in `folder`.
    ///
    /// # Errors
    /// None there, or one that is damaged.
    pub(in crate::data) fn read(folder: &Path) -> Result<Self, DataError> {
        let path = folder.join(INDEX);
        let bytes = std::fs::read(&path).map_err(|source| DataError::Io {
            path: path.clone(),
            source,
        })?;
        let again = "; remove it and pack again into the same folder: the shards are kept";
        let damaged = || Self::fail(&path, format!("it is damaged{again}"));
        let text = String::from_utf8(bytes).map_err(|_| damaged())?;
        let value: serde_json::Value = serde_json::from_str(&text).map_err(|_| damaged())?;
        let (format, version) = (&value["format"], &value["version"]);
        let known = version
            .as_u64()
            .filter(|v| (1..=VERSION.into()).contains(v));
        if format != NAME || known.is_none() {
            let is =
                format!("it is {format} of version {version}, which this program does not read");
            return Err(Self::fail(&path, is));
        }
        let index: Self = serde_json::from_value(value).map_err(|_| damaged())?;
        if !Self::is_whole(&text) {
            return Err(damaged());
        }
        Ok(index)
    }
}

/// The path of a shard.
pub(in crate::data) fn shard_path(folder: &Path, shard: usize) -> PathBuf {
    folder.join(shard_name(shard))
}
