//! Writes the shards of a packed set: images are decoded by the set's threads, a chunk at a time, while the chunk
//! before is written. What is written depends on the images alone, so that packing twice gives the same bytes, and one
//! that goes on where it broke off gives those of one that did not.

use super::folder::{Claim, another, free, part_of};
use super::format::{
    ALL, About, Bad, Footer, HEADER, Index, Known, Record, Shard, TRAILER, header, shard_path,
};
use super::{Facts, Packing, Records, fail};
use crate::data::pixels::Kept;
use crate::data::source::Fault;
use crate::data::stored::Store;
use crate::data::{DataError, Result};
use crate::graph::plan::mebibytes;
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use rayon::prelude::*;
use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

/// Images that a thread decodes before the chunk is written.
const CHUNK: usize = 16;
/// Images that an estimate of the bytes of all is made of: the deviation of JPEGs' sizes is some half of their mean,
/// which leaves an error of 1 / (2 sqrt(64)) = 6 %; a tenth is added.
const SAMPLE: usize = 64;
const MARGIN: f64 = 1.1;
/// Quality of JPEG records.
const QUALITY: u8 = 90;
/// Bytes of an image's line in a footer at most, but for long names.
const LINE: u64 = 160;

/// A shard that is whole.
pub(super) struct Done {
    pub footer: Footer,
    pub crc: u32,
    pub bytes: u64,
}

/// The shard that is being written. Until it has its name, it goes when this goes.
struct Part {
    file: File,
    path: PathBuf,
    footer: Footer,
    at: u64,
    named: bool,
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.named {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// An image on its way into a shard.
struct Slot {
    image: u32,
    bytes: Vec<u8>,
    crc: u32,
    read: std::result::Result<Facts, Fault>,
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            image: 0,
            bytes: Vec::new(),
            crc: 0,
            read: Err(Fault::Bad(String::new())),
        }
    }
}

/// Reads images as they are stored.
#[derive(Clone, Copy)]
struct Maker<'a> {
    store: &'a Store,
    about: &'a About,
    order: &'a [u32],
}

impl Maker<'_> {
    /// Reads the images at these places of the order.
    fn fill(&self, slots: &mut Vec<Slot>, places: Range<usize>) {
        slots.resize_with(places.len(), Slot::default);
        let images = &self.order[places];
        let work = || {
            let all = slots.par_iter_mut().zip(images);
            all.for_each_init(Vec::new, |pixels, (slot, image)| {
                self.make(slot, *image, pixels);
            });
        };
        self.store.install(work);
    }

    fn make(&self, slot: &mut Slot, image: u32, pixels: &mut Vec<u8>) {
        slot.image = image;
        let into = match self.about.records {
            Records::Raw => &mut slot.bytes,
            Records::Jpeg90 => &mut *pixels,
        };
        into.resize(self.store.bytes(), 0);
        slot.read = self.store.decode(image, into);
        if let Ok(Facts { kept, .. }) = slot.read {
            into.truncate(3 * kept.0 * kept.1);
            if self.about.records == Records::Jpeg90
                && let Err(e) = encode(pixels, kept, &mut slot.bytes)
            {
                slot.read = Err(e);
            }
        }
        slot.crc = crc32c::crc32c(&slot.bytes);
    }

    /// Bytes that the images at these places take: some, where they are estimated from a sample.
    fn bytes(&self, places: Range<usize>) -> u64 {
        let count = places.len() as u64;
        let each = match (self.about.records, self.about.stored) {
            (Records::Raw, Kept::Square) => self.store.bytes() as f64,
            _ => {
                let n = places.len().min(SAMPLE);
                let mut slots = Vec::new();
                for i in 0..n {
                    let place = places.start + i * places.len() / n;
                    slots.push(self.order[place]);
                }
                let sampled: Vec<u64> = self.store.install(|| {
                    let of = |image: &u32| {
                        let mut slot = Slot::default();
                        self.make(&mut slot, *image, &mut Vec::new());
                        slot.read.is_ok().then_some(slot.bytes.len() as u64)
                    };
                    slots.par_iter().filter_map(of).collect()
                });
                let sum: u64 = sampled.iter().sum();
                MARGIN * sum as f64 / sampled.len().max(1) as f64
            }
        };
        (each * count as f64) as u64 + LINE * count + HEADER as u64
    }
}

/// An image of this height and width as JPEG.
fn encode(
    pixels: &[u8],
    (height, width): (usize, usize),
    out: &mut Vec<u8>,
) -> std::result::Result<(), Fault> {
    out.clear();
    let mut encoder = Encoder::new(out, QUALITY);
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    encoder.set_optimized_huffman_tables(true);
    let done = encoder.encode(pixels, width as u16, height as u16, ColorType::Rgb);
    done.map_err(|e| Fault::Io(std::io::Error::other(e.to_string())))
}

/// Writes the shards.
pub(super) struct Writer<'a> {
    packing: &'a Packing<'a>,
    about: &'a About,
    maker: Maker<'a>,
    labels: &'a [Option<u32>],
    claim: Claim,
    /// The shards that are whole.
    pub(super) shards: Vec<Done>,
    /// How many of them were there before.
    pub(super) found: usize,
    /// Shards that were there, damaged, and are made anew.
    pub(super) remade: Vec<String>,
    /// The next place of the order that belongs into a shard.
    next: usize,
    part: Option<Part>,
}

impl<'a> Writer<'a> {
    /// Takes the folder, and looks at what is there already.
    ///
    /// # Errors
    /// As [`super::pack`].
    pub(super) fn new(
        packing: &'a Packing<'a>,
        about: &'a About,
        store: &'a Store,
        (order, labels): (&'a [u32], &'a [Option<u32>]),
    ) -> Result<Self> {
        let claim = Claim::new(packing.out, about)?;
        let maker = Maker {
            store,
            about,
            order,
        };
        let mut writer = Self {
            packing,
            about,
            maker,
            labels,
            claim,
            shards: Vec::new(),
            found: 0,
            remade: Vec::new(),
            next: 0,
            part: None,
        };
        writer.skip()?;
        Ok(writer)
    }

    /// Writes what is missing; false where it was stopped.
    ///
    /// # Errors
    /// As [`super::pack`].
    pub(super) fn run(&mut self) -> Result<bool> {
        self.room()?;
        let all = self.maker.order.len();
        let maker = self.maker;
        let pool = self.maker.store.install(rayon::current_num_threads);
        let (mut ready, mut coming): (Vec<Slot>, Vec<Slot>) = Default::default();
        // The places of `ready`.
        let mut first = self.next;
        loop {
            if self.packing.stop.load(Ordering::Relaxed) {
                self.part = None;
                return Ok(false);
            }
            let begin = (first + ready.len()).max(self.next);
            let places = begin..(begin + CHUNK * pool).min(all);
            if ready.is_empty() && places.is_empty() {
                break;
            }
            let written = std::thread::scope(|s| {
                let writes = s.spawn(|| self.write(first, &mut ready));
                maker.fill(&mut coming, places);
                writes.join()
            });
            match written {
                Ok(written) => written?,
                Err(panic) => std::panic::resume_unwind(panic),
            }
            std::mem::swap(&mut ready, &mut coming);
            first = begin;
        }
        self.close()?;
        Ok(true)
    }

    /// Writes images, the first of which is at place `first`. Those that a shard which was there before holds are
    /// passed over.
    fn write(&mut self, first: usize, slots: &mut [Slot]) -> Result<()> {
        let most = HEADER as u64 + ((self.packing.shard_mib as u64) << 20);
        for (place, slot) in (first..).zip(slots) {
            let len = slot.bytes.len() as u64;
            let full = |p: &Part| !p.footer.records.is_empty() && p.at + len > most;
            if slot.read.is_ok() && place >= self.next && self.part.as_ref().is_some_and(full) {
                self.close()?;
            }
            if place < self.next {
                continue;
            }
            self.put(slot)?;
            self.next = place + 1;
            (self.packing.data.progress)(self.next, self.maker.order.len());
        }
        Ok(())
    }

    /// Puts an image into the shard that is being written.
    fn put(&mut self, slot: &mut Slot) -> Result<()> {
        let name = self.maker.store.name(slot.image);
        if self.part.is_none() {
            let part = self.begin().map_err(|e| self.storage(e))?;
            self.part = Some(part);
        }
        let unread = Err(Fault::Bad(String::new()));
        match (std::mem::replace(&mut slot.read, unread), &mut self.part) {
            (Ok(facts), Some(part)) => {
                let written = part.file.write_all(&slot.bytes);
                let record = Record {
                    image: slot.image,
                    offset: part.at,
                    len: slot.bytes.len() as u32,
                    crc: slot.crc,
                    label: self.labels.get(slot.image as usize).copied().flatten(),
                    name,
                    ..Record::default()
                };
                part.at += slot.bytes.len() as u64;
                part.footer
                    .records
                    .push(record.with(facts, self.about.stored));
                written.map_err(|e| self.storage(e))
            }
            (Err(Fault::Bad(why)), Some(part)) => {
                self.maker.store.note(slot.image, why.clone())?;
                let image = slot.image;
                part.footer.bad.push(Bad { image, name, why });
                Ok(())
            }
            (Err(e), _) => Err(fail(
                self.packing.data.path.as_ref(),
                format!("{name}: {e}"),
            )),
            (Ok(_), None) => Ok(()),
        }
    }

    /// Begins the next shard.
    fn begin(&self) -> std::io::Result<Part> {
        let number = self.shards.len();
        let path = part_of(&shard_path(self.packing.out, number));
        let mut part = Part {
            file: File::create(&path)?,
            path,
            footer: Footer {
                begin: self.next as u64,
                ..Footer::default()
            },
            at: HEADER as u64,
            named: false,
        };
        part.file.write_all(&header(self.about, number))?;
        Ok(part)
    }

    /// Ends the shard that is being written: it gets its name when all of it is on the disk.
    fn close(&mut self) -> Result<()> {
        let Some(mut part) = self.part.take() else {
            return Ok(());
        };
        let ending = part.footer.ending();
        let path = shard_path(self.packing.out, self.shards.len());
        let named = part
            .file
            .write_all(&ending)
            .and_then(|()| part.file.sync_all())
            .and_then(|()| std::fs::rename(&part.path, &path));
        part.named = named.is_ok();
        let footer = std::mem::take(&mut part.footer);
        let bytes = part.at + ending.len() as u64;
        // Its file goes before the room that is left is asked for.
        drop(part);
        named.map_err(|e| self.storage(e))?;
        self.claim.sync();
        let crc = crc32c::crc32c(&ending[..ending.len() - TRAILER]);
        self.shards.push(Done { footer, crc, bytes });
        self.skip()
    }

    /// Takes the shards that are there and follow.
    fn skip(&mut self) -> Result<()> {
        loop {
            let number = self.shards.len();
            let path = shard_path(self.packing.out, number);
            if std::fs::symlink_metadata(&path).is_err() {
                return Ok(());
            }
            let shard = match Shard::read(&path, number) {
                Ok(s)
                    if s.footer.begin == self.next as u64
                        && s.footer.end() <= self.maker.order.len() as u64 =>
                {
                    s
                }
                Ok(_) => {
                    self.remade.push(format!(
                        "{}: other images belong there: made anew",
                        path.display()
                    ));
                    return Ok(());
                }
                Err(why) => {
                    self.remade
                        .push(format!("{}: {why}: made anew", path.display()));
                    return Ok(());
                }
            };
            if let Some(why) = shard.about.differs(self.about, &ALL) {
                return Err(another(&path, &why));
            }
            for b in &shard.footer.bad {
                self.maker.store.note(b.image, b.why.clone())?;
            }
            self.next = shard.footer.end() as usize;
            self.found += 1;
            self.shards.push(Done {
                footer: shard.footer,
                crc: shard.crc,
                bytes: shard.bytes,
            });
        }
    }

    /// Refuses to begin where the disk has too little room.
    fn room(&self) -> Result<()> {
        let places = self.next..self.maker.order.len();
        let Some(free) = free(self.packing.out).filter(|_| !places.is_empty()) else {
            return Ok(());
        };
        let need = self.maker.bytes(places);
        let need = need.saturating_sub(self.claim.behind(self.shards.len()));
        if need <= free {
            return Ok(());
        }
        let words = |bytes: u64| mebibytes(bytes as usize);
        let less = match self.about.records {
            Records::Raw => ", or pack JPEGs (--as jpeg90), which take about a tenth",
            Records::Jpeg90 => "",
        };
        Err(fail(
            self.packing.out,
            format!(
                "packing takes some {} more, and {} are free there: {} are missing; free some space, name another \
                 folder{less}",
                words(need),
                words(free),
                words(need - free)
            ),
        ))
    }

    /// Why a shard could not be written. Of a full disk it says how much is missing; the part is removed before.
    fn storage(&mut self, source: std::io::Error) -> DataError {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        let written = self
            .part
            .take()
            .map_or(self.next as u64, |p| p.footer.begin);
        let path = self.packing.out.to_path_buf();
        if !matches!(source.kind(), StorageFull | QuotaExceeded) {
            return DataError::Io { path, source };
        }
        let rest = written as usize..self.maker.order.len();
        let need = self.maker.bytes(rest);
        let missing = need.saturating_sub(free(&path).unwrap_or(0));
        let kept = match self.shards.len() {
            1 => "1 finished shard is kept".into(),
            n => format!("{n} finished shards are kept"),
        };
        let reason = format!(
            "{source}: some {} are missing; {kept}: free some space and run it again, and it goes on from there",
            mebibytes(missing as usize)
        );
        fail(&path, reason)
    }

    /// What the index says of the shards.
    pub(super) fn known(&self) -> Vec<Known> {
        let of = |s: &Done| Known {
            bytes: s.bytes,
            footer: s.crc,
        };
        self.shards.iter().map(of).collect()
    }

    /// Writes the index, which makes the set whole.
    ///
    /// # Errors
    /// The disk.
    pub(super) fn finish(&mut self, index: Index) -> Result<()> {
        let written = self.claim.finish(&index.text());
        written.map_err(|e| self.storage(e))
    }
}
