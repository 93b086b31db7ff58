//! The hold-out of sets that bring no test split.

use super::parts::{alike, some};
use super::{Dataset, Split};
use crate::reference::philox::{Purpose, Stream};
use std::collections::HashSet;

/// One image in so many is held out.
const ONE_IN: usize = 10;

/// The samples of a class in an order drawn from `seed`. `purpose` keeps the draws of different purposes apart.
fn shuffled(labels: &[u32], class: u32, seed: u64, purpose: u32) -> Vec<usize> {
    let mut ids: Vec<usize> = (0..labels.len()).filter(|i| labels[*i] == class).collect();
    let mut stream = Stream::new(seed, purpose, class, Purpose::Split);
    for i in (1..ids.len()).rev() {
        ids.swap(i, stream.below(i + 1));
    }
    ids
}

/// Draws samples of every class from `seed`. `count` gets the size of a class and says how many to take; all
/// are taken where it says more. Samples of one class stand together, classes in their order.
pub fn draw_per_class(
    labels: &[u32],
    classes: usize,
    count: impl Fn(usize) -> usize,
    seed: u64,
) -> Vec<usize> {
    let mut out = Vec::new();
    for class in 0..classes as u32 {
        let ids = shuffled(labels, class, seed, 1);
        let count = count(ids.len());
        out.extend(ids.into_iter().take(count));
    }
    out
}

/// A tenth of every class, drawn from the seed, apart from the rest: the rest, and the tenth.
pub(super) fn hold_out(data: &Dataset, classes: usize, seed: u64) -> (Dataset, Dataset) {
    let mut held = vec![false; data.len()];
    for class in 0..classes as u32 {
        let ids = shuffled(&data.labels, class, seed, 0);
        // Of two images one can be held out; of one, none.
        let count = (ids.len() + ONE_IN / 2) / ONE_IN;
        let count = if ids.len() >= 2 { count.max(1) } else { 0 };
        ids[..count].iter().for_each(|i| held[*i] = true);
    }
    let part = |test: bool| {
        let ids: Vec<usize> = (0..held.len()).filter(|i| held[*i] == test).collect();
        data.select(&ids)
    };
    (part(false), part(true))
}

/// Moves a tenth of every class from the training to the test images, unless a set has test images or no labels. Says
/// what makes accuracies mean nothing, or less.
pub(super) fn complete(mut s: Split, seed: u64) -> Split {
    if s.classes.is_empty() {
        s.description += "; not labelled: trains, but is not evaluated";
        return s;
    }
    if s.test.is_empty() && s.labelled.is_none() {
        let (train, test) = hold_out(&s.train, s.classes.len(), seed);
        s.description += &format!(
            "; no test split there: {} of them, 10 % of every class (seed {seed}), are held out for testing",
            test.len()
        );
        (s.train, s.test) = (train, test);
    }
    let mut count = vec![0usize; s.classes.len()];
    for label in &s.bank().labels {
        count[*label as usize] += 1;
    }
    let tested: HashSet<u32> = s.test.labels.iter().copied().collect();
    let of = |n: usize| -> Vec<&str> {
        let all = (0..).zip(&s.classes).zip(&count);
        all.filter(|((i, _), c)| **c == n && !tested.contains(i))
            .map(|((_, name), _)| &**name)
            .collect()
    };
    let (none, single, all) = (of(0), of(1), s.classes.len());
    let mut notes = Vec::new();
    if !none.is_empty() {
        notes.push(format!(
            "{} of {all} classes have no image: {}",
            none.len(),
            some(&none)
        ));
    }
    if !single.is_empty() {
        notes.push(format!(
            "{} of {all} classes have one image, which is trained on and not tested: {}",
            single.len(),
            some(&single)
        ));
    }
    s.warnings.append(&mut notes);
    s.warnings.extend(alike(&s.classes));
    if let [class] = &s.classes[..] {
        s.warnings.push(format!(
            "one class alone, `{class}`: an accuracy means nothing, it is 100 % whatever was learnt"
        ));
    }
    s
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(n: usize) -> Split {
        Split {
            description: String::new(),
            warnings: Vec::new(),
            train: Dataset {
                images: (0..n * 3).map(|i| (i / 3) as u8).collect(),
                labels: (0..n).map(|i| u32::from(i % 4 == 0)).collect(),
                ..Dataset::empty(1, 1)
            },
            labelled: None,
            test: Dataset::empty(1, 1),
            classes: vec!["a".into(), "b".into()],
        }
    }

    #[test]
    fn a_tenth_of_every_class_is_held_out_by_the_seed() {
        let s = complete(set(200), 3);
        assert_eq!((s.train.len(), s.test.len()), (180, 20));
        assert_eq!(s.test.labels.iter().filter(|l| **l == 1).count(), 5);
        let ids = |d: &Dataset| d.images.iter().step_by(3).copied().collect::<Vec<u8>>();
        assert!(ids(&s.test).iter().all(|i| !ids(&s.train).contains(i)));
        assert_eq!(ids(&complete(set(200), 3).test), ids(&s.test));
        assert_ne!(ids(&complete(set(200), 4).test), ids(&s.test));
        assert!(s.description.contains("seed 3"));
    }

    #[test]
    fn a_draw_takes_of_every_class_what_is_asked_or_all() {
        let labels: Vec<u32> = (0..40).map(|i| u32::from(i % 4 == 0)).collect();
        let ids = draw_per_class(&labels, 2, |_| 15, 3);
        let of = |class: u32| ids.iter().filter(|i| labels[**i] == class).count();
        assert_eq!((of(0), of(1)), (15, 10));
        let mut once = ids.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), ids.len());
        assert_eq!(draw_per_class(&labels, 2, |_| 15, 3), ids);
        assert_ne!(draw_per_class(&labels, 2, |_| 15, 4), ids, "another seed");
        assert_eq!(draw_per_class(&labels, 2, |n| n / 2, 3).len(), 20);
    }
}
