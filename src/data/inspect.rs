//! Looking at all images of a set without keeping them.

use super::source::Fault;
use super::stored::Store;
use super::tally::Tally;
use super::{Dataset, Request, Result, Spent, able, divided, listed};
use rayon::prelude::*;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Images whose results are held at a time.
const CHUNK: usize = 4096;
/// Images that means are taken of, where pixels are not in memory.
pub const SAMPLE: usize = 1000;

/// Sums over the values of each channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Channels {
    sum: [u64; 3],
    square: [u64; 3],
    pixels: u64,
}

impl Channels {
    /// Adds pixels, RGB.
    pub fn add(&mut self, pixels: &[u8]) {
        for px in pixels.chunks_exact(3) {
            for (c, v) in px.iter().enumerate() {
                let v = u64::from(*v);
                self.sum[c] += v;
                self.square[c] += v * v;
            }
        }
        self.pixels += (pixels.len() / 3) as u64;
    }

    fn join(&mut self, other: &Self) {
        for c in 0..3 {
            self.sum[c] += other.sum[c];
            self.square[c] += other.square[c];
        }
        self.pixels += other.pixels;
    }

    /// Means of values in 0..1.
    pub fn mean(&self) -> [f64; 3] {
        let n = self.pixels.max(1) as f64;
        self.sum.map(|s| s as f64 / n / 255.0)
    }

    /// Deviations of values in 0..1.
    pub fn deviation(&self) -> [f64; 3] {
        let (n, mean) = (self.pixels.max(1) as f64, self.mean());
        let of = |c: usize| self.square[c] as f64 / n / 65025.0 - mean[c] * mean[c];
        [0, 1, 2].map(|c| of(c).max(0.0).sqrt())
    }
}

/// The channels of a data set, and of how many of its images: of all, or, where pixels are not in memory, of
/// [`SAMPLE`] at equal distances.
///
/// # Errors
/// As [`Dataset::image`].
pub fn channels(d: &Dataset) -> Result<(Channels, usize)> {
    let mut out = Channels::default();
    if d.resident() {
        for i in 0..d.len() {
            out.add(&d.image(i)?);
        }
        return Ok((out, d.len()));
    }
    let count = d.len().min(SAMPLE);
    let each: Vec<Channels> = (0..count)
        .into_par_iter()
        .map(|i| {
            let mut out = Channels::default();
            out.add(&d.image(i * d.len() / count)?);
            Ok(out)
        })
        .collect::<Result<_>>()?;
    each.iter().for_each(|c| out.join(c));
    Ok((out, count))
}

/// What looking at all images found.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// Images of all parts that were looked at.
    pub images: usize,
    /// Those that cannot be read.
    pub bad: usize,
    /// Those among them that a packed set holds and are not as they were written.
    pub damaged: usize,
    /// Each of these with the reason, and what is odd about others, a line a kind.
    pub notes: Vec<String>,
    /// Means and deviations of the training images.
    pub channels: Channels,
    /// Threads that worked.
    pub threads: usize,
    /// How long it took.
    pub elapsed: Duration,
    /// How long the stages took, all threads together.
    pub spent: Spent,
}

/// Reads and decodes every image of a set, and keeps none. None for sets that are in memory as a whole: opening them
/// reads all of them.
///
/// # Errors
/// Nothing known there.
pub fn decode_all(r: &Request<'_>) -> Result<Option<Inspection>> {
    let path = Path::new(r.path);
    let Some(listed) = listed::files(path)? else {
        return Ok(None);
    };
    able(r)?;
    let listed = divided(listed, r.list)?;
    listed.check(r)?;
    let names: Vec<_> = listed.parts.entries().map(|(p, _)| p.clone()).collect();
    let (count, training) = (names.len(), listed.parts.train.len());
    let source = listed.place.source(names);
    let how = (r.reading, r.stored_size);
    let store = Store::new(source, count, &listed.path, how, r.keeping.alone());
    let bytes = store.bytes();
    let (mut tally, mut channels, mut damaged) = (Tally::default(), Channels::default(), 0);
    let (begin, done) = (Instant::now(), AtomicUsize::new(0));
    for first in (0..count).step_by(CHUNK) {
        let images = first..(first + CHUNK).min(count);
        let look = |out: &mut Vec<u8>, image: usize| {
            out.resize(bytes, 0);
            let facts = store.decode(image as u32, out);
            let mut channels = Channels::default();
            if let (Ok(facts), true) = (&facts, image < training) {
                channels.add(&out[..3 * facts.kept.0 * facts.kept.1]);
            }
            (r.progress)(done.fetch_add(1, Ordering::Relaxed) + 1, count);
            (facts, channels)
        };
        let work = || images.into_par_iter().map_init(Vec::new, look).collect();
        let found: Vec<_> = store.install(work);
        for (image, (facts, of)) in (first as u32..).zip(found) {
            let name = store.name(image);
            channels.join(&of);
            match facts {
                Ok(facts) => tally.add(&name, facts),
                Err(e) => {
                    damaged += usize::from(matches!(e, Fault::Corrupt(_)));
                    tally.fail(&name, &e.to_string());
                }
            }
        }
    }
    Ok(Some(Inspection {
        images: count,
        bad: tally.failures(),
        damaged,
        notes: tally.warnings(r.reading, usize::MAX),
        channels,
        threads: store.install(rayon::current_num_threads),
        elapsed: begin.elapsed(),
        spent: store.spent(),
    }))
}
