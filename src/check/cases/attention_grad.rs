//! Cases of `attention_grad`.

use super::attention::SHAPES;
use super::with_halves;
use crate::check::{Case, Feed, Mutation};
use crate::ops::attention::Attention;
use crate::ops::attention_grad::AttentionGrad;

pub(super) fn cases() -> Vec<Case> {
    let cases = SHAPES.map(|[b, n, heads, width]| {
        let d = heads * width;
        let forward = Attention::new(d, heads);
        // Results and sums of the forward pass are any here; weights come out below 2.
        let inputs = vec![
            Feed::uniform([b, n, 3 * d]),
            Feed::uniform([b, n, d]),
            Feed::range([b, heads, n], 2.0, 4.0),
            Feed::uniform([b, n, d]),
        ];
        // The sums of signed terms are smaller than their terms: 4 of cancellation.
        Case::new(AttentionGrad { forward }, inputs)
            .note(&format!("heads {heads}"))
            .depth(n.max(width))
            .condition(4.0)
    });
    with_halves(cases.into(), &[0, 1])
}

pub(super) fn mutations() -> Vec<Mutation> {
    let m = |find, replace| Mutation {
        kernel: "attention_grad",
        find,
        replace,
    };
    vec![
        m("(dp[ii] - vec4<f32>(of_i.inner[ii]))", "dp[ii]"),
        m("(dp[jj] - of_i.inner)", "dp[jj]"),
        m("dp[k] - vec4<f32>(a.y, b.y, c.y, d.y)", "dp[k]"),
        m("s[3] * (dp[3] - less)", "s[3] * dp[3]"),
        m(
            "all_exist(exp2_of(s, p.scale2, of_i.x), j0, 0.0)",
            "exp2_of(s, p.scale2, of_i.x)",
        ),
        m(
            "select(vec4<f32>(0.0), exp2(s[jj] * p.scale2 - of_i.lse), exist(i))",
            "exp2(s[jj] * p.scale2 - of_i.lse)",
        ),
        m(
            "put(own.k, own, l, dk.a * p.scale)",
            "put(own.k, own, l, dk.a)",
        ),
        m(
            "+ t % p.heads) * p.n + token % p.n",
            ") * p.n + token % p.n",
        ),
    ]
}
