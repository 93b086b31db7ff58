//! What a method draws for every image of a step, and the batch that its graph is built on. All draws depend on
//! (seed, epoch, sample, purpose) alone: not on the place in the batch, on threads, ranks or the device. Images are
//! named by their ids and fetched when a step is sent, so a set need not be in memory.

use crate::graph::{Graph, TensorId, TensorType};
use crate::reference::philox::Stream;
pub use crate::reference::pixel_noise::WORDS;
use std::ops::Range;

/// Which views a method takes of every image, [n,s,s,3] each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Views {
    /// One.
    One,
    /// Two, as two tensors: each has batch statistics of its own.
    Two,
    /// Two as one tensor, [2n,s,s,3]; rows 0..n are the first view of each image.
    TwoStacked,
}

impl Views {
    /// Views of an image.
    pub fn count(self) -> usize {
        match self {
            Self::One => 1,
            Self::Two | Self::TwoStacked => 2,
        }
    }

    /// Tensors that hold them.
    pub fn tensors(self) -> usize {
        match self {
            Self::One | Self::TwoStacked => 1,
            Self::Two => 2,
        }
    }
}

/// How numbers are distributed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Distribution {
    /// Uniform in [low, high): ranks of a mask, noise levels.
    Uniform(f32, f32),
    /// Normal with this deviation.
    Normal(f32),
}

/// Numbers that are drawn for every view of every image, beside what its augmentation needs: [views n, each], rows as
/// those of stacked views.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Numbers {
    /// What they are, for messages: `mask`, `noise level`.
    pub name: &'static str,
    /// Numbers of a view.
    pub each: usize,
    /// How they are distributed.
    pub distribution: Distribution,
}

impl Numbers {
    /// Draws the numbers of `views` views of the samples `ids`; `index`: the place in [`Draws::numbers`], which keeps
    /// two lists apart.
    pub fn draw(
        &self,
        index: usize,
        views: usize,
        ids: &[u32],
        (seed, epoch): (u64, u32),
    ) -> Vec<f32> {
        let mut out = Vec::with_capacity(views * ids.len() * self.each);
        for view in 0..views {
            for id in ids {
                let mut s = number(seed, epoch, *id, (index, view));
                out.extend((0..self.each).map(|_| match self.distribution {
                    Distribution::Uniform(low, high) => s.range(low, high),
                    Distribution::Normal(deviation) => deviation * s.normal(),
                }));
            }
        }
        out
    }
}

/// Groups of a batch's images across its ranks: group g holds every `all`-th image, from the g-th on, and each rank
/// has as many groups, one after the other. So neighbours, whom a rank has as its own, are in different groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Groups {
    /// Groups of all ranks.
    pub all: usize,
    /// Ranks.
    pub ranks: usize,
}

impl Groups {
    /// Places in a batch of `n` images of those in rank `rank`'s groups, group by group.
    pub fn places(self, n: usize, rank: usize) -> impl Iterator<Item = usize> {
        let (all, each) = (self.all, self.all / self.ranks);
        (rank * each..(rank + 1) * each).flat_map(move |group| (group..n).step_by(all))
    }
}

/// What is drawn for every image.
#[derive(Clone, Debug, PartialEq)]
pub struct Draws {
    /// Views.
    pub views: Views,
    /// Further numbers.
    pub numbers: Vec<Numbers>,
    /// Streams of random numbers for every view, from which kernels draw on the device: noise of every pixel, say.
    pub streams: usize,
    /// The samples' ids are sent, for kernels that draw on the device.
    pub ids: bool,
    /// A rank also gets the views of the images in its groups of these: they are other ranks' own, for the most part.
    pub regrouped: Option<Groups>,
}

impl Draws {
    /// Views and nothing else.
    pub fn views(views: Views) -> Self {
        Self {
            views,
            numbers: Vec::new(),
            streams: 0,
            ids: false,
            regrouped: None,
        }
    }

    /// Places in a batch of `n` images of those that a rank takes: `own`, and behind them those of its groups.
    pub fn places(&self, own: Range<usize>, n: usize, rank: usize) -> Vec<usize> {
        let regrouped = self.regrouped.map(|groups| groups.places(n, rank));
        own.chain(regrouped.into_iter().flatten()).collect()
    }

    /// The words of the streams number `index` of all views of the samples `ids`, [views n, [`WORDS`]], as
    /// [`crate::ops::pixel_noise::PixelNoise`] takes them. They share no numbers with [`Draws::numbers`].
    pub fn words(&self, index: usize, ids: &[u32], (seed, epoch): (u64, u32)) -> Vec<u32> {
        let index = self.numbers.len() + index;
        let views = 0..self.views.count();
        let of_view = |view| {
            let stream = move |id: &u32| number(seed, epoch, *id, (index, view)).words();
            ids.iter().flat_map(stream)
        };
        views.flat_map(of_view).collect()
    }
}

/// The stream of list `index` of a view's draws.
fn number(seed: u64, epoch: u32, id: u32, (index, view): (usize, usize)) -> Stream {
    Stream::of_method(seed, epoch, id, (index * 2 + view) as u32)
}

/// A (micro-)batch as tensors of the graph.
#[derive(Clone, Debug)]
pub struct Batch {
    /// n, the images.
    pub images: usize,
    /// The views, as [`Draws::views`] asks for them.
    pub views: Vec<TensorId>,
    /// Such views of as many other images, where [`Draws::regrouped`] asks for them.
    pub regrouped: Vec<TensorId>,
    /// [`Draws::numbers`], [views n, each].
    pub numbers: Vec<TensorId>,
    /// [`Draws::streams`], their words u32 [views n, [`WORDS`]].
    pub streams: Vec<TensorId>,
    /// The samples' ids [n] (u32), where [`Draws::ids`] asks for them.
    pub ids: Option<TensorId>,
}

impl Batch {
    /// A batch of these views; what else the draws ask for becomes inputs of the graph.
    pub fn new(g: &mut Graph, draws: &Draws, images: usize, views: Vec<TensorId>) -> Self {
        let rows = images * draws.views.count();
        let numbers = draws.numbers.iter();
        let numbers = numbers
            .map(|n| g.input(n.name, TensorType::f32([rows, n.each])))
            .collect();
        let streams = (0..draws.streams)
            .map(|_| g.input("random streams", TensorType::u32([rows, WORDS])))
            .collect();
        let ids = draws
            .ids
            .then(|| g.input("sample ids", TensorType::u32([images])));
        Self {
            images,
            views,
            regrouped: Vec::new(),
            numbers,
            streams,
            ids,
        }
    }

    /// With the views of other images.
    #[must_use]
    pub fn with_regrouped(self, regrouped: Vec<TensorId>) -> Self {
        Self { regrouped, ..self }
    }

    /// Views of `images` images and nothing else.
    pub fn of_views(images: usize, views: Vec<TensorId>) -> Self {
        Self {
            images,
            views,
            regrouped: Vec::new(),
            numbers: Vec::new(),
            streams: Vec::new(),
            ids: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_depend_on_sample_view_and_list_alone() {
        let n = Numbers {
            name: "mask",
            each: 5,
            distribution: Distribution::Uniform(0.0, 1.0),
        };
        let whole = n.draw(0, 2, &[3, 8], (7, 1));
        assert_eq!(whole.len(), 20);
        // Sample 8 alone: its rows, wherever it stands in a batch or on whatever rank.
        let alone = n.draw(0, 2, &[8], (7, 1));
        assert_eq!((&alone[..5], &alone[5..]), (&whole[5..10], &whole[15..]));
        assert_ne!(whole[..5], whole[10..15], "another view");
        assert_ne!(whole, n.draw(1, 2, &[3, 8], (7, 1)), "another list");
        assert_ne!(whole, n.draw(0, 2, &[3, 8], (7, 2)), "another epoch");
    }

    /// All ranks' groups are the batch, and each rank's are every `all`-th image from its first group on.
    #[test]
    fn groups_of_ranks_are_the_whole_batch() {
        let groups = Groups { all: 6, ranks: 3 };
        let of = |rank| groups.places(24, rank).collect::<Vec<_>>();
        assert_eq!(of(1), [2, 8, 14, 20, 3, 9, 15, 21]);
        let mut all = [of(0), of(1), of(2)].concat();
        all.sort_unstable();
        assert_eq!(all, (0..24).collect::<Vec<_>>());
        let draws = Draws {
            regrouped: Some(groups),
            ..Draws::views(Views::Two)
        };
        assert_eq!(
            draws.places(8..16, 24, 1),
            [(8..16).collect(), of(1)].concat()
        );
        assert_eq!(
            Draws::views(Views::Two).places(8..16, 24, 1),
            (8..16).collect::<Vec<_>>()
        );
    }

    #[test]
    fn streams_are_the_views_own_and_share_nothing_with_the_numbers() {
        let n = Numbers {
            name: "mask",
            each: 4,
            distribution: Distribution::Uniform(0.0, 1.0),
        };
        let draws = Draws {
            numbers: vec![n],
            streams: 1,
            ..Draws::views(Views::TwoStacked)
        };
        let whole = draws.words(0, &[3, 8], (7, 1));
        assert_eq!(whole.len(), 4 * WORDS);
        let alone = draws.words(0, &[8], (7, 1));
        assert_eq!(alone[..WORDS], whole[WORDS..2 * WORDS]);
        assert_eq!(alone[WORDS..], whole[3 * WORDS..]);
        assert_ne!(alone[..WORDS], alone[WORDS..], "another view");
        assert_ne!(alone, draws.words(0, &[8], (7, 2)), "another epoch");
        let of_numbers = [0, 1].map(|view| number(7, 1, 8, (0, view)).words());
        assert!(
            of_numbers
                .iter()
                .all(|w| alone.chunks(WORDS).all(|own| own != w))
        );
    }
}
