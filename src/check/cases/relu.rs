//! Cases of `relu`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::relu::Relu;

pub(super) fn cases() -> Vec<Case> {
    let mut v: Vec<Case> = [1, 3, 64, 65, 1000, 4096, 16385]
        .into_iter()
        .map(|n| Case::new(Relu, vec![Feed::uniform([n])]).grads(&[0]))
        .collect();
    v.push(
        Case::new(Relu, vec![Feed::uniform([4, 7, 5, 12])])
            .note("rank 4")
            .grads(&[0]),
    );
    for n in [7, 64] {
        v.push(Case::new(Relu, vec![Feed::uniform([n]).with_nan(&[0, 2, 5])]).note("not a number"));
    }
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "relu",
            find: "relu(x[i])",
            replace: "relu(x[i]) + E(0.1)",
        },
        Mutation {
            kernel: "relu",
            find: "relu(x[i])",
            replace: "max(x[i], E(0.0))",
        },
    ]
}
