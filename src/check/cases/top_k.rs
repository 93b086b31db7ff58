//! Cases of `top_k`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::top_k::TopK;
use crate::reference::top_k::Layout;

pub(super) fn cases() -> Vec<Case> {
    let mut v = Vec::new();
    for (c, n) in [(1, 4), (2, 6), (3, 34), (1, 130), (2, 66)] {
        for kappa in [1, 2, 10, 1000] {
            for include_positive in [false, true] {
                let op = TopK {
                    kappa,
                    layout: Layout::NtXent,
                    include_positive,
                };
                v.push(
                    Case::new(op, vec![Feed::uniform([c, n, n])])
                        .note(&format!("kappa {kappa} positive {include_positive}")),
                );
            }
        }
    }
    for (rows, n, kappa) in [(3, 1, 1), (5, 100, 7), (2, 1000, 100)] {
        let op = TopK {
            kappa,
            layout: Layout::All,
            include_positive: false,
        };
        v.push(
            Case::new(op, vec![Feed::uniform([1, rows, n])])
                .note(&format!("all columns, kappa {kappa}")),
        );
    }
    for include_positive in [false, true] {
        let op = TopK {
            kappa: 4,
            layout: Layout::Pairs,
            include_positive,
        };
        v.push(
            Case::new(op, vec![Feed::uniform([2, 5, 18])])
                .note(&format!("pairs, positive {include_positive}")),
        );
    }
    for include_positive in [false, true] {
        let op = TopK {
            kappa: 3,
            layout: Layout::Diagonal,
            include_positive,
        };
        v.push(
            Case::new(op, vec![Feed::uniform([2, 9, 9])])
                .note(&format!("diagonal, positive {include_positive}")),
        );
    }
    // A threshold between the zeros of both signs: which of them are selected must not depend on the sign.
    let zeros = (0..64)
        .map(|i| [0.0, -0.0, -0.0, 0.0, -1.0][i % 5])
        .collect();
    v.push(
        Case::new(
            TopK {
                kappa: 2,
                layout: Layout::All,
                include_positive: false,
            },
            vec![Feed::values([1, 4, 16], zeros)],
        )
        .note("zeros of both signs"),
    );
    let ties = (0..64).map(|i| [0.5, -0.25, 0.5, 0.0][i % 4]).collect();
    v.push(
        Case::new(
            TopK {
                kappa: 3,
                layout: Layout::NtXent,
                include_positive: false,
            },
            vec![Feed::values([1, 8, 8], ties)],
        )
        .note("ties"),
    );
    // NaNs of either sign are larger than all numbers: fewer than kappa in a row, as many and more.
    let nan = [0, 7, 21, 22, 40, 41, 42, 43, 44];
    v.push(
        Case::new(
            TopK {
                kappa: 3,
                layout: Layout::All,
                include_positive: false,
            },
            vec![Feed::uniform([1, 4, 16]).with_nan(&nan)],
        )
        .note("not a number"),
    );
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "top_k",
            find: "== prefix)",
            replace: "!= prefix)",
        },
        Mutation {
            kernel: "top_k",
            find: "~b, bitcast",
            replace: "b, bitcast",
        },
        Mutation {
            kernel: "top_k",
            find: "bitcast<i32>(b) <= BITS_MINUS_INF",
            replace: "(b & 0x80000000u) != 0u",
        },
    ]
}
