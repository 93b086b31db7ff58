//! Cases of `take_tokens`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::take_tokens::TakeTokens;

/// For each image an order of 0..n, its first `keep` and its inverse.
fn orders(b: usize, n: usize, keep: usize) -> (Vec<u32>, Vec<u32>) {
    let (mut kept, mut rank) = (Vec::new(), Vec::new());
    for image in 0..b {
        // Multiplication by a number without a common factor is a permutation; 37 divides none of the sizes.
        let order: Vec<usize> = (0..n).map(|i| (i * 37 + image) % n).collect();
        kept.extend(order[..keep].iter().map(|i| *i as u32));
        let mut inverse = vec![0; n];
        order
            .iter()
            .enumerate()
            .for_each(|(j, i)| inverse[*i] = j as u32);
        rank.extend(inverse);
    }
    (kept, rank)
}

pub(super) const SHAPES: [[usize; 4]; 5] = [
    [1, 1, 1, 1],
    [3, 9, 4, 7],
    [2, 64, 16, 48],
    [64, 16, 4, 20],
    [2, 196, 49, 33],
];

/// Kept patches of all; and all patches from those, the others filled.
pub(super) fn cases() -> Vec<Case> {
    let mut v = Vec::new();
    for [b, n, keep, d] in SHAPES {
        let (kept, rank) = orders(b, n, keep);
        let (kept, rank) = (Feed::words([b, keep], kept), Feed::words([b, n], rank));
        let inputs = vec![Feed::uniform([b, n, d]), kept.clone(), rank.clone()];
        v.push(
            Case::new(TakeTokens { fill: false }, inputs)
                .note("kept")
                .grads(&[0]),
        );
        let inputs = vec![Feed::uniform([b, keep, d]), rank, kept];
        v.push(
            Case::new(TakeTokens { fill: false }, inputs.clone())
                .note("zeros")
                .grads(&[0]),
        );
        let inputs = [inputs, vec![Feed::uniform([d])]].concat();
        v.push(
            Case::new(TakeTokens { fill: true }, inputs)
                .note("filled")
                .grads(&[0, 3]),
        );
    }
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    let m = |find, replace| Mutation {
        kernel: "take_tokens",
        find,
        replace,
    };
    vec![
        m(
            "row / p.m * p.n + from_token",
            "row / p.m * p.m + from_token",
        ),
        m("y[i] = fill[c];", "y[i] = fill[0];"),
        m("y[i] = E(0.0);", "y[i] = x[c];"),
    ]
}
