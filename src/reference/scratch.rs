//! Memory for intermediate results inside twins: transformed tiles, columns, packed operands, partial sums. A buffer is
//! taken when it is needed, given back when it is dropped, and kept for the next, so that a training allocates in its
//! first steps and never after.
//!
//! There are two kinds.
//! - `shared` is for the thread that runs the nodes and hands the buffer out to tasks. The process has one list.
//! - `local` is for code inside a task, which must not hold it while it waits for other tasks. Each thread has one
//!   buffer for each depth of taking: at depth 0 a task's columns, at depth 1 the packed operands of a product inside
//!   that task.
//!
//! Which thread computes what is left to chance, so a thread could need its largest buffer for the first time after
//! many steps. Therefore a thread that grows a buffer records its size for all threads, and [`settle`], at the end of a
//! run, gives every thread of the pool buffers of the largest size that any thread has needed.
//!
//! A buffer's contents are left over from its last use (NaN with debug assertions). Whoever takes it writes before
//! reading.

use bytemuck::Pod;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

/// Buffers are made of cache lines, so that every element type is aligned, and packed operands start a cache line.
#[derive(Clone, Copy, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(C, align(64))]
struct Line([u8; 64]);

type Buffer = Vec<Line>;

/// Depths whose sizes are recorded for all threads. Twins need three.
const DEPTHS: usize = 6;

/// Lines that some thread has needed at each depth.
static NEEDED: [AtomicUsize; DEPTHS] = [const { AtomicUsize::new(0) }; DEPTHS];
/// Some thread has grown a buffer since the last [`settle`].
static GREW: AtomicBool = AtomicBool::new(false);
/// Bytes of all buffers.
static BYTES: AtomicUsize = AtomicUsize::new(0);
/// Shared buffers that are not taken.
static SHARED: Mutex<Vec<Buffer>> = Mutex::new(Vec::new());

/// A thread's buffers by depth, and how many of them are taken.
struct Local {
    taken: usize,
    buffers: Vec<Buffer>,
}

impl Drop for Local {
    fn drop(&mut self) {
        let lines: usize = self.buffers.iter().map(Vec::len).sum();
        BYTES.fetch_sub(lines * size_of::<Line>(), Relaxed);
    }
}

thread_local! {
    static LOCAL: RefCell<Local> = const { RefCell::new(Local { taken: 0, buffers: Vec::new() }) };
}

/// Makes a buffer at least `lines` long; true when it was shorter.
fn grow(buffer: &mut Buffer, lines: usize) -> bool {
    let missing = lines.saturating_sub(buffer.len());
    if missing > 0 {
        // The old buffer is freed first: its contents need not be copied.
        *buffer = Vec::new();
        *buffer = vec![Line([0; 64]); lines];
        BYTES.fetch_add(missing * size_of::<Line>(), Relaxed);
    }
    missing > 0
}

/// Elements that were taken; given back when dropped.
pub(super) struct Scratch<T> {
    buffer: Buffer,
    len: usize,
    /// A local buffer's depth; none for a shared one.
    depth: Option<usize>,
    /// A raw pointer, so that it is not `Send`: a thread gives back what it took.
    kind: PhantomData<*mut T>,
}

impl<T: Pod> Scratch<T> {
    fn new(mut buffer: Buffer, len: usize, depth: Option<usize>) -> Self {
        let lines = (len * size_of::<T>()).div_ceil(size_of::<Line>());
        if grow(&mut buffer, lines)
            && let Some(needed) = depth.and_then(|d| NEEDED.get(d))
        {
            needed.fetch_max(lines, Relaxed);
            GREW.store(true, Relaxed);
        }
        if cfg!(debug_assertions) {
            buffer[..lines].fill(Line([255; 64]));
        }
        Self {
            buffer,
            len,
            depth,
            kind: PhantomData,
        }
    }
}

impl<T> Drop for Scratch<T> {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        match self.depth {
            Some(depth) => LOCAL.with_borrow_mut(|l| {
                l.taken -= 1;
                debug_assert_eq!(depth, l.taken, "scratch is given back in order");
                l.buffers[depth] = buffer;
            }),
            None => {
                if let Ok(mut all) = SHARED.lock() {
                    all.push(buffer);
                }
            }
        }
    }
}

impl<T: Pod> Deref for Scratch<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &bytemuck::cast_slice(&self.buffer)[..self.len]
    }
}

impl<T: Pod> DerefMut for Scratch<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut bytemuck::cast_slice_mut(&mut self.buffer)[..self.len]
    }
}

/// `len` elements for the thread that hands out tasks.
pub(super) fn shared<T: Pod>(len: usize) -> Scratch<T> {
    let buffer = SHARED.lock().ok().and_then(|mut all| all.pop());
    Scratch::new(buffer.unwrap_or_default(), len, None)
}

/// `len` elements for a task on the thread that runs it. The task must not wait for other tasks while it holds them,
/// because its thread might begin one of those, which would take the same depth.
pub(super) fn local<T: Pod>(len: usize) -> Scratch<T> {
    let (buffer, depth) = LOCAL.with_borrow_mut(|l| {
        let depth = l.taken;
        l.taken += 1;
        if l.buffers.len() < l.taken {
            l.buffers.resize_with(l.taken.max(DEPTHS), Vec::new);
        }
        (std::mem::take(&mut l.buffers[depth]), depth)
    });
    Scratch::new(buffer, len, Some(depth))
}

/// Neighbouring pieces of the given lengths.
#[inline(always)]
pub(super) fn split<T, const N: usize>(mut from: &mut [T], lens: [usize; N]) -> [&mut [T]; N] {
    lens.map(|len| {
        let (piece, rest) = std::mem::take(&mut from).split_at_mut(len);
        from = rest;
        piece
    })
}

/// After a run: gives all threads of the pool buffers as large as any thread has needed, if one has grown.
pub fn settle() {
    if !GREW.swap(false, Relaxed) {
        return;
    }
    rayon::broadcast(|_| {
        LOCAL.with_borrow_mut(|l| {
            l.buffers.resize_with(l.buffers.len().max(DEPTHS), Vec::new);
            // Buffers that the thread holds at this moment belong to another executor's task.
            let taken = l.taken;
            for (buffer, lines) in l.buffers.iter_mut().zip(&NEEDED).skip(taken) {
                grow(buffer, lines.load(Relaxed));
            }
        });
    });
}

/// Bytes that all buffers have.
pub fn bytes() -> usize {
    BYTES.load(Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taken_again_is_the_same_memory() {
        let first = {
            let mut a = local::<f32>(100);
            a.fill(1.0);
            let b = local::<u32>(7);
            assert_eq!((a.len(), b.len()), (100, 7));
            assert_ne!(a.as_ptr().cast::<u32>(), b.as_ptr());
            a.as_ptr()
        };
        let again = local::<f32>(90);
        assert_eq!(again.as_ptr(), first);
        assert_eq!(first.align_offset(64), 0);
        // A larger one grows the buffer, and after that all threads have it.
        drop(again);
        drop(local::<f64>(1 << 16));
        let all_have_it = || {
            settle();
            let all =
                rayon::broadcast(|_| LOCAL.with_borrow(|l| l.buffers.first().map_or(0, Vec::len)));
            all.iter().all(|n| *n >= 1 << 13)
        };
        // This holds at once, unless a test beside this one is settling at the same moment.
        let soon = |_| {
            all_have_it() || {
                std::thread::sleep(std::time::Duration::from_millis(10));
                false
            }
        };
        assert!((0..500).any(soon));
        assert!(bytes() >= 1 << 19);
    }

    #[test]
    fn pieces_lie_side_by_side() {
        let mut all = shared::<f64>(10);
        all.fill(0.0);
        let [a, b, c] = split(&mut all, [2, 5, 3]);
        (a[1], b[0], c[2]) = (1.0, 2.0, 3.0);
        assert_eq!((all[1], all[2], all[9]), (1.0, 2.0, 3.0));
    }
}
