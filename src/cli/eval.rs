//! `amcl-wgpu eval`.

use amcl_wgpu::device::Choice;
use amcl_wgpu::train::checkpoint;
use amcl_wgpu::train::config::Config;
use amcl_wgpu::train::session::{Session, open_executor};
use anyhow::Context;
use std::path::PathBuf;

/// Evaluates a run's encoder.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    protocol: Protocol,
}

#[derive(clap::Subcommand, Debug)]
enum Protocol {
    /// k nearest neighbours on backbone features.
    Knn {
        /// Run folder.
        run: PathBuf,
        /// Other data than the run's.
        #[arg(long)]
        data: Option<String>,
        /// Neighbours.
        #[arg(long)]
        k: Option<usize>,
        /// Temperature of the votes.
        #[arg(long)]
        t: Option<f32>,
        /// auto, cpu, gpu, gpu:N or part of an adapter's name.
        #[arg(long, default_value = "auto")]
        device: Choice,
    },
}

/// Runs the verb.
///
/// # Errors
/// No such run, no usable checkpoint, other data of another size.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let Protocol::Knn {
        run,
        data: other,
        k,
        t,
        device,
    } = &args.protocol;
    let text = std::fs::read_to_string(run.join("config.toml"))
        .with_context(|| format!("{} is no run folder", run.display()))?;
    let mut c = Config::parse(&text, &[])?;
    c.data.path = other.clone().unwrap_or(c.data.path);
    c.run.knn_k = k.unwrap_or(c.run.knn_k).max(1);
    c.run.knn_t = t.unwrap_or(c.run.knn_t);
    let split = c.open_data(&|_, _| ())?;
    println!("data: {}", split.description);
    split.warnings.iter().for_each(|w| eprintln!("data: {w}"));
    anyhow::ensure!(
        !split.classes.is_empty(),
        "kNN needs labels: a folder a class, or a labelled data set"
    );
    let exec = open_executor(device, &[], |n| println!("{n}"))?;
    let mut session = Session::new(&c, exec, &split.train)?;
    let at = checkpoint::load_latest(
        &run.join("checkpoints"),
        session.exec.as_mut(),
        &session.model.states,
        |w| eprintln!("{w}"),
    )?;
    let (v, _) = session.knn(&split)?;
    println!(
        "kNN top-1 {v:.2} %: k={} (bank of {}), t={}, cosine, backbone features, test transform, running statistics, after epoch {}",
        c.run.knn_k.min(split.train.len()),
        split.train.len(),
        c.run.knn_t,
        at.epoch
    );
    Ok(())
}
