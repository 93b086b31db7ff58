//! Batches that are read and decoded while those before them train.
//!
//! A thread walks over the coming batches in their order, and decodes each with the set's own threads into a buffer of
//! its own. There are as many buffers as `data.readahead_mib` holds, two at least; a buffer that a step is done with is
//! filled again. What is in a batch depends on its ids alone, so bits depend neither on threads nor on timing.

use super::dataset::Dataset;
use super::packed::{Images, Packed, fill, pack_stored};
use super::stored::Stored;
use super::{DataError, Result};
use crate::ops::augment::words;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// So long without a batch is said.
const LONG: Duration = Duration::from_secs(30);

/// Share of the bytes that training reads ahead.
pub const TRAINING: f64 = 0.75;

/// The images of a batch, as they go to the device.
#[derive(Debug, Default)]
struct Batch {
    ids: Vec<u32>,
    images: Packed,
}

/// Batches of a set that is not in memory, read ahead in a known order.
#[derive(Debug)]
pub struct Ahead {
    stored: Stored,
    ready: Receiver<Result<Batch>>,
    free: Sender<Packed>,
    /// The batch at hand.
    now: Mutex<Batch>,
    stop: Arc<AtomicBool>,
    waited: Duration,
    thread: Option<JoinHandle<()>>,
    /// Buffers that were made.
    made: Arc<AtomicUsize>,
    bytes: usize,
}

impl Ahead {
    /// Begins to read `batches` of `data`, each of at most `most` images, in the order in which they will be asked for.
    /// `share`: of the bytes that are read ahead (`data.readahead_mib`). None where all images are in memory.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn new(
        data: &Dataset,
        batches: impl Iterator<Item = Vec<u32>> + Send + 'static,
        most: usize,
        share: f64,
    ) -> Result<Option<Self>> {
        let Some(stored) = data.stored.clone() else {
            return Ok(None);
        };
        let words = words(data.height, data.width);
        let bytes = (4 * words * most).max(1);
        let ahead = stored.store.keeping.ahead as f64 * share;
        let buffers = ((ahead / bytes as f64) as usize).max(2);
        let (filled, ready) = sync_channel(buffers);
        let (free, emptied) = channel();
        let (stop, made) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let producer = Producer {
            stored: stored.clone(),
            buffers,
            stop: Arc::clone(&stop),
            made: Arc::clone(&made),
        };
        let thread = std::thread::Builder::new()
            .name("read-ahead".into())
            .spawn(move || producer.run(batches, &emptied, &filled))
            .map_err(|source| DataError::Io {
                path: "read-ahead".into(),
                source,
            })?;
        Ok(Some(Self {
            stored,
            ready,
            free,
            now: Mutex::default(),
            stop,
            waited: Duration::ZERO,
            thread: Some(thread),
            made,
            bytes,
        }))
    }

    /// As [`Ahead::new`], of the images of a range in their order, `batch` at a time, by a quarter of the bytes: that is how
    /// evaluation reads, while what training has read ahead waits.
    ///
    /// # Errors
    /// As [`Ahead::new`].
    pub fn in_order(data: &Dataset, range: Range<usize>, batch: usize) -> Result<Option<Self>> {
        let (first, end, step) = (range.start as u32, range.end as u32, batch as u32);
        let batches = (first..end)
            .step_by(batch)
            .map(move |b| (b..end.min(b + step)).collect());
        Self::new(data, batches, batch, 1.0 - TRAINING)
    }

    /// The images of a set: read ahead, or in memory.
    pub fn or<'a>(ahead: Option<&'a Self>, data: &'a Dataset) -> &'a dyn Images {
        match ahead {
            Some(ahead) => ahead,
            None => data,
        }
    }

    /// Makes `ids` the batch at hand, waiting for it if need be; `slow` is told, in words, of a wait that is long.
    ///
    /// # Errors
    /// As [`Dataset::image`].
    pub fn next(&mut self, ids: &[u32], slow: &mut dyn FnMut(String)) -> Result<()> {
        let now = self.now.get_mut().unwrap_or_else(PoisonError::into_inner);
        if now.ids == ids {
            return Ok(());
        }
        let before = std::mem::take(now);
        // A buffer that was handed out and not given back is replaced by an empty one, or the reading would stop.
        if !before.ids.is_empty() {
            let _ = self.free.send(before.images);
        }
        let begin = Instant::now();
        *now = loop {
            match self.ready.recv_timeout(LONG) {
                Ok(batch) => break batch?,
                Err(RecvTimeoutError::Timeout) => slow(format!(
                    "waiting for images since {} s: the storage is slow or does not answer",
                    begin.elapsed().as_secs()
                )),
                // More was asked for than was announced: it is read now.
                Err(RecvTimeoutError::Disconnected) => {
                    let images = pack_stored(&self.stored, ids)?;
                    let ids = ids.to_vec();
                    break Batch { ids, images };
                }
            }
        };
        self.waited += begin.elapsed();
        Ok(())
    }

    /// How long steps have waited for images.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// Bytes of all buffers.
    pub fn bytes(&self) -> usize {
        self.made.load(Ordering::Relaxed) * self.bytes
    }
}

impl Images for Ahead {
    fn packed(&self, ids: &[u32]) -> Result<Packed> {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let Batch { ids: all, images } = &mut *now;
        let there = !images.words.is_empty();
        if all == ids && there {
            return Ok(std::mem::take(images));
        }
        let mut parts = all.windows(ids.len().max(1));
        match parts.position(|part| part == ids).filter(|_| there) {
            Some(at) => Ok(images.part(at..at + ids.len())),
            None => pack_stored(&self.stored, ids),
        }
    }

    fn done(&self, images: Packed) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        // A part of a batch is a copy, and given up.
        if now.images.words.is_empty() {
            now.images = images;
        }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A producer that waits for room is let go by what it sends to being gone, one that waits for a buffer by
        // one.
        let (_, ready) = sync_channel(0);
        self.ready = ready;
        let _ = self.free.send(Packed::default());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The thread's side.
struct Producer {
    stored: Stored,
    buffers: usize,
    stop: Arc<AtomicBool>,
    made: Arc<AtomicUsize>,
}

impl Producer {
    fn run(
        self,
        batches: impl Iterator<Item = Vec<u32>>,
        emptied: &Receiver<Packed>,
        filled: &SyncSender<Result<Batch>>,
    ) {
        let mut batches = batches.peekable();
        if let Some(first) = batches.peek() {
            self.stored.will_need(first);
        }
        while let Some(ids) = batches.next() {
            // The storage begins with the next batch while this one is decoded.
            if let Some(next) = batches.peek() {
                self.stored.will_need(next);
            }
            let buffer = match emptied.try_recv() {
                Ok(buffer) => buffer,
                Err(_) if self.made.load(Ordering::Relaxed) < self.buffers => {
                    self.made.fetch_add(1, Ordering::Relaxed);
                    Packed::default()
                }
                Err(_) => match emptied.recv() {
                    Ok(buffer) => buffer,
                    Err(_) => return,
                },
            };
            let batch = self.fill(ids, buffer);
            let failed = batch.is_err();
            if self.stop.load(Ordering::Relaxed) || filled.send(batch).is_err() || failed {
                return;
            }
        }
    }

    fn fill(&self, ids: Vec<u32>, mut images: Packed) -> Result<Batch> {
        let stop = || self.stop.load(Ordering::Relaxed);
        fill(&self.stored, &ids, &mut images, &stop)?;
        Ok(Batch { ids, images })
    }
}
