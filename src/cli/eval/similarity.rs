//! `amcl-wgpu eval similarity`.

use super::super::console::Console;
use super::super::opened::On;
use super::source::Source;
use amcl_wgpu::config::Precision;
use amcl_wgpu::downstream::similarity::{FIRST, Similarity, WIDTH, similarity};
use amcl_wgpu::report::pairs;
use amcl_wgpu::run::checkpoint::write_atomically;
use amcl_wgpu::run::weights;
use amcl_wgpu::train::session::open_executor;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// A score in a line.
fn lines(letters: &str, found: &Similarity) -> Vec<String> {
    let mut out = vec![format!("augmentation {letters}")];
    out.extend(found.scores.iter().map(|s| {
        format!(
            "  {:34} positive {:6.3}  negative {:6.3}  overlap {:5.1} %",
            s.of, s.positive, s.negative, s.overlap
        )
    }));
    out
}

/// Draws a result of the run beside the file that holds it, under that file's name.
fn draw(run: &Path, file: &Path, result: &Value) -> anyhow::Result<PathBuf> {
    let whole = std::fs::canonicalize(run)?;
    let name = whole.file_name().unwrap_or_default().to_string_lossy();
    let page = file.with_extension("html");
    write_atomically(&page, pairs::page(&name, result).as_bytes())?;
    Ok(page)
}

/// Runs the protocol: prints the scores, writes them beside the run as `eval-similarity.json`, and draws them as `eval-similarity.html`.
///
/// # Errors
/// No such run, fewer than two test images, the device.
pub fn run(
    on: &On,
    wanted: usize,
    families: &[String],
    seed: u64,
    console: &Console,
) -> anyhow::Result<()> {
    let found = weights::of_run(&on.run, |w| console.warn(&w))?;
    let mut config = found.config.clone();
    config.data.path = on.data.clone().unwrap_or(config.data.path);
    let split = config.open_data(&|done, all| console.progress(done, all, "decoding images"))?;
    let own = vec![config.augment.families.clone()];
    let (mut text, mut rows) = (Vec::new(), Vec::new());
    let mut value = json!({
        "pairs_wanted": wanted, "bins": {"first": round(FIRST), "width": round(WIDTH)},
    });
    for letters in if families.is_empty() { &own } else { families } {
        let mut policy = config.augment.clone();
        policy.families = letters.clone();
        policy.validate().map_err(anyhow::Error::msg)?;
        let mut exec = open_executor(&on.device, &[], Precision::F32, |_| ())?;
        let scores = similarity(&found, &split.test, &policy, wanted, seed, exec.as_mut())?;
        text.extend(lines(letters, &scores));
        rows.push(json!({"families": letters, "scores": scores.scores}));
        value["pairs"] = scores.pairs.into();
        value["merged"] = scores.merged.into();
        value["scaled"] = scores.scaled.into();
    }
    value["similarity"] = rows.into();
    let n = value["pairs"].as_u64().unwrap_or(0);
    if n < wanted as u64 {
        value["short"] = format!(
            "{wanted} pairs were wanted; the {n} test images give {n}, as each is in one positive pair"
        )
        .into();
    }
    let protocol = format!(
        "{n} positive pairs (two views of a test image) and {n} negative pairs (views of different test images), seed {seed}; cosines; bins of 0.06 with an edge at -0.2"
    );
    let source = Source {
        on,
        data: &split.description,
        seed,
        epoch: found.at.epoch,
    };
    let mut value = source.write("similarity", &protocol, value)?;
    let page = draw(&on.run, &source.file("similarity")?, &value)?
        .display()
        .to_string();
    text.push(protocol);
    for (what, key) in [
        ("", "short"),
        ("merged: ", "merged"),
        ("temperature-scaled: ", "scaled"),
    ] {
        text.extend(value[key].as_str().map(|t| format!("{what}{t}")));
    }
    text.push(format!("drawn in {page}"));
    value["figure"] = page.into();
    console.result(&text.join("\n"), &value);
    Ok(())
}

/// A number of a file, without the digits that a float of half the width has not.
fn round(v: f32) -> f64 {
    (f64::from(v) * 1e6).round() / 1e6
}
