//! Cases of `barlow_stream_grad`.

use super::barlow_stream::{SHAPES, depth, feeds, forms, with_nan};
use crate::check::{Case, Feed, Mutation};
use crate::ops::barlow_stream_grad::BarlowStreamGrad;

pub(super) fn cases() -> Vec<Case> {
    let mut v = Vec::new();
    let mut push = |note: &str, forward, by_column, dims: [usize; 4], shared| {
        let mut inputs = feeds(&forward, dims, shared);
        inputs.push(Feed::uniform([dims[0], dims[2]]));
        let op = BarlowStreamGrad { forward, by_column };
        let side = if by_column { "second" } else { "first" };
        // As the loss's, and one more 1/tau.
        v.push(
            Case::new(op, inputs)
                .note(&format!("{note}, {side} view"))
                .depth(depth(dims))
                .condition(64.0),
        );
    };
    for (note, forward) in forms() {
        for (dims, shared) in SHAPES {
            push(&note, forward, false, dims, shared);
            push(&note, forward, true, dims, shared);
        }
    }
    // More groups than one dispatch takes.
    let (note, forward) = forms().remove(1);
    push(
        &format!("{note}, in pieces"),
        forward,
        true,
        [256, 8, 130, 8],
        false,
    );
    let (forward, mut inputs) = with_nan();
    inputs.push(Feed::uniform([1, 70]));
    let by_column = false;
    v.push(
        Case::new(BarlowStreamGrad { forward, by_column }, inputs)
            .note("not a number")
            .depth(70)
            .condition(64.0),
    );
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "barlow_stream_grad",
            find: "select(i + ii, j + jj, p.by_column == 1u)",
            replace: "select(i + ii, i + ii, p.by_column == 1u)",
        },
        Mutation {
            kernel: "barlow_stream_grad",
            find: "-2.0 * on / tau",
            replace: "2.0 * on / tau",
        },
        Mutation {
            kernel: "barlow_stream_grad",
            find: "select(0.0, dfx[at], p.accumulate == 1u)",
            replace: "select(0.0, dfx[at], p.accumulate == 2u)",
        },
        Mutation {
            kernel: "barlow_stream_grad",
            find: "/ 4u == k0 / TILE_K",
            replace: "/ 4u == (k0 / TILE_K + 1u) % 4u",
        },
        Mutation {
            kernel: "barlow_stream_grad",
            find: "(g % p.chunks) * PARTS * 64u",
            replace: "(g % p.chunks) * PARTS * 128u",
        },
        Mutation {
            kernel: "barlow_stream_grad",
            find: "n0 + part * 64u + (lb / 4u) * 4u",
            replace: "n0 + (lb / 4u) * 4u",
        },
        Mutation {
            kernel: "barlow_stream_grad",
            find: "temperature_slope(r[ii][jj]), adaptive)",
            replace: "temperature_slope(r[ii][jj]), true)",
        },
        Mutation {
            kernel: "barlow_stream_grad",
            find: "at_most(r, 80.0)",
            replace: "min(r, 80.0)",
        },
    ]
}
