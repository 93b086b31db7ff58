//! How a batch is cut into parts, and which rank has which.

use super::{Config, ConfigError, Result};
use std::ops::Range;

impl Config {
    /// Parts of a batch: the micro-batches of all ranks.
    pub fn parts(&self) -> usize {
        let shares = &self.dist.shares;
        let of_ranks = match shares.is_empty() {
            true => self.dist.ranks,
            false => shares.iter().sum(),
        };
        of_ranks * self.optim.micro_batches
    }

    /// Parts of a batch that a rank has: its micro-batches.
    pub fn parts_of(&self, rank: usize) -> usize {
        self.dist.shares.get(rank).unwrap_or(&1) * self.optim.micro_batches
    }

    /// Images of a part.
    pub fn part(&self) -> usize {
        self.optim.batch_size / self.parts()
    }

    /// Where a rank's images stand in a batch.
    pub fn share(&self, rank: usize) -> Range<usize> {
        let before: usize = (0..rank).map(|r| self.parts_of(r)).sum();
        let part = self.part();
        before * part..(before + self.parts_of(rank)) * part
    }

    /// Has some rank more than one part of a batch?
    pub fn has_micro_batches(&self) -> bool {
        self.optim.micro_batches > 1 || self.dist.shares.iter().any(|n| *n > 1)
    }

    /// What the loss of one micro-batch is divided by: the loss of a rank is the sum over its micro-batches, and the
    /// batch's is the ranks' mean.
    pub fn divisor(&self) -> f64 {
        self.parts() as f64 / self.dist.ranks as f64
    }

    /// Micro-batches, and ranks, must be equal parts of a batch.
    pub(super) fn can_be_cut(&self) -> Result<()> {
        let (o, parts) = (&self.optim, self.parts());
        if o.batch_size.is_multiple_of(parts) && o.batch_size / parts >= 2 {
            return Ok(());
        }
        let of_ranks = match self.dist.ranks {
            1 => String::new(),
            ranks => {
                let below = (o.batch_size / parts).max(2) * parts;
                format!(
                    " of each of {ranks} ranks: {below} or {} images are",
                    below + parts
                )
            }
        };
        Err(ConfigError(format!(
            "optim.batch_size {} must be a multiple of optim.micro_batches {}{of_ranks} with at least 2 images each",
            o.batch_size, o.micro_batches
        )))
    }
}
