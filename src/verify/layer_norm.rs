//! Kind `layer_norm`: rows, scales and shifts, with statistics and gradients. `config.cases` lists rows, D and eps.

use super::case::{Case, Cases};
use super::judge::{Judge, Quantity};
use super::{Computer, Result, Subject, Verified};
use crate::ops::layer_norm::LayerNorm;
use serde::Deserialize;
use serde::de::IgnoredAny;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sizes {
    rows: usize,
    #[serde(rename = "D")]
    d: usize,
    eps: f64,
    // How the maker drew the rows.
    #[serde(default, rename = "mean")]
    _mean: IgnoredAny,
    #[serde(default, rename = "std")]
    _std: IgnoredAny,
    #[serde(default, rename = "constant_row")]
    _constant: IgnoredAny,
}

pub(super) fn verify(subject: &Subject, computer: &Computer) -> Result<Verified> {
    let f = &subject.fixture;
    let settings: Cases<Sizes> = f.config(&["seed"])?;
    let mut judge = Judge::new(f, computer.grade());
    let mut exec = computer.executor();
    for (i, c) in settings.cases.iter().enumerate() {
        let name = |leaf: &str| format!("{i}.{leaf}");
        let (all, row) = ([c.rows, c.d], [c.d]);
        let mut case = Case::new(f);
        let x = case.input(&mut judge, &name("x"), &all)?;
        let w = case.input(&mut judge, &name("weight"), &row)?;
        let b = case.input(&mut judge, &name("bias"), &row)?;
        let dy = case.input(&mut judge, &name("dy"), &all)?;
        let made = case.graph.push(LayerNorm::new(c.eps), &[x, w, b])?;
        let gradients = case.gradients(made[0], dy, &[x, w, b])?;
        for (leaf, tensor, guide) in [
            ("y", made[0], "y"),
            ("mean", made[1], ""),
            ("rstd", made[2], ""),
        ] {
            let guide = format!("{i}.{guide}_rel_l2");
            case.want(name(leaf), tensor, Quantity::Value, &guide);
        }
        let leaves = [("x", "dx"), ("weight", "dw"), ("bias", "db")];
        for ((leaf, guide), tensor) in leaves.into_iter().zip(gradients) {
            let guide = format!("{i}.{guide}_rel_l2");
            case.want(
                format!("{i}.grad.{leaf}"),
                tensor,
                Quantity::Gradient,
                &guide,
            );
        }
        case.run(exec.as_mut(), &mut judge)?;
    }
    judge.finish()
}
