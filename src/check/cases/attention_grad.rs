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
        m("weight[3] * (up[3] - inner[3])", "weight[3] * up[3]"),
        m("exp2(s[1] * p.scale2 - lse[1])", "exp2(s[1] * p.scale2)"),
        m("dv_b[c] = dv.b;", "dv_b[c] = dv.a;"),
        m(
            "all_exist(exp2_of(s.b, p.scale2, of_b.x), j0, 0.0)",
            "exp2_of(s.b, p.scale2, of_b.x)",
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
