//! Bytes between ranks, and sums of what ranks hold. A rank is a process, or a thread, with one device and its share of
//! every batch. Engines move bytes ([`Comm`]); all sums are made here, by the ranks' numbers from 0, so that the bits
//! are the same whatever engine moves them ([`collective`]).
//!
//! [`World`] is what the floors above hold: a rank's place, and the thread that talks for it. All of a rank's calls
//! come from that thread, in the order in which they are asked for, which must be the same on every rank.

pub mod collective;
#[cfg(feature = "mpi")]
pub mod mpi;
pub mod threads;
mod underway;
mod world;

pub use underway::Underway;
pub use world::{Pending, World};

use std::time::Duration;

/// Why ranks cannot go on together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommError {
    /// A rank ended, or failed, while others counted on it.
    #[error("rank {rank} has ended: {why}")]
    Gone {
        /// Which.
        rank: usize,
        /// What it said, if anything.
        why: String,
    },
    /// A rank did not come within the time that is set.
    #[error(
        "{what}: rank {} did not come within {} s (dist.timeout_s); it stands still, or does not run any more",
        list(ranks),
        after.as_secs_f64()
    )]
    Late {
        /// The exchange that it did not come to.
        what: &'static str,
        /// Those that are missing.
        ranks: Vec<usize>,
        /// How long was waited.
        after: Duration,
    },
    /// Ranks do different things.
    #[error(
        "this rank is at `{here}` while rank {rank} is at `{there}`: ranks run different programs"
    )]
    Apart {
        /// What this one does.
        here: &'static str,
        /// The other one.
        rank: usize,
        /// What that one does.
        there: String,
    },
    /// The engine's own words.
    #[error("{0}")]
    Engine(String),
}

/// Numbers with commas between them.
fn list(ranks: &[usize]) -> String {
    let all: Vec<String> = ranks.iter().map(ToString::to_string).collect();
    all.join(", ")
}

/// Of this module's functions.
pub type Result<T> = std::result::Result<T, CommError>;

/// An exchange: what it is for, in words, and how long ranks wait for each other.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// What is exchanged.
    pub what: &'static str,
    /// The longest that a rank waits.
    pub patience: Duration,
}

/// Moves bytes between ranks. An engine is a file with this trait. It knows nothing of numbers and adds none up.
pub trait Comm: Send {
    /// This rank's number, from 0.
    fn rank(&self) -> usize;

    /// How many there are.
    fn ranks(&self) -> usize;

    /// Sends `out[q]` to rank q and fills `into[q]` with what rank q sends to this one; every rank calls it, with
    /// lengths that match. A rank's own piece is copied.
    ///
    /// # Errors
    /// A rank that ended, is late, or is at another exchange. No exchange works after an error.
    fn exchange(&mut self, call: Call, out: &[&[u8]], into: &mut [&mut [u8]]) -> Result<()>;

    /// Tells all other ranks that this one ends, and why: they fail at their next exchange, or the one under way.
    fn leave(&mut self, why: &str);
}
