//! `amcl-wgpu data inspect`.

use super::console::Console;
use amcl_wgpu::config::Config;
use amcl_wgpu::data::folder::READ_LATER;
use amcl_wgpu::data::inspect::{Channels, Inspection, channels, decode_all};
use amcl_wgpu::data::pack::kept_as;
use amcl_wgpu::data::{Dataset, Split};
use serde_json::{Value, json};
use std::time::Duration;

/// What a folder or list is: kind, counts, sizes, channel means and deviations.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// `shapes`, a folder, a packed set, a CSV list, or tar or parquet files.
    data: String,
    /// Side in pixels of the images that are kept of a folder; default: 32, and of a packed set its own.
    #[arg(long)]
    size: Option<usize>,
    /// Decode every image of all parts, name what is bad or odd, and say how fast that goes; none is kept.
    #[arg(long)]
    decode: bool,
    /// Any setting, as `train` takes it: --set data.unlabeled=true
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

fn three(v: [f64; 3]) -> String {
    format!("[{:.4}, {:.4}, {:.4}]", v[0], v[1], v[2])
}

/// Counts by class, and the channels of `of` in words.
fn describe(split: &Split, channels: &Channels, of: &str) -> (String, Value) {
    let count = |d: &Dataset, class: u32| d.labels.iter().filter(|l| **l == class).count();
    let mut lines = vec![split.description.clone()];
    let mut classes = Vec::new();
    for (i, name) in split.classes.iter().enumerate() {
        let (a, b) = (count(split.bank(), i as u32), count(&split.test, i as u32));
        classes.push(json!({"name": name, "train": a, "test": b}));
        if i < 20 {
            lines.push(format!("  {name}: {a} training, {b} test"));
        }
    }
    if split.classes.len() > 20 {
        lines.push(format!("  and {} classes more", split.classes.len() - 20));
    }
    let (mean, std) = (channels.mean(), channels.deviation());
    lines.push(format!(
        "{of}: mean {} deviation {} (for --set augment.mean=.. augment.std=..)",
        three(mean),
        three(std)
    ));
    let value = json!({
        "description": split.description, "train": split.train.len(), "test": split.test.len(),
        "height": split.train.height, "width": split.train.width,
        "classes": classes, "mean": mean, "std": std, "warnings": split.warnings,
    });
    (lines.join("\n"), value)
}

/// How fast images were read, by stage.
fn rates(found: &Inspection) -> (String, Value) {
    let (spent, seconds) = (found.spent, found.elapsed.as_secs_f64());
    // Packed pixels are neither decoded nor brought to size.
    let rate = |d: Duration| (!d.is_zero()).then(|| spent.images as f64 / d.as_secs_f64());
    let [read, decode, resize] = [spent.read, spent.decode, spent.resize].map(rate);
    let stages = [
        (read, "reads"),
        (decode, "decodes"),
        (resize, "brings to size"),
    ];
    let of = |(rate, what): (Option<f64>, &str)| Some(format!("{what} {:.0}/s", rate?));
    let stages: Vec<String> = stages.into_iter().filter_map(of).collect();
    let all = found.images as f64 / seconds.max(1e-9);
    let threads = match found.threads {
        1 => "1 thread".into(),
        n => format!("{n} threads"),
    };
    let bad = match found.bad {
        0 => "all of them can be read".into(),
        n => format!("{n} of them cannot be read"),
    };
    let text = format!(
        "{} images were decoded in {seconds:.1} s by {threads}, {all:.0}/s: {bad}\na thread by itself {}",
        found.images,
        stages.join(", ")
    );
    let value = json!({
        "images": found.images, "bad": found.bad, "damaged": found.damaged, "seconds": seconds,
        "threads": found.threads, "images_per_second": all, "read_per_thread": read, "decode_per_thread": decode,
        "resize_per_thread": resize, "notes": found.notes,
    });
    (text, value)
}

/// Runs the verb.
///
/// # Errors
/// Data that cannot be read; a packed set with images that are not as they were written.
pub fn run(args: &Args, console: &Console) -> anyhow::Result<()> {
    let data = &args.data;
    let packed = kept_as(data);
    let size = args.size.or(packed.map(|p| p.1)).unwrap_or(32);
    let kept = packed.map(|p| format!("data.stored={}", p.0));
    let mut own = vec![
        format!("data.path={}", toml::Value::String(data.clone())),
        format!("data.stored_size={size}"),
    ];
    if args.decode {
        own.push("data.memory_mib=0".into());
    }
    let all: Vec<String> = kept.iter().chain(&args.set).chain(&own).cloned().collect();
    let c = Config::parse("", &all)?;
    let decoding = |done, all| console.progress(done, all, "decoding images");
    let mut split = c.open_data(&decoding)?;
    let found = match args.decode {
        true => decode_all(&c.data_request(&decoding))?,
        false => None,
    };
    if found.is_some() {
        split.warnings.retain(|w| !w.contains(READ_LATER));
    } else if args.decode {
        console.say("this set is in memory as a whole: opening it has read every image");
    }
    for w in &split.warnings {
        console.warn(w);
    }
    let Some(found) = found else {
        let (of, count) = channels(&split.train)?;
        let what = match split.train.resident() {
            true => "training images".into(),
            false => format!("{count} training images at equal distances (--decode takes all)"),
        };
        let (text, mut value) = describe(&split, &of, &what);
        value["stored"] = json!(c.data.stored);
        console.result(&text, &value);
        return Ok(());
    };
    for note in &found.notes {
        console.warn(note);
    }
    let (text, mut value) = describe(&split, &found.channels, "training images");
    let (rates, decode) = rates(&found);
    value["decode"] = decode;
    value["stored"] = json!(c.data.stored);
    console.result(&format!("{text}\n{rates}"), &value);
    anyhow::ensure!(
        found.damaged == 0,
        "{} images of this packed set are not as they were written",
        found.damaged
    );
    Ok(())
}
