//! Images that are not in memory: read and decoded when they are needed.

use super::DataError;
use super::pixels::{Facts, Reader, Reading};
use super::source::{Fault, Form, Source, read_patiently};
use super::tally::Sides;
use crate::ops::augment::words;
use rayon::ThreadPool;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

thread_local! {
    /// Buffers of a thread that decodes.
    static READER: RefCell<Reader> = RefCell::default();
}

/// What is kept in memory, and how images that are not are read.
#[derive(Clone, Copy, Debug)]
pub struct Keeping {
    /// Images of at most so many bytes are decoded before the first step and kept in memory.
    pub memory: u64,
    /// Bytes of images that are read ahead.
    pub ahead: u64,
    /// Threads that decode; 0: a thread a core but one.
    pub threads: usize,
    /// Largest share of images that cannot be read.
    pub max_bad: f64,
}

impl Default for Keeping {
    fn default() -> Self {
        Self {
            memory: 4 << 30,
            ahead: 512 << 20,
            threads: 0,
            max_bad: 1e-3,
        }
    }
}

impl Keeping {
    /// With a thread for every core where no number is asked for: beside which nothing else goes on.
    pub(super) fn alone(self) -> Self {
        let threads = match self.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        };
        Self { threads, ..self }
    }
}

/// Reads image `image` of `source` as RGB, rows, columns, into the beginning of `out`, whose rest becomes zeros. `side`
/// is the shorter one of what is kept.
///
/// # Errors
/// [`Fault`].
pub(super) fn fetch(
    source: &dyn Source,
    image: u32,
    reader: &mut Reader,
    (reading, side): (Reading, usize),
    out: &mut [u8],
) -> Result<Facts, Fault> {
    reader.spent = [Duration::ZERO; 2];
    read_patiently(source, image, reader.file())?;
    let mut facts = match source.form() {
        Form::Encoded => {
            let hint = source.name(image);
            let read = reader.decode(Path::new(&hint), reading, side as u32, out);
            read.map_err(Fault::Bad)?
        }
        Form::Pixels => {
            let kept = source.kept(image).unwrap_or((side, side));
            let (bytes, wants) = (reader.file(), 3 * kept.0 * kept.1);
            if bytes.len() != wants || wants > out.len() {
                let is = bytes.len();
                return Err(Fault::Corrupt(format!("{is} bytes where {wants} belong")));
            }
            let (image, rest) = out.split_at_mut(wants);
            image.copy_from_slice(bytes);
            rest.fill(0);
            Facts::plain((side as u32, side as u32), kept)
        }
    };
    if let Some(side) = source.side(image) {
        facts.side = side;
    }
    Ok(facts)
}

/// All images of a place, with how they are read.
#[derive(Debug)]
pub(super) struct Store {
    source: Box<dyn Source>,
    /// Images in it.
    count: usize,
    path: PathBuf,
    reading: Reading,
    side: usize,
    pub(super) keeping: Keeping,
    pool: OnceLock<Option<ThreadPool>>,
    bad: Mutex<Bad>,
    clock: Clock,
}

/// Time that reading took, all threads together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Images read.
    pub images: u64,
    /// Getting their bytes.
    pub read: Duration,
    /// Decoding these.
    pub decode: Duration,
    /// Bringing them to size.
    pub resize: Duration,
}

/// Images, and nanoseconds of the three stages.
#[derive(Debug, Default)]
struct Clock([AtomicU64; 4]);

impl Clock {
    fn add(&self, stages: [Duration; 3]) {
        let ns = stages.map(|d| d.as_nanos() as u64);
        for (sum, value) in self.0.iter().zip([1, ns[0], ns[1], ns[2]]) {
            sum.fetch_add(value, Ordering::Relaxed);
        }
    }
}

/// Images that could not be read, and how many of these have been told.
#[derive(Debug, Default)]
struct Bad {
    why: BTreeMap<u32, String>,
    untold: Vec<String>,
}

impl Store {
    /// The `count` images of `source`, brought to `side`. `path` is named in errors.
    pub(super) fn new(
        source: Box<dyn Source>,
        count: usize,
        path: &Path,
        (reading, side): (Reading, usize),
        keeping: Keeping,
    ) -> Self {
        Self {
            source,
            count,
            path: path.into(),
            reading,
            side,
            keeping,
            pool: OnceLock::new(),
            bad: Mutex::default(),
            clock: Clock::default(),
        }
    }

    /// What reading took by now.
    pub(super) fn spent(&self) -> Spent {
        let [images, read, decode, resize] =
            [0, 1, 2, 3].map(|i: usize| self.clock.0[i].load(Ordering::Relaxed));
        let of = Duration::from_nanos;
        Spent {
            images,
            read: of(read),
            decode: of(decode),
            resize: of(resize),
        }
    }

    fn bad(&self) -> MutexGuard<'_, Bad> {
        self.bad.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sides of images in their files, where the place knows them.
    pub(super) fn sides(&self, images: Range<usize>) -> Sides {
        let mut out = Sides::default();
        let known = images.filter_map(|i| self.source.side(i as u32));
        known.for_each(|side| out.add(side));
        out
    }

    /// Height and width of the room that an image has.
    fn room(&self) -> (usize, usize) {
        self.reading.kept.room(self.side)
    }

    /// Words of it.
    pub(super) fn words(&self) -> usize {
        let (height, width) = self.room();
        words(height, width)
    }

    /// Bytes of it.
    pub(super) fn bytes(&self) -> usize {
        let (height, width) = self.room();
        3 * height * width
    }

    /// Has `work` done by the threads that decode. They are made when the first image is read; where the system gives
    /// none, the caller's do it.
    pub(super) fn install<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let made = self.pool.get_or_init(|| {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            let threads = match self.keeping.threads {
                0 => cores.saturating_sub(1).max(1),
                n => n,
            };
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .thread_name(|i| format!("decode-{i}"));
            pool.build().ok()
        });
        match made {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }

    /// Reads an image, rows, columns, RGB, into the beginning of `out`, which has the room of an image.
    pub(super) fn decode(&self, image: u32, out: &mut [u8]) -> Result<Facts, Fault> {
        READER.with_borrow_mut(|reader| {
            let begin = Instant::now();
            let how = (self.reading, self.side);
            let facts = fetch(self.source.as_ref(), image, reader, how, out)?;
            let [decode, resize] = reader.spent;
            let read = begin.elapsed().saturating_sub(decode + resize);
            self.clock.add([read, decode, resize]);
            Ok(facts)
        })
    }

    /// The image's name for people.
    pub(super) fn name(&self, image: u32) -> String {
        self.source.name(image)
    }

    /// Images that may be bad before reading stops.
    fn allowed(&self) -> usize {
        (self.keeping.max_bad * self.count as f64).ceil() as usize
    }

    /// Notes that an image cannot be read.
    ///
    /// # Errors
    /// More such images than `data.max_bad` allows.
    pub(super) fn note(&self, image: u32, why: String) -> Result<(), DataError> {
        let mut bad = self.bad();
        if !bad.why.contains_key(&image) {
            let line = format!("{}: {why}", self.source.name(image));
            bad.untold.push(line.clone());
            bad.why.insert(image, line);
        }
        self.few(&bad)
    }

    /// Are the bad images no more than may be? Asked each time that one is met, whoever met them before.
    fn few(&self, bad: &Bad) -> Result<(), DataError> {
        if bad.why.len() <= self.allowed() {
            return Ok(());
        }
        let one = bad.why.values().next().map_or("", String::as_str);
        Err(DataError::Format {
            path: self.path.clone(),
            reason: format!(
                "{} images could not be read by now, of {}: more than data.max_bad = {} allows; one is {one}; \
                 `amcl-wgpu data inspect --decode` names them all",
                bad.why.len(),
                self.count,
                self.keeping.max_bad
            ),
        })
    }

    /// Is an image known to be bad?
    fn is_bad(&self, image: u32) -> Result<bool, DataError> {
        let bad = self.bad();
        let known = !bad.why.is_empty() && bad.why.contains_key(&image);
        if known {
            self.few(&bad)?;
        }
        Ok(known)
    }
}

/// Some images of a store, as those of a data set.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) store: Arc<Store>,
    images: Arc<[u32]>,
    /// Their classes; none where they have none.
    labels: Arc<[u32]>,
}

impl Stored {
    pub(super) fn new(store: Arc<Store>, images: Vec<u32>, labels: &[u32]) -> Self {
        Self {
            store,
            images: images.into(),
            labels: labels.into(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.images.len()
    }

    pub(super) fn select(&self, ids: &[usize]) -> Self {
        let of = |all: &Arc<[u32]>| ids.iter().filter_map(|i| all.get(*i).copied()).collect();
        Self {
            store: Arc::clone(&self.store),
            images: of(&self.images),
            labels: of(&self.labels),
        }
    }

    /// The images that stand in for image `i`, in the order in which they are tried: those behind it, of its own class
    /// first, so that labels stay true. It depends on no epoch and no thread.
    fn stand_ins(&self, i: usize) -> impl Iterator<Item = usize> {
        let n = self.len();
        let behind = move || (1..n).map(move |d| (i + d) % n);
        let label = self.labels.get(i).copied();
        let alike = move |j: &usize| self.labels.get(*j).copied() == label;
        let own = behind().filter(alike);
        own.chain(behind().filter(move |j| !alike(j)))
    }

    /// Reads image `i`, or another one in its place where it is bad, into the beginning of `out`, which has the room of
    /// an image; its height and width.
    pub(super) fn read(&self, i: usize, out: &mut [u8]) -> Result<(usize, usize), DataError> {
        let s = &self.store;
        for j in std::iter::once(i).chain(self.stand_ins(i)) {
            let image = self.images[j];
            if s.is_bad(image)? {
                continue;
            }
            match s.decode(image, out) {
                Ok(facts) => return Ok(facts.kept),
                Err(Fault::Bad(why)) => s.note(image, why)?,
                Err(e @ (Fault::Io(_) | Fault::Corrupt(_))) => {
                    return Err(DataError::Format {
                        path: s.path.clone(),
                        reason: format!("{}: {e}", s.source.name(image)),
                    });
                }
            }
        }
        Err(DataError::Format {
            path: s.path.clone(),
            reason: format!("none of {} images can be read", self.len()),
        })
    }

    /// Reads image `i` as words, little-endian, padded with zeros; its height and width.
    pub(super) fn read_words(&self, i: u32, out: &mut [u32]) -> Result<(usize, usize), DataError> {
        let all: &mut [u8] = bytemuck::cast_slice_mut(out);
        let (image, rest) = all.split_at_mut(self.store.bytes());
        rest.fill(0);
        let side = self.read(i as usize, image)?;
        if cfg!(target_endian = "big") {
            out.iter_mut().for_each(|w| *w = w.swap_bytes());
        }
        Ok(side)
    }

    /// Tells the storage which images come soon.
    pub(super) fn will_need(&self, ids: &[u32]) {
        let images: Vec<u32> = ids.iter().map(|i| self.images[*i as usize]).collect();
        self.store.source.will_need(&images);
    }

    /// Blocks of the images, where they are to be drawn by blocks, or where that is `asked` for and the place has
    /// blocks; and how many blocks can be in memory at once.
    pub(super) fn blocks(&self, asked: bool) -> Option<(Vec<u32>, usize)> {
        let source = &self.store.source;
        let of = || {
            let blocks = self.images.iter().map(|i| source.block(*i));
            (blocks.collect(), source.blocks_at_once())
        };
        let drawn = !source.random_access() || (asked && source.has_blocks());
        drawn.then(of)
    }

    pub(super) fn new_faults(&self) -> Vec<String> {
        std::mem::take(&mut self.store.bad().untold)
    }
}
