//! Kind `attention`: packed queries, keys and values, their outputs, log-sum-exps and gradients. `config.cases` lists
//! B, H (heads), N (tokens), dh (columns of a head) and scale.

use super::case::{Case, Cases};
use super::judge::{Judge, Quantity};
use super::{Computer, Result, Subject, Verified};
use crate::fixture::bad;
use crate::ops::attention::Attention;
use serde::Deserialize;
use serde::de::IgnoredAny;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sizes {
    #[serde(rename = "B")]
    images: usize,
    #[serde(rename = "H")]
    heads: usize,
    #[serde(rename = "N")]
    tokens: usize,
    dh: usize,
    /// 1 / sqrt(dh) where the file does not say.
    scale: Option<f64>,
    // How the maker drew the logits, and what came of it.
    #[serde(default, rename = "gain")]
    _gain: IgnoredAny,
    #[serde(default, rename = "offset")]
    _offset: IgnoredAny,
    #[serde(default, rename = "max_abs_logit")]
    _largest: IgnoredAny,
    #[serde(default, rename = "flash_formula_err_f64")]
    _formula: IgnoredAny,
}

pub(super) fn verify(subject: &Subject, computer: &Computer) -> Result<Verified> {
    let f = &subject.fixture;
    let settings: Cases<Sizes> = f.config(&["seed"])?;
    let mut judge = Judge::new(f, computer.grade());
    let mut exec = computer.executor();
    for (i, c) in settings.cases.iter().enumerate() {
        let (b, n, heads) = (c.images, c.tokens, c.heads);
        let d = heads * c.dh;
        if b * n * d == 0 {
            return Err(bad(format!("config.cases[{i}] has a size of 0")).into());
        }
        let name = |leaf: &str| format!("{i}.{leaf}");
        let mut case = Case::new(f);
        let qkv = case.input(&mut judge, &name("qkv"), &[b, n, 3 * d])?;
        let dout = case.input(&mut judge, &name("dout"), &[b, n, d])?;
        let scale = c.scale.unwrap_or_else(|| (c.dh as f64).sqrt().recip());
        let made = case.graph.push(Attention { heads, scale }, &[qkv])?;
        let gradients = case.gradients(made[0], dout, &[qkv])?;
        for (leaf, tensor, quantity, guide) in [
            ("out", made[0], Quantity::Value, "out"),
            ("lse", made[1], Quantity::Value, "lse"),
            ("grad.qkv", gradients[0], Quantity::Gradient, "grad"),
        ] {
            let guide = format!("{i}.{guide}_rel_l2");
            case.want(name(leaf), tensor, quantity, &guide);
        }
        case.run(exec.as_mut(), &mut judge)?;
    }
    judge.finish()
}
