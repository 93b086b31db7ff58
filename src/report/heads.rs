//! The part of a run's page on how alike its heads are.

use super::facts::Facts;
use super::plot::{self, Line};
use maud::{Markup, PreEscaped, html};
use serde_json::Value;

/// Mean over all pairs of heads of a list in the epochs' records, with a band from the least to the largest.
fn line(f: &Facts, name: &str, key: &str) -> Line {
    let mut out = Line {
        name: name.into(),
        ..Line::default()
    };
    for r in f.of("epoch") {
        let all = r[key].as_array().into_iter().flatten();
        let all: Vec<f64> = all.filter_map(Value::as_f64).collect();
        let (Some(step), false) = (r["step"].as_f64(), all.is_empty()) else {
            continue;
        };
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        let of = |pick: fn(f64, f64) -> f64| all.iter().copied().fold(mean, pick);
        out.points.push((step, mean));
        out.band.push((of(f64::min), of(f64::max)));
    }
    out
}

/// How alike the heads are.
pub(super) fn section(f: &Facts) -> Markup {
    let lines = [
        line(f, "outputs", "head_cka"),
        line(f, "gradients", "head_gradient_cka"),
    ];
    let title = "Likeness of every two heads (CKA)";
    html! {
        h2 id="heads" { "Heads" }
        @if lines.iter().all(|l| l.points.is_empty()) {
            p { "One head, or several of a run that recorded nothing of their likeness." }
        } @else {
            figure { h3 { (title) } (PreEscaped(plot::lines(title, &lines))) }
            p.soft {
                "1: two heads make the same of the images, up to a rotation; 0: nothing in common. Of their outputs, and \
                 of the gradient that the loss sends to these. Mean over all pairs of heads, with a band from the least \
                 alike pair to the most."
            }
        }
    }
}
