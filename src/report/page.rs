//! The report as one HTML page: no script, no request to anywhere.

use super::attention;
use super::document::document;
use super::facts::{Facts, Picture, Seen, State};
use super::headline::Story;
use super::pairs::similarity;
use super::plot::{self, Line};
use crate::graph::plan::mebibytes;
use base64::Engine;
use maud::{Markup, PreEscaped, html};
use serde_json::Value;

/// Seconds after which the page of a run under way reloads itself.
const RELOAD: u32 = 10;
/// The confusion matrix is a table up to this many classes, else a picture.
const TABLE: usize = 40;
/// Points of a line at most. More could not be told apart on a screen.
const POINTS: usize = 600;

pub(super) fn inline(png: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(png);
    format!("data:image/png;base64,{text}")
}

fn svg(s: String) -> Markup {
    PreEscaped(s)
}

pub(super) fn figure(title: &str, plot: String) -> Markup {
    html! { figure { h3 { (title) } (svg(plot)) } }
}

fn series<'a>(name: &str, records: impl Iterator<Item = &'a Value>, key: &str) -> Line {
    let all: Vec<(f64, f64)> = records
        .filter_map(|r| Some((r["step"].as_f64()?, r[key].as_f64()?)))
        .collect();
    Line {
        name: name.into(),
        points: thinned(all),
        ..Line::default()
    }
}

/// At most [`POINTS`] of the points.
pub(super) fn thinned(all: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let every = all.len().div_ceil(POINTS).max(1);
    all.into_iter().step_by(every).collect()
}

/// The median and the band from 5 to 95 % that records hold under a key, of one head where `head` is given.
pub(super) fn band<'a>(
    name: &str,
    records: impl Iterator<Item = &'a Value>,
    key: &str,
    head: Option<usize>,
) -> Line {
    let mut line = Line {
        name: name.into(),
        ..Line::default()
    };
    for r in records {
        let q = head.map_or(&r[key], |h| &r[key][h]);
        if let (Some(x), Some(lo), Some(mid), Some(hi)) = (
            r["step"].as_f64(),
            q[0].as_f64(),
            q[1].as_f64(),
            q[2].as_f64(),
        ) {
            line.points.push((x, mid));
            line.band.push((lo, hi));
        }
    }
    line
}

fn card(value: &str, what: &str) -> Markup {
    html! { div.card { b { (value) } span.soft { (what) } } }
}

/// Sections of the page: anchor and title.
const SECTIONS: [(&str, &str); 13] = [
    ("curves", "Curves"),
    ("temperatures", "Temperatures"),
    ("heads", "Heads"),
    ("similarity", "Similarity"),
    ("views", "Views"),
    ("attention", "Attention"),
    ("neighbours", "Neighbours"),
    ("features", "Features"),
    ("alarms", "Alarms"),
    ("setup", "Configuration"),
    ("environment", "Environment"),
    ("memory", "Memory"),
    ("time", "Time"),
];

fn head(f: &Facts) -> Markup {
    let last = f.of("epoch").last();
    let knn = f.of("eval").filter(|r| r["untrained"] != true).last();
    let untrained = f.of("eval").find(|r| r["untrained"] == true);
    let epochs = f.config.run.epochs;
    let done = last.and_then(|r| r["epoch"].as_u64()).unwrap_or(0);
    let alarms = f.alarms().len();
    let percent = |r: Option<&Value>| r.and_then(|r| r["knn_top1"].as_f64());
    html! {
        h1 { (f.name) }
        p.soft {
            (f.config.method_title()) " on " (f.config.data.path) ", " (f.config.model.encoder)
            ", batch " (f.config.optim.batch_size) ", seed " (f.config.run.seed) "."
        }
        (headline(&Story::of(f)))
        @if f.state() == State::UnderWay {
            p.soft { "This page reloads itself every " (RELOAD) " seconds while the run is under way." }
        }
        nav aria-label="Sections" {
            @for (id, name) in SECTIONS {
                @if id != "attention" || f.attention().is_some() { a href={"#" (id)} { (name) } }
            }
            @if f.reconstructions.is_some() { a href="#reconstructions" { "Reconstructions" } }
        }
        div.cards {
            @if let Some(v) = percent(knn) { (card(&format!("{v:.1} %"), "kNN top-1")) }
            @if let Some(v) = percent(untrained) { (card(&format!("{v:.1} %"), "untrained")) }
            (card(&format!("{done} / {epochs}"), "epochs"))
            @if let Some(v) = last.and_then(|r| r["loss"].as_f64()) { (card(&plot::short(v), "loss")) }
            (card(&alarms.to_string(), "alarms"))
            @if let Some(s) = f.summary.as_ref().and_then(|s| s["seconds"].as_f64()) {
                (card(&format!("{s:.0} s"), "in all"))
            }
        }
        @if let Some(p) = knn.and_then(|r| r["protocol"].as_str()) {
            p.soft { "Protocol: " (p) "; the last epoch, not the best." }
        }
    }
}

/// What happened and what to do next.
fn headline(story: &Story) -> Markup {
    let next = story.next();
    html! {
        section.headline aria-label="What happened and what to do next" {
            @for (i, s) in story.sentences().iter().enumerate() {
                @if i == 0 { p.lead { b { (s) } } } @else { p { (s) } }
            }
            @if !next.is_empty() {
                h3 { "What to do next" }
                dl { @for n in &next { dt { (n.why) } dd { code { (n.command) } } } }
            }
        }
    }
}

/// Images a second; seconds an image where that is the larger number.
fn pace(f: &Facts) -> Markup {
    let mut line = series("rate", f.of("step"), "images_per_s");
    let mut rates: Vec<f64> = line.points.iter().map(|p| p.1).collect();
    rates.sort_by(f64::total_cmp);
    let slow = rates.get(rates.len() / 2).is_some_and(|r| *r < 1.0);
    if slow {
        line.points.iter_mut().for_each(|p| p.1 = 1.0 / p.1);
    }
    let title = if slow {
        "Seconds an image"
    } else {
        "Images per second"
    };
    figure(title, plot::lines(title, &[line]))
}

/// The terms of a loss that is a sum of several, before they are weighed.
fn terms(f: &Facts) -> Option<Markup> {
    let last = f.of("step").last()?["terms"].as_object()?;
    let line = |name: &String| {
        let points = f.of("step").filter_map(|r| {
            let value = r["terms"][name].as_f64();
            Some((r["step"].as_f64()?, value?))
        });
        Line {
            name: name.clone(),
            points: thinned(points.collect()),
            ..Line::default()
        }
    };
    let lines: Vec<Line> = last.keys().map(line).collect();
    let title = "Terms of the loss, before their weights";
    (lines.len() > 1).then(|| figure(title, plot::lines(title, &lines)))
}

fn curves(f: &Facts) -> Markup {
    let step = |title: &str, key: &str| {
        figure(
            title,
            plot::lines(title, &[series(title, f.of("step"), key)]),
        )
    };
    let eval = |title: &str, label: &str, name: &str, key: &str| {
        figure(
            title,
            plot::lines(label, &[series(name, f.of("eval"), key)]),
        )
    };
    html! {
        h2 id="curves" { "Curves" }
        div.grid2 {
            (step("Loss", "loss"))
            @if let Some(plot) = terms(f) { (plot) }
            (eval("kNN top-1, %", "kNN top-1 in percent", "kNN", "knn_top1"))
            (step("Learning rate", "lr"))
            (step("Gradient norm, before clipping", "grad_norm"))
            (pace(f))
            (eval("Effective rank of test features", "Effective rank", "rank", "effective_rank"))
        }
        p.soft { "The horizontal axis counts optimiser steps." }
    }
}

/// Says it where the pairs of a head have one temperature, so that the two curves lie on each other without a band: in
/// all records, or in the first ones.
fn one_temperature(f: &Facts, head: usize) -> Option<String> {
    let alike = |r: &&Value| {
        let all = ["tau_pos", "tau_neg"].map(|key| r[key][head].as_array());
        let all: Vec<f64> = all
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(Value::as_f64)
            .collect();
        all.iter()
            .all(|v| (v - all[0]).abs() <= 1e-5 * all[0].abs())
    };
    let records = f.of("epoch").filter(|r| r["tau_pos"][head].is_array());
    let epochs: Vec<u64> = records
        .clone()
        .filter_map(|r| r["epoch"].as_u64())
        .collect();
    match records.take_while(alike).count() {
        0 => None,
        n if n == epochs.len() => Some(
            "All pairs of this head have one temperature in this run: the curves lie on each other, and there is no \
             band."
                .into(),
        ),
        n => Some(format!(
            "Up to epoch {} all pairs have one temperature: there the curves lie on each other, without a band.",
            epochs[n - 1]
        )),
    }
}

fn temperatures(f: &Facts) -> Markup {
    let heads = f
        .of("epoch")
        .filter_map(|r| r["tau_pos"].as_array())
        .map(Vec::len)
        .max()
        .unwrap_or(0);
    let of_head = |h: usize| {
        let pairs = [
            ("tau+ (positive pairs)", "tau_pos"),
            ("tau- (negative pairs)", "tau_neg"),
        ];
        let lines = pairs.map(|(name, key)| band(name, f.of("epoch"), key, Some(h)));
        let title = format!("Temperatures of head {}", h + 1);
        html! { figure {
            h3 { "Head " (h + 1) }
            (svg(plot::lines(&title, &lines)))
            @if let Some(note) = one_temperature(f, h) { p.soft { (note) } }
        } }
    };
    html! {
        h2 id="temperatures" { "Temperatures" }
        @if heads == 0 { p { "Temperatures are constant in this run." } }
        @else {
            p.soft { "Median and 5 to 95 % band over the pairs of a batch." }
            div.grid2 { @for h in 0..heads { (of_head(h)) } }
        }
    }
}

fn picture(p: &Picture, query: &str) -> Markup {
    html! { figure {
        img src=(inline(&p.png)) alt=(p.class);
        figcaption {
            @match p.similarity {
                None => { b { (p.class) } }
                Some(s) => {
                    span class=(if p.class == query { "hit" } else { "miss" }) { (p.class) }
                    br;
                    (format!("{s:.2}"))
                }
            }
        }
    } }
}

fn confusion(s: &Seen) -> Markup {
    html! { div.scroll tabindex="0" role="region" aria-label="Confusion matrix" { table.matrix {
        tr { th { "class \\ predicted" } @for c in &s.classes { th { (c) } } }
        @for (row, c) in s.confusion.iter().zip(&s.classes) {
            @let sum = row.iter().sum::<usize>().max(1);
            tr { th { (c) } @for v in row {
                @let share = 100 * v / sum;
                td style={"background:color-mix(in srgb, var(--c0) " (share * 7 / 10) "%, transparent)"} { (v) }
            } }
        }
    } } }
}

/// The confusion of more classes than a table holds: a picture, and a list of the most frequent confusions.
fn many_classes(s: &Seen) -> Markup {
    let mut wrong: Vec<(usize, usize, usize)> = Vec::new();
    for (i, row) in s.confusion.iter().enumerate() {
        let others = row.iter().enumerate().filter(|(j, n)| *j != i && **n > 0);
        wrong.extend(others.map(|(j, n)| (*n, i, j)));
    }
    wrong.sort_by(|a, b| b.0.cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    html! { div.grid2 {
        figure {
            (svg(plot::heat("Confusion matrix: rows are classes, columns predictions", &s.confusion)))
            p.soft { "Rows: classes, columns: predictions, in the order of the classes." }
        }
        div.scroll tabindex="0" { table {
            tr { th { "class" } th { "taken for" } th { "times" } }
            @for (n, i, j) in wrong.iter().take(15) { tr { td { (s.classes[*i]) } td { (s.classes[*j]) } td { (n) } } }
        } }
    } }
}

/// What the network makes of hidden patches.
fn reconstructions(f: &Facts) -> Markup {
    html! { @if let Some(png) = &f.reconstructions {
        h2 id="reconstructions" { "Reconstructions" }
        p.soft {
            "What the encoder sees, the prediction (visible patches as they are), the training image: as of the last \
             evaluation."
            @if norm_pix(f) {
                " Patches are predicted without their mean and deviation, which are taken from the image here."
            }
        }
        img.sheet src=(inline(png)) alt="Masked, predicted and original images";
    } }
}

/// Are patches predicted less their mean, over their deviation?
fn norm_pix(f: &Facts) -> bool {
    let settings = &f.config.method.settings;
    settings.get("norm_pix").and_then(toml::Value::as_bool) == Some(true)
}

fn seen(s: &Seen) -> Markup {
    html! {
        h2 id="views" { "Views" }
        p.soft { "Original, first view, second view, as the encoder gets them (before normalisation)." }
        img.sheet src=(inline(&s.sheet)) alt="Originals and their augmented views";
        details { summary { "What was drawn" } div.scroll tabindex="0" { table {
            tr { th { "image" } th { "first view" } th { "second view" } }
            @for r in &s.rows { tr { @for c in r { td { (c) } } } }
        } } }
        @if let Some(a) = &s.attention { (attention::section(a)) }
        h2 id="neighbours" { "Neighbours" }
        @if s.near.is_empty() { p { "No labels or no test images." } }
        @for row in &s.near { div.near { @for p in row { (picture(p, &row[0].class)) } } }
        h2 id="features" { "Features" }
        @if let Some((v, protocol)) = &s.knn {
            p { "kNN " (format!("{v:.1}")) " % (" (protocol) ")." }
            div.grid2 {
                (figure(
                    "Test features on their first two principal components",
                    plot::scatter("Test features", &s.points, &s.classes),
                ))
            }
            h3 { "Confusion of kNN" }
            @if s.classes.len() <= TABLE { (confusion(s)) } @else { (many_classes(s)) }
        }
    }
}

fn unseen() -> Markup {
    html! {
        h2 id="views" { "Views, neighbours, features" }
        p id="neighbours" { span id="features" {
            "These come when the run has ended, or now with " code { "amcl-wgpu report RUN" } "."
        } }
    }
}

/// Merges equal alarms of consecutive epochs into one (first epoch, last epoch, text).
fn runs<'a>(alarms: &[(u64, &'a str)]) -> Vec<(u64, u64, &'a str)> {
    let mut out: Vec<(u64, u64, &str)> = Vec::new();
    for (epoch, text) in alarms {
        let same = |r: &&mut (u64, u64, &str)| r.2 == *text && r.1 + 1 == *epoch;
        match out.iter_mut().rev().find(same) {
            Some(r) => r.1 = *epoch,
            None => out.push((*epoch, *epoch, text)),
        }
    }
    out
}

fn seconds(v: f64) -> String {
    format!("{v:.1} s")
}

/// A table of names and values.
fn table(rows: &[(&str, String)]) -> Markup {
    html! { div.scroll tabindex="0" { table {
        @for (what, v) in rows { tr { th scope="row" { (what) } td { (v) } } }
    } } }
}

/// Machine and memory plan, as the run wrote them down.
fn environment(f: &Facts) -> Markup {
    let e = &f.environment;
    let text = |key: &str| e[key].as_str().map(str::to_string);
    let size = |v: &Value| v.as_u64().map(|b| mebibytes(b as usize));
    let about = [
        ("amcl-wgpu", text("version")),
        ("device", text("device")),
        ("system", text("system")),
        ("kernel", text("kernel")),
        (
            "processor",
            text("arch")
                .zip(e["threads"].as_u64())
                .map(|(a, n)| format!("{a}, {n} threads")),
        ),
        ("memory of the machine", size(&e["memory_total"])),
    ];
    let m = &e["memory"];
    let plan = [
        ("planned in all", size(&m["planned"])),
        ("a training step", size(&m["training_step"])),
        ("the same without reuse", size(&m["without_reuse"])),
        (
            "parameters, moments, images, other states",
            size(&m["states"]),
        ),
        (
            "training images",
            m["images_on_device"]
                .as_bool()
                .map(|d| if d { "on the device" } else { "streamed" }.into()),
        ),
        (
            "allocated",
            f.summary.as_ref().and_then(|s| size(&s["allocated_bytes"])),
        ),
        (
            "beside it, inside the CPU's kernels",
            f.summary
                .as_ref()
                .filter(|s| s["scratch_bytes"] != 0)
                .and_then(|s| size(&s["scratch_bytes"])),
        ),
    ];
    let known = |rows: &[(&'static str, Option<String>)]| -> Vec<(&'static str, String)> {
        rows.iter()
            .filter_map(|(k, v)| Some((*k, v.clone()?)))
            .collect()
    };
    html! {
        h2 id="environment" { "Environment" }
        @if e.is_null() { p { "Not recorded by this run." } } @else { (table(&known(&about))) }
        h2 id="memory" { "Memory plan" }
        @if m.is_null() { p { "Not recorded by this run." } }
        @else {
            (table(&known(&plan)))
            details { summary { "Largest tensors of a training step" } div.scroll tabindex="0" { table {
                @for t in m["largest"].as_array().into_iter().flatten() {
                    tr { td { (size(&t[0]).unwrap_or_default()) } td { (t[1].as_str().unwrap_or_default()) } }
                }
            } } }
        }
    }
}

fn rest(f: &Facts) -> Markup {
    let alarms = f.alarms();
    let train: f64 = f.of("epoch").filter_map(|r| r["seconds"].as_f64()).sum();
    let eval: f64 = f.of("eval").filter_map(|r| r["seconds"].as_f64()).sum();
    let before = |key: &str| f.environment[key].as_f64();
    let mut times: Vec<(&str, String)> = Vec::new();
    let mut told = 0.0;
    for (what, v) in [
        ("reading the data", before("data_seconds")),
        (
            "compiling kernels, sending the data",
            before("compile_seconds"),
        ),
        ("training steps", Some(train)),
        ("evaluation", Some(eval)),
    ] {
        told += v.unwrap_or(0.0);
        times.extend(v.map(|v| (what, seconds(v))));
    }
    if let Some(all) = f.summary.as_ref().and_then(|s| s["seconds"].as_f64()) {
        // A resumed run sums its parts over all sessions, but measures the whole in the last one only. The
        // rest is then unknown.
        if all >= told {
            times.push(("checkpoints, records, this page", seconds(all - told)));
            times.push(("in all", seconds(all)));
        }
    }
    let total: f64 = f.ops.iter().map(|o| o.2).sum();
    html! {
        h2 id="alarms" { "Alarms" }
        @if alarms.is_empty() { p { "None." } }
        ul { @for (first, last, a) in runs(&alarms) {
            li.alarm { @if first == last { "epoch " (first) } @else { "epochs " (first) " to " (last) } ": " (a) }
        } }
        h2 id="setup" { "Configuration" }
        details { summary { "config.toml, as resolved" } pre tabindex="0" { (f.config_text) } }
        (environment(f))
        h2 id="time" { "Time" }
        (table(&times))
        (super::ranks::table(f))
        @if !f.ops.is_empty() {
            div.scroll tabindex="0" { table {
                tr { th { "op" } th { "calls" } th { "ms" } th { "share" } }
                @for (op, calls, ms) in &f.ops { tr {
                    td { (op) } td { (calls) }
                    td { (format!("{ms:.2}")) } td { (format!("{:.1} %", 100.0 * ms / total)) }
                } }
            } }
            p.soft { "One profiled step (" code { "--profile" } ")." }
        }
        @if let Some(s) = &f.summary { details { summary { "summary.json" } pre tabindex="0" { (format!("{s:#}")) } } }
        details { summary { "log.txt: data, device, memory plan, every epoch" } pre tabindex="0" { (f.log) } }
        p.soft { "Written by amcl-wgpu " (env!("CARGO_PKG_VERSION")) "." }
    }
}

/// The page as HTML.
pub fn html(f: &Facts) -> String {
    let body = html! {
        (head(f)) (curves(f)) (temperatures(f)) (super::heads::section(f)) (similarity(f))
        (reconstructions(f))
        @match &f.seen { Some(s) => { (seen(s)) } None => { (unseen()) } }
        (rest(f))
    };
    let reload = (f.state() == State::UnderWay).then_some(RELOAD);
    document(&format!("{} - amcl-wgpu", f.name), reload, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_that_go_on_are_told_once() {
        let alarms = [(1, "a"), (2, "a"), (2, "b"), (3, "a"), (5, "a")];
        assert_eq!(runs(&alarms), [(1, 3, "a"), (2, 2, "b"), (5, 5, "a")]);
    }
}
