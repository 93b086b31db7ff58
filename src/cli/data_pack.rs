//! `amcl-wgpu data pack`.

use super::console::Console;
use super::number::within;
use super::train::{STOP, catch_signals};
use amcl_wgpu::config::Config;
use amcl_wgpu::data::Kept;
use amcl_wgpu::data::pack::{Packing, Records, SHARD_MIB, pack};
use amcl_wgpu::settings::{SEED, between};
use serde_json::json;
use std::path::PathBuf;
use std::time::Instant;

/// Decodes the images of a set once, into a few large files that training reads faster than the set; goes on where an
/// earlier try broke off.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A folder or a CSV list of images, or tar or parquet files.
    data: String,
    /// Folder for the packed set: `train --data` takes it in place of the set.
    #[arg(long, short)]
    out: PathBuf,
    /// raw (RGB: the bits that training on the set itself sees) or jpeg90 (JPEGs of quality 90, a tenth of the bytes).
    #[arg(long = "as", value_name = "RECORDS", default_value_t = Records::Raw)]
    records: Records,
    /// Side in pixels to which the images are brought. 256 is what views of 224 are cut from.
    #[arg(long, default_value_t = 256, value_parser = within::<usize>(between(1.0, 8192.0)))]
    size: usize,
    /// Write the images in an order drawn from this seed, for disks that read neighbours faster
    /// (data.shuffle = "blocks"); their numbers stay.
    #[arg(long, value_name = "SEED", value_parser = within::<u64>(SEED))]
    shuffle: Option<u64>,
    /// A file ends after so many MiB.
    #[arg(long, default_value_t = SHARD_MIB, value_parser = within::<usize>(between(1.0, 4096.0)))]
    shard_mib: usize,
    /// Any setting, as `train` takes it: --set data.threads=4
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Runs the verb; false when interrupted.
///
/// # Errors
/// As [`pack`].
pub fn run(args: &Args, console: &Console) -> anyhow::Result<bool> {
    let own = [
        format!("data.path={}", toml::Value::String(args.data.clone())),
        format!("data.stored_size={}", args.size),
    ];
    let config = Config::parse("", &[&args.set[..], &own].concat())?;
    catch_signals()?;
    let begin = Instant::now();
    let packed = pack(&Packing {
        data: config.data_request(&|done, all| console.progress(done, all, "images packed")),
        out: &args.out,
        records: args.records,
        shuffle: args.shuffle,
        shard_mib: args.shard_mib,
        stop: &STOP,
    })?;
    let seconds = begin.elapsed().as_secs_f64();
    for note in &packed.notes {
        console.warn(note);
    }
    let (out, mib) = (args.out.display(), packed.bytes >> 20);
    let found = match packed.found {
        0 => String::new(),
        n => format!(" ({n} of them there before)"),
    };
    let shards = match packed.shards {
        1 => format!("1 shard{found}, {mib} MiB"),
        n => format!("{n} shards{found}, {mib} MiB"),
    };
    let kept = match config.data.stored {
        Kept::Square => String::new(),
        other => format!(" --set data.stored={other}"),
    };
    let text = match packed.finished {
        true => format!(
            "{} images in {out}: {shards}, {seconds:.0} s\nnext: amcl-wgpu train --data {out}{kept}",
            packed.images
        ),
        false => format!(
            "stopped with {shards} in {out}: run the same command again, and it goes on from there"
        ),
    };
    let value = json!({
        "finished": packed.finished, "images": packed.images, "bad": packed.bad, "shards": packed.shards,
        "found": packed.found, "bytes": packed.bytes, "seconds": seconds, "out": out.to_string(),
        "notes": packed.notes,
    });
    console.result(&text, &value);
    Ok(packed.finished)
}
