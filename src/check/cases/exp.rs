//! Cases of `exp`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::exp::Exp;

pub(super) fn cases() -> Vec<Case> {
    // exp(v) loses v units of the last place of its argument: 3 at most here.
    [(1, -1.0), (3, 0.5), (64, -1.5), (1000, -1.0), (16385, 1.5)]
        .map(|(n, factor)| {
            Case::new(Exp { factor }, vec![Feed::range([n], -2.0, 2.0)])
                .condition(4.0)
                .grads(&[0])
        })
        .into()
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![Mutation {
        kernel: "exp",
        find: "exp(p.a * x[i])",
        replace: "exp(x[i])",
    }]
}
