//! Cases of `nearest`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::nearest::Nearest;

pub(super) fn cases() -> Vec<Case> {
    let mut v = Vec::new();
    for (rows, n, k) in [
        (1, 1, 1),
        (3, 5, 5),
        (7, 64, 1),
        (5, 65, 64),
        (4, 700, 20),
        (130, 33, 7),
        (2, 3000, 200),
    ] {
        v.push(Case::new(Nearest { k }, vec![Feed::uniform([rows, n])]).note(&format!("k {k}")));
    }
    // More that are equal than belong: the lower columns do. Zeros of both signs are equal.
    let ties = (0..4 * 150)
        .map(|i| [0.5, -0.25, 0.5, 0.0, -0.0][i % 5])
        .collect();
    v.push(Case::new(Nearest { k: 70 }, vec![Feed::values([4, 150], ties)]).note("ties"));
    let zeros = (0..4 * 16)
        .map(|i| [0.0, -0.0, -0.0, 0.0, -1.0][i % 5])
        .collect();
    v.push(
        Case::new(Nearest { k: 6 }, vec![Feed::values([4, 16], zeros)]).note("zeros of both signs"),
    );
    let nan = Feed::uniform([4, 16]).with_nan(&[0, 7, 21, 22, 40, 41, 42, 43, 44]);
    v.push(Case::new(Nearest { k: 3 }, vec![nan]).note("not a number"));
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        // Ties to any column.
        Mutation {
            kernel: "nearest",
            find: "&& j <= t.last",
            replace: "",
        },
        Mutation {
            kernel: "nearest",
            find: "i < l; i",
            replace: "i <= l; i",
        },
        Mutation {
            kernel: "nearest",
            find: "bitcast<i32>(b) <= BITS_MINUS_INF",
            replace: "(b & 0x80000000u) != 0u",
        },
    ]
}
