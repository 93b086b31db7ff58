//! Similarity of positive and negative pairs as histograms: the paper's Figs. 1 and 3.

use super::document::document;
use super::facts::Facts;
use super::page::{band, figure};
use super::plot::{self, Histograms, Line};
use maud::{Markup, html};
use serde_json::Value;

/// Panels side by side, three where there is room.
const PANELS: &str =
    "display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,18rem),1fr));gap:1.25rem";

/// Numbers of a list.
fn numbers(v: &Value) -> Vec<f64> {
    v.as_array()
        .map(|a| a.iter().filter_map(Value::as_f64).collect())
        .unwrap_or_default()
}

/// The overlap of a record's two histograms, percent. None where there are no negative pairs.
fn overlap(v: &Value) -> Option<f64> {
    let (pos, neg) = (numbers(&v["pos"]), numbers(&v["neg"]));
    let common: f64 = pos.iter().zip(&neg).map(|(a, b)| a.min(*b)).sum();
    (!pos.is_empty() && !neg.is_empty()).then_some(100.0 * common)
}

/// [`overlap`] over the run, of each head and of the backbone.
fn overlaps(f: &Facts) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for r in f.of("similarity") {
        let Some(x) = r["step"].as_f64() else {
            continue;
        };
        let heads = r["heads"].as_array().into_iter().flatten().enumerate();
        let named = heads.map(|(i, h)| (format!("head {}", i + 1), h));
        for (name, v) in named.chain([("backbone".to_string(), &r["backbone"])]) {
            let Some(y) = overlap(v) else {
                continue;
            };
            let at = lines
                .iter()
                .position(|l| l.name == name)
                .unwrap_or_else(|| {
                    lines.push(Line {
                        name,
                        ..Line::default()
                    });
                    lines.len() - 1
                });
            lines[at].points.push((x, y));
        }
    }
    lines
}

fn pair_histogram(title: &str, v: &Value, range: (f64, f64)) -> Markup {
    let h = Histograms {
        title,
        range,
        axes: ["cosine", "share of pairs"],
        named: vec![
            ("positive pairs".into(), numbers(&v["pos"])),
            ("negative pairs".into(), numbers(&v["neg"])),
        ],
        note: overlap(v).map(written),
        panel: None,
    };
    figure(title, h.svg())
}

/// The section of the report: the batches of training, and the pairs of the test split where they were evaluated.
pub fn similarity(f: &Facts) -> Markup {
    let all: Vec<&Value> = f.of("similarity").collect();
    let picked: Vec<&Value> = match all.len() {
        0..=2 => all,
        n => vec![all[0], all[n / 2], all[n - 1]],
    };
    let bands = [("positive", "sim_pos"), ("negative", "sim_neg")]
        .map(|(name, key)| band(name, f.of("epoch"), key, None));
    html! {
        h2 id="similarity" { "Similarity" }
        p.soft {
            "Cosine similarities of the pairs of one training batch: the two views of an image (positive) and views of "
            "different images (negative). The less the two overlap, the better pairs are told apart "
            "(the paper's Figs. 1 and 3)."
        }
        div.grid2 {
            (figure("Positive and negative pairs", plot::lines("Similarities", &bands)))
            @let over = overlaps(f);
            @if !over.is_empty() {
                (figure("Overlap of positive and negative pairs, %", plot::lines("Overlap in percent", &over)))
            }
        }
        @if let Some(v) = &f.similarity {
            h3 id="test-pairs" {
                "Pairs of the test split" @if let Some(e) = v["epoch"].as_u64() { ", after epoch " (e) }
            }
            (evaluated(v))
            h3 { "Pairs of training batches" }
        }
        @for r in picked {
            h3 { "After epoch " (r["epoch"]) }
            @let range = (r["range"][0].as_f64().unwrap_or(-1.0), r["range"][1].as_f64().unwrap_or(1.0));
            div.grid2 {
                @for (i, h) in r["heads"].as_array().into_iter().flatten().enumerate() {
                    (pair_histogram(&format!("Head {}", i + 1), h, range))
                }
                @if r["backbone"].is_object() { (pair_histogram("Backbone", &r["backbone"], range)) }
            }
        }
    }
}

fn written(overlap: f64) -> String {
    format!("overlap {overlap:.1} %")
}

/// A set of augmentation families in words: its letters and their number.
fn families(v: &Value) -> String {
    let letters = v["families"].as_str().unwrap_or_default();
    let s = if letters.len() == 1 { "" } else { "s" };
    format!("{letters}: {} augmentation{s}", letters.len())
}

/// The bins that are drawn: those of Fig. 3, from -0.2 to 1, and all beyond them that hold pairs.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Drawn {
    first: f64,
    width: f64,
    from: usize,
    to: usize,
}

impl Drawn {
    /// The bins for a result's scores. Results name their bins; older ones do not, and have those of Fig. 3.
    fn of<'a>(bins: &Value, scores: impl Iterator<Item = &'a Value>) -> Self {
        let first = bins["first"].as_f64().unwrap_or(-0.2);
        let width = bins["width"].as_f64().unwrap_or(0.06);
        let at = |x: f64| ((x - first) / width).round().max(0.0) as usize;
        let (mut from, mut to) = (at(-0.2), at(1.0));
        for s in scores {
            for bins in ["positive_bins", "negative_bins"].map(|key| numbers(&s[key])) {
                let filled = |v: &f64| *v > 0.0;
                from = from.min(bins.iter().position(filled).unwrap_or(from));
                to = to.max(bins.iter().rposition(filled).map_or(0, |i| i + 1));
            }
        }
        Self {
            first,
            width,
            from,
            to,
        }
    }

    /// Its lower and upper end.
    fn range(&self) -> (f64, f64) {
        let edge = |i: usize| self.first + self.width * i as f64;
        (edge(self.from), edge(self.to))
    }
}

/// The panel of one score.
fn panel<'a>(title: &'a str, s: &Value, drawn: Drawn) -> Histograms<'a> {
    let of = |kind: &str| {
        let mean = s[kind].as_f64().unwrap_or(f64::NAN);
        let bins = numbers(&s[format!("{kind}_bins")]);
        let bins = bins.get(drawn.from..drawn.to).unwrap_or_default().to_vec();
        (format!("{kind} pairs, mean {mean:.2}"), bins)
    };
    let scaled = s["of"].as_str().is_some_and(|of| of.contains("scaled"));
    Histograms {
        title,
        range: drawn.range(),
        axes: [if scaled { "scaled cosine" } else { "cosine" }, "pairs"],
        named: vec![of("positive"), of("negative")],
        note: s["overlap"].as_f64().map(written),
        panel: Some(0.0),
    }
}

/// Panels on the same axes, under their titles.
fn panels(bins: &Value, all: &[(String, &Value)]) -> Markup {
    let drawn = Drawn::of(bins, all.iter().map(|s| s.1));
    let mut all: Vec<Histograms> = all.iter().map(|(t, s)| panel(t, s, drawn)).collect();
    let top = all.iter().map(Histograms::top).fold(0.0, f64::max);
    all.iter_mut().for_each(|h| h.panel = Some(top));
    html! { div style=(PANELS) { @for h in &all { (figure(h.title, h.svg())) } } }
}

/// Draws what `eval similarity` wrote. One set of augmentation families gives a panel for each score (Fig. 3).
/// Several sets give a row for each score, with a panel for each set (Fig. 1).
fn evaluated(v: &Value) -> Markup {
    let list = |v: &'_ Value| -> Vec<Value> { v.as_array().cloned().unwrap_or_default() };
    let sets: Vec<(String, Vec<Value>)> = list(&v["similarity"])
        .iter()
        .map(|s| (families(s), list(&s["scores"])))
        .collect();
    let name = |s: &Value| s["of"].as_str().unwrap_or_default().to_string();
    let outside = sets.iter().flat_map(|s| &s.1);
    let outside = outside.filter_map(|s| s["outside"].as_u64()).sum::<u64>();
    html! {
        @for key in ["protocol", "short"] { @if let Some(text) = v[key].as_str() { p.soft { (text) "." } } }
        @for (what, key) in [("Merged heads: ", "merged"), ("Temperature-scaled scores: ", "scaled")] {
            @if let Some(text) = v[key].as_str() { p.soft { (what) (text) "." } }
        }
        @match &sets[..] {
            [(set, scores)] => {
                h3 { (set) }
                (panels(&v["bins"], &scores.iter().map(|s| (name(s), s)).collect::<Vec<_>>()))
            }
            _ => @for (i, s) in sets.first().map_or(&[][..], |s| &s.1).iter().enumerate() {
                h3 { (name(s)) }
                @let of_sets = sets.iter().filter_map(|(set, scores)| Some((set.clone(), scores.get(i)?)));
                (panels(&v["bins"], &of_sets.collect::<Vec<_>>()))
            },
        }
        @if outside > 0 { p.soft {
            "The first and the last bin also hold what lies beyond them: " (outside) " scores in all panels together."
        } }
    }
}

/// A page of these figures alone, for the run `name`. `v` is what `eval similarity` wrote.
pub fn page(name: &str, v: &Value) -> String {
    let title = format!("{name}: similarity of pairs");
    let body = html! {
        h1 { (title) }
        (evaluated(v))
        @let rows: Vec<_> = v["similarity"].as_array().into_iter().flatten().flat_map(|set| {
            set["scores"].as_array().into_iter().flatten().map(move |s| (&set["families"], s))
        }).collect();
        h2 { "Numbers" }
        div.scroll tabindex="0" { table {
            tr { @for t in ["augmentation", "score", "positive, mean", "negative, mean", "overlap, %"] { th { (t) } } }
            @for (set, s) in rows { tr {
                td { (set.as_str().unwrap_or_default()) } td { (s["of"].as_str().unwrap_or_default()) }
                @for (key, digits) in [("positive", 3), ("negative", 3), ("overlap", 1)] {
                    td { (format!("{:.*}", digits, s[key].as_f64().unwrap_or(f64::NAN))) }
                }
            } }
        } }
    };
    document(&title, None, &body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn drawn_are_the_bins_of_fig_3_and_those_that_hold_pairs() {
        let bins = json!({"first": -1.04, "width": 0.06});
        let score = |at: &[usize]| {
            let mut v = vec![0; 51];
            at.iter().for_each(|i| v[*i] += 1);
            json!({"positive_bins": v, "negative_bins": vec![0; 51]})
        };
        let drawn = |all: &[Value]| Drawn::of(&bins, all.iter()).range();
        let near = |(a, b): (f64, f64), c: f64, d: f64| (a - c).abs() + (b - d).abs() < 1e-9;
        assert!(near(drawn(&[score(&[20])]), -0.2, 1.0));
        let wide = drawn(&[score(&[20]), score(&[10, 40])]);
        assert!(near(wide, -0.44, 1.42), "{wide:?}");
        // A result that names no bins has twenty.
        let old = json!({"positive_bins": vec![1; 20], "negative_bins": vec![0; 20]});
        let old = Drawn::of(&Value::Null, [&old].into_iter());
        assert_eq!((old.from, old.to), (0, 20));
    }

    #[test]
    fn a_page_is_drawn_of_whatever_a_file_holds() {
        for v in [
            json!(null),
            json!({"similarity": [{}]}),
            json!({"similarity": [{"scores": [{}]}]}),
        ] {
            let text = page("<run>", &v);
            assert!(text.contains("&lt;run&gt;") && !text.contains("<run>"));
        }
    }
}
