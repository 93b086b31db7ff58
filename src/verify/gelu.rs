//! Kind `gelu`: the exact form, its values and derivatives.

use super::case::Case;
use super::judge::{Judge, Quantity, distance};
use super::{Computer, Result, Subject, Verified};
use serde::Deserialize;

/// From here on GELU is x or 0 to all digits of f32, and a few such values would be all of a norm.
const FAR: f64 = 14.0;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {}

pub(super) fn verify(subject: &Subject, computer: &Computer) -> Result<Verified> {
    let f = &subject.fixture;
    let Settings {} = f.config(&["seed", "n", "span"])?;
    let mut judge = Judge::new(f, computer.grade());
    let [n] = f.rank("x")?;
    let mut case = Case::new(f);
    let x = case.input(&mut judge, "x", &[n])?;
    let dy = case.input(&mut judge, "dy", &[n])?;
    let y = case.graph.gelu(x)?;
    let gradients = case.gradients(y, dy, &[x])?;
    case.want(
        "grad.x".into(),
        gradients[0],
        Quantity::Gradient,
        "grad_rel_l2",
    );
    let got = case.run_beside(computer.executor().as_mut(), &mut judge, &[y])?;
    let (given, want) = (f.reals("x", &[n])?, f.reals("y", &[n])?);
    let bound = judge.bound(
        f.stored("y")?.dtype,
        Quantity::Value,
        f.guide("float32_guide", "y_rel_l2"),
    );
    for (words, far) in [("y where |x| < 14", false), ("y where |x| >= 14", true)] {
        let part = |v: &[f64]| -> Vec<f64> {
            let kept = v.iter().zip(given).filter(|(_, x)| (x.abs() >= FAR) == far);
            kept.map(|(v, _)| *v).collect()
        };
        if !part(given).is_empty() {
            judge.add(words, distance(&part(&got[0]), &part(want)), bound);
        }
    }
    judge.read("y");
    judge.finish()
}
