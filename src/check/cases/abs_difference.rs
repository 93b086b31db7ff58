//! Cases of `abs_difference`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::abs_difference::AbsDifference;

pub(super) fn cases() -> Vec<Case> {
    let mut v: Vec<Case> = [1, 3, 64, 65, 1000, 4096, 16385]
        .into_iter()
        .map(|n| Case::new(AbsDifference, vec![Feed::uniform([n]), Feed::uniform([n])]).grads(&[0]))
        .collect();
    let four = || Feed::uniform([4, 7, 5, 12]);
    v.push(
        Case::new(AbsDifference, vec![four(), four()])
            .note("rank 4")
            .grads(&[0]),
    );
    // A weight that is not a number makes the loss one.
    let nan = Feed::uniform([64]).with_nan(&[1, 40]);
    v.push(Case::new(AbsDifference, vec![nan, Feed::uniform([64])]).note("not a number"));
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![Mutation {
        kernel: "abs_difference",
        find: "abs(a[i] - b[i])",
        replace: "a[i] - b[i]",
    }]
}
