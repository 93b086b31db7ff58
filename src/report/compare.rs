//! Runs side by side: final numbers, the settings that differ, curves over each other.

use super::document::document;
use super::facts::{Facts, State};
use super::headline::duration;
use super::page::{figure, thinned};
use super::plot::{self, Line};
use crate::run::event::rate;
use maud::{Markup, html};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// What stands where a run has no such value.
const NONE: &str = "-";

/// A run on the page.
pub(super) struct Run {
    pub facts: Facts,
    /// Its name here, which no other run has.
    pub name: String,
    /// Where its own report is, seen from the page; none where it has none.
    pub link: Option<String>,
}

/// Names for runs: those of their folders, or whole paths where two folders bear one name.
pub(super) fn names(all: &[Facts]) -> Vec<String> {
    let of = |f: &Facts| {
        let twice = all.iter().filter(|o| o.name == f.name).count() > 1;
        if twice { f.run.clone() } else { f.name.clone() }
    };
    all.iter().map(of).collect()
}

/// The way from a folder to a file, both as absolute paths without links; the file itself where there is none.
pub(super) fn way(from: &Path, to: &Path) -> PathBuf {
    let (a, b): (Vec<Component<'_>>, Vec<_>) =
        (from.components().collect(), to.components().collect());
    let common = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    if common == 0 {
        return to.into();
    }
    let up = a[common..].iter().map(|_| Component::ParentDir);
    up.chain(b[common..].iter().copied()).collect()
}

/// All settings of a configuration as `section.key` and value.
fn flat(prefix: &str, table: &toml::Table, out: &mut BTreeMap<String, String>) {
    for (key, value) in table {
        let name = match prefix {
            "" => key.clone(),
            p => format!("{p}.{key}"),
        };
        match value {
            toml::Value::Table(inner) => flat(&name, inner, out),
            toml::Value::String(text) => {
                out.insert(name, text.clone());
            }
            other => {
                out.insert(name, other.to_string());
            }
        }
    }
}

/// The settings that not all runs have alike: name and each run's value.
fn differing(all: &[&Facts]) -> Vec<(String, Vec<String>)> {
    let settings: Vec<BTreeMap<String, String>> = all
        .iter()
        .map(|f| {
            let mut out = BTreeMap::new();
            // What `Config` wrote, so that every setting is there, and defaults of then are.
            let text = f.config.to_toml().unwrap_or_default();
            flat("", &text.parse().unwrap_or_default(), &mut out);
            out
        })
        .collect();
    let mut keys: Vec<&String> = settings.iter().flat_map(BTreeMap::keys).collect();
    keys.sort();
    keys.dedup();
    let row = |key: &String| {
        let value = |s: &BTreeMap<String, String>| s.get(key).cloned().unwrap_or(NONE.into());
        (key.clone(), settings.iter().map(value).collect::<Vec<_>>())
    };
    let rows = keys.into_iter().map(row);
    rows.filter(|(_, v)| v.iter().any(|x| *x != v[0])).collect()
}

/// A value over the epochs of a run, from records that hold steps: runs of other batch sizes have other steps.
fn over_epochs(run: &Run, kind: &str, key: &str) -> Line {
    let f = &run.facts;
    let last = f.of("epoch").last();
    let per_step = last
        .and_then(|r| Some(r["epoch"].as_f64()? / r["step"].as_f64()?))
        .filter(|v| v.is_finite())
        .unwrap_or(0.0);
    let x = |r: &Value| match kind {
        "step" => Some(r["step"].as_f64()? * per_step),
        _ => r["epoch"].as_f64(),
    };
    let points = f.of(kind).filter_map(|r| Some((x(r)?, r[key].as_f64()?)));
    Line {
        name: run.name.clone(),
        points: thinned(points.collect()),
        ..Line::default()
    }
}

fn curves(runs: &[Run]) -> Markup {
    let plots = [
        ("kNN top-1, %", "eval", "knn_top1"),
        ("Loss, mean of an epoch", "epoch", "loss"),
        ("Learning rate", "epoch", "lr"),
        ("Gradient norm, before clipping", "step", "grad_norm"),
        ("Effective rank of test features", "eval", "effective_rank"),
        ("Images per second", "step", "images_per_s"),
    ];
    html! {
        h2 id="curves" { "Curves" }
        div.grid2 { @for (title, kind, key) in plots {
            @let lines: Vec<Line> = runs.iter().map(|r| over_epochs(r, kind, key)).collect();
            @if lines.iter().any(|l| !l.points.is_empty()) { (figure(title, plot::lines(title, &lines))) }
        } }
        p.soft {
            "The horizontal axis counts epochs. Losses of runs with other methods, temperatures or batch sizes are not "
            "comparable; accuracies are, where data and protocol are the same."
        }
    }
}

/// The final numbers of a run, in the order of [`NUMBERS`].
fn numbers(f: &Facts) -> Vec<String> {
    let percent = |r: &Value| r["knn_top1"].as_f64();
    let shown = |v: Option<f64>| v.map_or(NONE.into(), |v| format!("{v:.1} %"));
    let trained = || f.of("eval").filter(|r| r["untrained"] != true);
    let best = trained()
        .filter_map(|r| Some((percent(r)?, r["epoch"].as_u64()?)))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let last = f.of("epoch").last();
    let mut rates: Vec<f64> = f
        .of("step")
        .filter_map(|r| r["images_per_s"].as_f64())
        .collect();
    rates.sort_by(f64::total_cmp);
    let seconds = f.summary.as_ref().and_then(|s| s["seconds"].as_f64());
    let done = last.and_then(|r| r["epoch"].as_u64()).unwrap_or(0);
    vec![
        match f.state() {
            State::Finished => "finished".into(),
            State::Stopped(line) if line.starts_with("stopped at ") => "stopped".into(),
            State::Stopped(_) => "failed".into(),
            State::UnderWay => "under way".into(),
        },
        format!("{done} / {}", f.config.run.epochs),
        shown(trained().last().and_then(percent)),
        best.map_or(NONE.into(), |(v, e)| format!("{v:.1} % ({e})")),
        shown(
            f.of("eval")
                .find(|r| r["untrained"] == true)
                .and_then(percent),
        ),
        last.and_then(|r| r["loss"].as_f64())
            .map_or(NONE.into(), plot::short),
        rates.get(rates.len() / 2).map_or(NONE.into(), |r| rate(*r)),
        seconds.map_or(NONE.into(), duration),
        f.alarms().len().to_string(),
        f.environment["device"].as_str().unwrap_or(NONE).into(),
    ]
}

/// Titles of [`numbers`].
const NUMBERS: [&str; 10] = [
    "state",
    "epochs",
    "kNN",
    "best (epoch)",
    "untrained",
    "loss",
    "rate",
    "time",
    "alarms",
    "device",
];

/// What the page says first.
fn lead(runs: &[Run]) -> String {
    let last = |r: &Run| {
        let trained = r.facts.of("eval").filter(|e| e["untrained"] != true);
        Some((trained.last()?["knn_top1"].as_f64()?, r.name.clone()))
    };
    let mut all: Vec<(f64, String)> = runs.iter().filter_map(last).collect();
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    match &all[..] {
        [] => "No run measured an accuracy.".into(),
        [one] => format!("Only {} measured an accuracy: {:.1} %.", one.1, one.0),
        [first, .., end] => format!(
            "The last kNN accuracy is highest in {}, {:.1} %, and lowest in {}, {:.1} %. One run each: differences of \
             a point or so may be chance; repeat with other seeds.",
            first.1, first.0, end.1, end.0
        ),
    }
}

/// The page.
pub(super) fn html(runs: &[Run]) -> String {
    let title = format!("{} runs side by side", runs.len());
    let facts: Vec<&Facts> = runs.iter().map(|r| &r.facts).collect();
    let rows = differing(&facts);
    let head = |r: &Run, i: usize| {
        html! { span class={"key " (plot::class(i))} {
            @match &r.link { Some(l) => { a href=(l) { (r.name) } } None => { (r.name) } }
        } }
    };
    let body = html! {
        h1 { (title) }
        p.lead { (lead(runs)) }
        h2 id="numbers" { "Final numbers" }
        div.scroll tabindex="0" role="region" aria-label="Final numbers" { table.wide {
            tr { th { "run" } @for n in NUMBERS { th { (n) } } }
            @for (i, r) in runs.iter().enumerate() {
                tr { th scope="row" { (head(r, i)) } @for v in numbers(&r.facts) { td { (v) } } }
            }
        } }
        h2 id="settings" { "Settings that differ" }
        @if rows.is_empty() { p { "None: the runs have the same configuration." } }
        @else {
            div.scroll tabindex="0" role="region" aria-label="Settings that differ" { table.wide {
                tr { th { "setting" } @for (i, r) in runs.iter().enumerate() { th { (head(r, i)) } } }
                @for (key, values) in &rows {
                    tr { th scope="row" { (key) } @for v in values { td { (v) } } }
                }
            } }
            p.soft { "All other settings are the same." }
        }
        (curves(runs))
        p.soft { "Written by amcl-wgpu " (env!("CARGO_PKG_VERSION")) "." }
    };
    document(&format!("{title} - amcl-wgpu"), None, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_settings_that_differ_are_listed() {
        let dir = tempfile::tempdir().unwrap();
        let run = |name: &str, set: &[&str]| {
            let path = dir.path().join(name);
            std::fs::create_dir(&path).unwrap();
            let set: Vec<String> = set.iter().map(ToString::to_string).collect();
            let text = crate::config::Config::parse("", &set).unwrap();
            std::fs::write(path.join("config.toml"), text.to_toml().unwrap()).unwrap();
            Facts::read(&path).unwrap()
        };
        let a = run("a", &["optim.lr=0.5"]);
        let b = run("b", &["method.name=moco"]);
        let rows = differing(&[&a, &b]);
        let of = |key: &str| rows.iter().find(|r| r.0 == key).map(|r| r.1.clone());
        assert_eq!(of("optim.lr").unwrap()[0], "0.5");
        assert_eq!(
            of("method.name"),
            Some(vec!["simclr".into(), "moco".into()])
        );
        assert_eq!(of("method.queue").unwrap()[0], NONE, "simclr has no queue");
        assert_eq!(of("optim.batch_size"), None);
        assert!(differing(&[&a, &a]).is_empty());
        assert_eq!(names(&[a, b]), ["a", "b"]);
        let same = |f: &str| Facts::read(&dir.path().join(f)).unwrap();
        let twice = names(&[same("a"), same("a"), same("b")]);
        assert!(twice[0].ends_with("/a") && twice[0].len() > 2 && twice[2] == "b");
    }

    #[test]
    fn links_are_relative() {
        let of = |a: &str, b: &str| way(Path::new(a), Path::new(b)).display().to_string();
        assert_eq!(of("/x/runs", "/x/runs/a/report.html"), "a/report.html");
        assert_eq!(of("/x/y/z", "/x/a/report.html"), "../../a/report.html");
    }
}
