//! Kind `masking`: which patches stay. `config.cases` lists B, L (patches), ratio and keep.

use super::case::{Case, Cases};
use super::judge::{Judge, Quantity};
use super::{Computer, Result, Subject, Verified};
use crate::ops::mask_ranks::{MaskRanks, kept_of};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sizes {
    #[serde(rename = "B")]
    images: usize,
    #[serde(rename = "L")]
    patches: usize,
    ratio: f64,
    /// Patches that stay.
    keep: Option<usize>,
}

pub(super) fn verify(subject: &Subject, computer: &Computer) -> Result<Verified> {
    let f = &subject.fixture;
    let settings: Cases<Sizes> = f.config(&["seed"])?;
    let mut judge = Judge::new(f, computer.grade());
    let mut exec = computer.executor();
    for (i, c) in settings.cases.iter().enumerate() {
        let name = |leaf: &str| format!("{i}.{leaf}");
        let keep = kept_of(c.patches, c.ratio);
        if let Some(want) = c.keep {
            judge.differing(
                &format!("config.cases[{i}].keep"),
                usize::from(want != keep),
            );
        }
        let mut case = Case::new(f);
        let noise = case.input(&mut judge, &name("noise"), &[c.images, c.patches])?;
        let masked = case.graph.push(MaskRanks { keep }, &[noise])?;
        // Where all patches stay, they stand in the whole order of their noise.
        let keep = c.patches;
        let all = case.graph.push(MaskRanks { keep }, &[noise])?;
        case.want(name("ids_shuffle"), all[1], Quantity::Value, "");
        case.want(name("ids_restore"), masked[0], Quantity::Value, "");
        case.want(name("mask"), masked[2], Quantity::Value, "");
        case.run(exec.as_mut(), &mut judge)?;
    }
    judge.finish()
}
