//! Cases of `drop_path`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::drop_path::{DropPath, DropPathGrad};

pub(super) fn cases() -> Vec<Case> {
    let mut v = Vec::new();
    for (b, n, d) in [(1, 1, 1), (3, 5, 7), (64, 9, 48), (70, 4, 33)] {
        let factors = (0..b)
            .map(|i| if i % 3 == 1 { 0.0 } else { 1.25 })
            .collect();
        let s = Feed::values([b], factors);
        let x = || Feed::uniform([b, n, d]);
        v.push(Case::new(DropPath, vec![x(), x(), s.clone()]).grads(&[0, 1]));
        v.push(Case::new(DropPathGrad, vec![x(), s]));
    }
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![Mutation {
        kernel: "drop_path",
        find: "s[p.first + i / p.row]",
        replace: "s[0]",
    }]
}
