//! The order of samples: a function of seed and epoch alone, so that a resumed run needs no sampler state, and threads
//! and ranks change nothing.

use super::{DataError, Dataset, Result};
use crate::reference::philox::{Purpose, Stream};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;

/// Images of a block, where the place that holds them has none of its own.
const BLOCK: usize = 256;

/// Blocks that are shuffled together, ...
const TOGETHER: usize = 8;

/// ... or as many as hold this many batches.
const BATCHES: usize = 64;

/// How the images of an epoch are shuffled, `data.shuffle`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shuffle {
    /// As one of the others: by blocks where images are read cheaply only together with others (parquet files that are
    /// not kept in memory), else all together.
    #[default]
    Auto,
    /// All images together: each order is as likely as any other.
    Full,
    /// Blocks of images in a random order, and the images of some of these blocks together: what lies together is read
    /// together, as disks with a moving arm and network file systems want it.
    Blocks,
}

/// A random permutation of 0..n (Fisher-Yates) for one epoch.
pub fn permutation(n: usize, seed: u64, epoch: u32) -> Vec<u32> {
    let mut order: Vec<u32> = (0..n as u32).collect();
    shuffle(
        &mut order,
        &mut Stream::new(seed, epoch, 0, Purpose::Shuffle),
    );
    order
}

fn shuffle<T>(items: &mut [T], stream: &mut Stream) {
    for i in (1..items.len()).rev() {
        items.swap(i, stream.below(i + 1));
    }
}

/// The order of the samples of every epoch.
#[derive(Clone, Debug)]
pub struct Order {
    samples: usize,
    seed: u64,
    blocks: Option<Blocks>,
}

/// How samples are shuffled by blocks.
#[derive(Clone, Debug)]
struct Blocks {
    /// Samples of each block.
    all: Arc<Vec<Vec<u32>>>,
    /// So many samples at least are shuffled together, ...
    samples: usize,
    /// ... but no more than so many blocks: those that can be in memory at once.
    most: usize,
}

impl Order {
    /// The order of `data`, of which a step takes `batch`.
    ///
    /// # Errors
    /// Blocks that would put too many images of one class into a batch.
    pub fn new(data: &Dataset, how: Shuffle, batch: usize, seed: u64) -> Result<Self> {
        let n = data.len();
        let asked = how == Shuffle::Blocks;
        let own = data.stored.as_ref().and_then(|s| s.blocks(asked));
        let blocks = match (how, own) {
            (Shuffle::Full, _) | (Shuffle::Auto, None) => None,
            (_, Some((of, most))) => Some((together(&of), most.max(2))),
            (Shuffle::Blocks, None) => {
                let all: Vec<u32> = (0..n as u32).collect();
                let blocks = all.chunks(BLOCK).map(<[u32]>::to_vec);
                Some((blocks.collect(), usize::MAX))
            }
        };
        let order = Self {
            samples: n,
            seed,
            blocks: blocks.map(|(all, most): (Vec<Vec<u32>>, usize)| Blocks {
                all: Arc::new(all),
                samples: BATCHES * batch,
                most,
            }),
        };
        if order.blocks.is_some()
            && let Some(why) = uneven(&order.of(0), &data.labels, batch)
        {
            return Err(DataError::Format {
                path: Path::new("data.shuffle").into(),
                reason: format!(
                    "images are shuffled by blocks, and {why}: images of a class lie together. Pack them once, and \
                     train on the packed set (amcl-wgpu data pack), or say data.shuffle = \"full\", which reads such \
                     files slowly"
                ),
            });
        }
        Ok(order)
    }

    /// Are samples shuffled by blocks, because images are read cheaply only together with others?
    pub fn is_by_blocks(&self) -> bool {
        self.blocks.is_some()
    }

    /// The samples of an epoch.
    pub fn of(&self, epoch: usize) -> Vec<u32> {
        let Some(blocks) = &self.blocks else {
            return permutation(self.samples, self.seed, epoch as u32);
        };
        let mut stream = Stream::new(self.seed, epoch as u32, 0, Purpose::Shuffle);
        let mut places: Vec<usize> = (0..blocks.all.len()).collect();
        shuffle(&mut places, &mut stream);
        let mut out = Vec::with_capacity(self.samples);
        let (mut begin, mut held) = (0, 0);
        for place in places {
            out.extend_from_slice(&blocks.all[place]);
            held += 1;
            let enough = held >= TOGETHER && out.len() - begin >= blocks.samples;
            if enough || held >= blocks.most {
                shuffle(&mut out[begin..], &mut stream);
                (begin, held) = (out.len(), 0);
            }
        }
        shuffle(&mut out[begin..], &mut stream);
        out
    }
}

/// Samples by block, of the block of each.
fn together(of: &[u32]) -> Vec<Vec<u32>> {
    let most = of.iter().max().map_or(0, |m| *m as usize + 1);
    let mut blocks = vec![Vec::new(); most];
    for (sample, block) in (0..).zip(of) {
        blocks[*block as usize].push(sample);
    }
    blocks.retain(|b| !b.is_empty());
    blocks
}

/// Why an order mixes classes too little, in words; none where it mixes them as a permutation does. Of a class with
/// share p, a batch of B from a permutation has more than Bp + 4 sqrt(Bp(1-p)) + 1 images once in more than ten
/// thousand batches; one batch in a hundred is told from that with certainty.
fn uneven(order: &[u32], labels: &[u32], batch: usize) -> Option<String> {
    let classes = labels.iter().max().map_or(0, |m| *m as usize + 1);
    if classes < 2 {
        return None;
    }
    let mut all = vec![0usize; classes];
    labels.iter().for_each(|l| all[*l as usize] += 1);
    let n = labels.len() as f64;
    let most: Vec<f64> = all
        .iter()
        .map(|count| {
            let p = *count as f64 / n;
            let mean = batch as f64 * p;
            mean + 4.0 * (mean * (1.0 - p)).sqrt() + 1.0
        })
        .collect();
    let batches = order.chunks_exact(batch);
    let count = batches.len();
    let bad = batches
        .filter(|part| {
            let mut seen = vec![0usize; classes];
            part.iter()
                .for_each(|i| seen[labels[*i as usize] as usize] += 1);
            seen.iter().zip(&most).any(|(s, most)| *s as f64 > *most)
        })
        .count();
    (bad * 100 > count).then(|| {
        format!(
            "{bad} of {count} batches of an epoch would have more images of one class than chance gives"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_a_permutation_and_differs_between_epochs() {
        let a = permutation(100, 1, 0);
        let mut sorted = a.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<u32>>());
        assert_eq!(a, permutation(100, 1, 0));
        assert_ne!(a, permutation(100, 1, 1));
        assert_ne!(a, permutation(100, 2, 0));
    }

    fn set(labels: Vec<u32>) -> Dataset {
        Dataset {
            images: vec![0; 3 * labels.len()],
            labels,
            ..Dataset::empty(1, 1)
        }
    }

    #[test]
    fn blocks_give_each_sample_once_in_an_order_of_seed_and_epoch() {
        let n = 100_000;
        let data = set((0..n).map(|i| i % 10).collect());
        let order = Order::new(&data, Shuffle::Blocks, 16, 3).unwrap();
        let a = order.of(0);
        let mut sorted = a.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..n).collect::<Vec<u32>>());
        assert_eq!(a, order.of(0));
        assert_ne!(a, order.of(1));
        assert_ne!(a, permutation(n as usize, 3, 0));
        // What is shuffled together comes from eight blocks: the first 2,048 samples are no more than these.
        let blocks: std::collections::BTreeSet<u32> = a[..2048].iter().map(|i| i / 256).collect();
        assert_eq!(blocks.len(), 8);
        // Position and sample are unrelated: the correlation of n pairs has a deviation of 1/sqrt(blocks) = 0.05.
        let mean = f64::from(n - 1) / 2.0;
        let of = |x: f64| x - mean;
        let both: f64 = a
            .iter()
            .enumerate()
            .map(|(p, i)| of(p as f64) * of(f64::from(*i)))
            .sum();
        let own: f64 = (0..n).map(|i| of(f64::from(i)).powi(2)).sum();
        assert!((both / own).abs() < 0.2, "{}", both / own);
    }

    #[test]
    fn no_more_blocks_are_shuffled_together_than_can_be_kept() {
        let data = set((0..4096).map(|i| i % 2).collect());
        let mut order = Order::new(&data, Shuffle::Blocks, 64, 3).unwrap();
        let together = |order: &Order| {
            let first = &order.of(0)[..768];
            let blocks: std::collections::BTreeSet<u32> = first.iter().map(|i| i / 256).collect();
            blocks.len()
        };
        // 64 batches of 64 are all there are.
        assert!(together(&order) > 8);
        order.blocks.as_mut().unwrap().most = 3;
        assert_eq!(together(&order), 3);
        let mut all = order.of(1);
        all.sort_unstable();
        assert_eq!(all, (0..4096).collect::<Vec<u32>>());
    }

    #[test]
    fn classes_that_lie_together_are_refused_by_blocks_and_not_by_permutations() {
        let sorted = set((0..20_000).map(|i| i / 2000).collect());
        let e = Order::new(&sorted, Shuffle::Blocks, 64, 1).unwrap_err();
        assert!(
            e.to_string().contains("images of a class lie together"),
            "{e}"
        );
        assert!(Order::new(&sorted, Shuffle::Full, 64, 1).is_ok());
        let mixed = set((0..20_000).map(|i| i % 10).collect());
        assert!(Order::new(&mixed, Shuffle::Blocks, 64, 1).is_ok());
    }
}
