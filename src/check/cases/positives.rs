//! Cases of `positives`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::positives::Positives;
use crate::reference::top_k::Layout;

pub(super) fn cases() -> Vec<Case> {
    let mut v = Vec::new();
    for (c, n) in [(1, 4), (2, 6), (3, 130)] {
        let op = Positives {
            layout: Layout::NtXent,
        };
        v.push(Case::new(op, vec![Feed::uniform([c, n, n])]).note("both views"));
    }
    for (c, a, n) in [(1, 1, 2), (2, 5, 18), (1, 70, 33)] {
        let op = Positives {
            layout: Layout::Pairs,
        };
        v.push(Case::new(op, vec![Feed::uniform([c, a, n])]).note("pairs"));
    }
    for (c, n) in [(1, 2), (2, 7), (1, 130)] {
        let op = Positives {
            layout: Layout::Diagonal,
        };
        v.push(Case::new(op, vec![Feed::uniform([c, n, n])]).note("diagonal"));
    }
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "positives",
            find: "(p.first + row) % p.a",
            replace: "(p.first + row + 1u) % p.a",
        },
        Mutation {
            kernel: "positives",
            find: "if p.arrangement == 3u { return i; }",
            replace: "",
        },
        Mutation {
            kernel: "positives",
            find: "s[p.off_s + row * p.n",
            replace: "s[p.off_s + row",
        },
    ]
}
