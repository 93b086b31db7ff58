//! `amcl-wgpu data`.

use super::console::{Console, OutputOptions};
use amcl_wgpu::config::Config;
use amcl_wgpu::data::download::fetch;
use amcl_wgpu::data::sets::{SETS, Unpack};
use amcl_wgpu::data::{Dataset, Split};
use amcl_wgpu::settings::did_you_mean;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Looks at data, or fetches public sets.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// What a folder or list is: kind, counts, sizes, channel means and deviations.
    Inspect {
        /// `shapes`, a folder, a CSV list, or tar or parquet files.
        data: String,
        /// Side in pixels of the images that are kept of a folder.
        #[arg(long, default_value_t = 32)]
        size: usize,
        /// Any setting, as `train` takes it: --set data.unlabeled=true
        #[arg(long, value_name = "KEY=VALUE")]
        set: Vec<String>,
    },
    /// Fetches cifar10, cifar100, stl10, tiny-imagenet, mnist or fashion-mnist; goes on where an earlier try stopped.
    Download {
        /// Name.
        name: String,
        /// Folder to put it into.
        #[arg(long, short, default_value = ".")]
        out: PathBuf,
        /// Another address of the same file; for sets of several files, of the folder they lie in.
        #[arg(long)]
        url: Option<String>,
        /// MD5 of the file at that address, if it is another file (sets of one file).
        #[arg(long, requires = "url")]
        md5: Option<String>,
    },
}

/// Channel means and deviations, of values in 0..1.
fn channels(d: &Dataset) -> ([f64; 3], [f64; 3]) {
    let (mut sum, mut square) = ([0u64; 3], [0u64; 3]);
    for px in d.images.chunks_exact(3) {
        for c in 0..3 {
            let v = u64::from(px[c]);
            sum[c] += v;
            square[c] += v * v;
        }
    }
    let n = (d.images.len() / 3).max(1) as f64;
    let mean = sum.map(|s| s as f64 / n / 255.0);
    let mut std = [0.0; 3];
    for c in 0..3 {
        std[c] = (square[c] as f64 / n / 65025.0 - mean[c] * mean[c])
            .max(0.0)
            .sqrt();
    }
    (mean, std)
}

fn describe(split: &Split) -> (String, Value) {
    let (mean, std) = channels(&split.train);
    let three = |v: [f64; 3]| format!("[{:.4}, {:.4}, {:.4}]", v[0], v[1], v[2]);
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
    lines.push(format!(
        "training images: mean {} deviation {} (for --set augment.mean=.. augment.std=..)",
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

fn download(
    console: &Console,
    name: &str,
    out: &Path,
    from: Option<&str>,
    md5: Option<&str>,
) -> anyhow::Result<()> {
    let Some(set) = SETS.iter().find(|s| s.name == name) else {
        let all = SETS.iter().map(|s| s.name);
        anyhow::bail!("no data set `{name}`; {}", did_you_mean(name, all));
    };
    anyhow::ensure!(
        md5.is_none() || set.files.len() == 1,
        "--md5 is of one file, and {name} has {}",
        set.files.len()
    );
    let data = out.join(set.folder);
    let into = if set.unpack.is_some() { out } else { &data };
    let mut paths = Vec::new();
    for (url, sum) in set.files {
        let file = url.rsplit('/').next().unwrap_or_default();
        // --url is the address of a set's only file, or of the folder of its several files.
        let url = match from {
            Some(u) if set.files.len() == 1 => u.to_string(),
            Some(u) => format!("{}/{file}", u.trim_end_matches('/')),
            None => url.to_string(),
        };
        let say = format!("MiB of {file}");
        paths.push(fetch(&url, md5.unwrap_or(sum), into, &|done, all| {
            console.progress((done >> 20) as usize, (all >> 20) as usize, &say);
        })?);
    }
    let names: Vec<String> = paths.iter().map(|p| p.display().to_string()).collect();
    let right = if names.len() == 1 {
        "its MD5 is right"
    } else {
        "their MD5s are right"
    };
    let mut text = format!("{}: {right}. ", names.join(", "));
    match set.unpack {
        Some(Unpack::TarGz) => {
            text += &format!(
                "Unpack it and train:\n  tar -xzf {} -C {}",
                names[0],
                out.display()
            );
        }
        Some(Unpack::Zip) => {
            text += &format!(
                "Unpack it and train:\n  unzip -q {} -d {}",
                names[0],
                out.display()
            );
        }
        None => text += "Train:",
    }
    text += &format!("\n  amcl-wgpu train --data {}", data.display());
    console.result(
        &text,
        &json!({"files": names, "data": data.display().to_string()}),
    );
    Ok(())
}

/// Runs the verb.
///
/// # Errors
/// Data that cannot be read; the network.
pub fn run(args: &Args, output: OutputOptions) -> anyhow::Result<()> {
    let console = output.console();
    match &args.command {
        Command::Inspect { data, size, set } => {
            let own = [
                format!("data.path={}", toml::Value::String(data.clone())),
                format!("data.stored_size={size}"),
            ];
            let c = Config::parse("", &[&set[..], &own].concat())?;
            let split = c.open_data(&|done, all| console.progress(done, all, "decoding images"))?;
            for w in &split.warnings {
                console.warn(w);
            }
            let (text, value) = describe(&split);
            console.result(&text, &value);
            Ok(())
        }
        Command::Download {
            name,
            out,
            url,
            md5,
        } => download(&console, name, out, url.as_deref(), md5.as_deref()),
    }
}
