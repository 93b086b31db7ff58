//! `amcl-wgpu bench`: speed of every kernel family and of the training step.

use super::console::Voice;
use amcl_wgpu::bench::{self, Ceilings, Effort, Row, loss, shapes, step};
use amcl_wgpu::check::self_test;
use amcl_wgpu::device::{Choice, Options};
use amcl_wgpu::graph::gpu::GpuExecutor;
use amcl_wgpu::graph::host::HostExecutor;
use amcl_wgpu::graph::{Executor, GraphError};
use amcl_wgpu::train::{Config, tune};
use anyhow::Context;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Times every kernel family and the training step against this device's own ceilings
#[derive(clap::Args, Debug)]
pub struct Args {
    /// auto, cpu, gpu, gpu:N or part of an adapter's name.
    #[arg(long, default_value = "auto")]
    device: Choice,
    /// Only rows whose name contains one of these texts, separated by commas (`step` for the training steps).
    #[arg(long, value_delimiter = ',')]
    filter: Vec<String>,
    /// Shapes for hardware GPUs (large) or for CPUs (small); default by the device.
    #[arg(long, value_parser = ["small", "large"])]
    shapes: Option<String>,
    /// Images per training step; default 256 (large) or 8 (small).
    #[arg(long)]
    batch_size: Option<usize>,
    /// On a GPU, take the tiles of products and convolutions from a table instead of timing them first.
    #[arg(long)]
    no_autotune: bool,
    /// Seconds per row.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Write the results to this file as JSON.
    #[arg(long, short)]
    out: Option<PathBuf>,
    /// Print the ratio of each row's time to that in this file (written by --out): under 1 is faster.
    #[arg(long)]
    compare: Option<PathBuf>,
}

/// What is written.
#[derive(Debug, Serialize, Deserialize)]
struct Report {
    version: String,
    device: String,
    ceilings: Ceilings,
    rows: Vec<Row>,
    steps: Vec<step::StepRow>,
}

/// Settings of the training steps that are timed, name and overrides of the defaults: every method plain and with AMCL; `large`: a ResNet-50 at 224 px too, with a quarter of the batch;
/// `half`: in mixed precision as well.
fn steps(
    batch: usize,
    (large, half): (bool, bool),
    wanted: impl Fn(&str) -> bool,
) -> anyhow::Result<Vec<(String, Config)>> {
    let base = [
        "model.encoder=resnet18".to_string(),
        "model.width=64".into(),
        "heads.hidden=512".into(),
        "heads.out=128".into(),
        format!("optim.batch_size={batch}"),
    ];
    let amcl: &[&str] = &["amcl.enabled=true", "heads.count=3"];
    // What the methods ask of the batch: groups of at least two, a queue that holds it.
    let splits = (1..=8usize)
        .rev()
        .find(|n| batch.is_multiple_of(*n) && batch / n >= 2);
    let splits = format!("method.bn_splits={}", splits.unwrap_or(1));
    let queue = format!("method.queue={}", batch.max(4096));
    let moco: &[&str] = &["method.name=moco", &splits, &queue];
    let deep: &[&str] = &["heads.layers=3", "heads.out=512"];
    let simsiam: &[&str] = &["method.name=simsiam", "heads.out=512", "heads.last=norm"];
    let barlow = [&["method.name=barlow_twins"], deep].concat();
    let quarter = (batch / 4).max(2);
    let quarter_batch = format!("optim.batch_size={quarter}");
    let resnet50 = [
        "model.encoder=resnet50",
        "model.stem=imagenet",
        "model.image_size=224",
        &quarter_batch,
    ];
    let mut methods: Vec<(&str, Vec<&str>)> = vec![
        ("simclr", vec![]),
        ("simclr+amcl C=3", amcl.to_vec()),
        ("moco", moco.to_vec()),
        ("moco+amcl C=3", [moco, amcl].concat()),
        ("simsiam", simsiam.to_vec()),
        ("simsiam+amcl C=3", [simsiam, amcl].concat()),
        ("barlow_twins", barlow.to_vec()),
        ("barlow_twins+amcl C=3", [&barlow, amcl].concat()),
        ("byol", vec!["method.name=byol"]),
        ("vicreg", [&["method.name=vicreg"], deep].concat()),
    ];
    if large {
        methods.push(("resnet50 simclr 224 px", resnet50.to_vec()));
    }
    let mut all = Vec::new();
    for precision in ["f32", "mixed"].into_iter().take(1 + usize::from(half)) {
        for (name, over) in &methods {
            let mark = if precision == "mixed" { " mixed" } else { "" };
            let title = match name.starts_with("resnet") {
                true => format!("step {name}{mark} batch {quarter}"),
                false => format!("step resnet18 {name}{mark} batch {batch}"),
            };
            if !wanted(&title) {
                continue;
            }
            let mut over: Vec<String> = over.iter().map(ToString::to_string).collect();
            over.push(format!("optim.precision={precision:?}"));
            let config = Config::parse("", &[&base[..], &over].concat())?;
            all.push((title, config));
        }
    }
    Ok(all)
}

/// Runs the verb.
///
/// # Errors
/// No such device, a comparison that cannot be read, files.
pub fn run(args: &Args, voice: Voice) -> anyhow::Result<()> {
    let say = |line: String| {
        if !voice.json && !voice.quiet {
            outln!("{line}");
        }
    };
    let old: Option<Report> = match &args.compare {
        None => None,
        Some(p) => {
            let text = std::fs::read_to_string(p)
                .with_context(|| format!("cannot read {}", p.display()))?;
            Some(
                serde_json::from_str(&text)
                    .with_context(|| format!("{} was not written by bench --out", p.display()))?,
            )
        }
    };
    let device = match &args.device {
        Choice::Cpu => None,
        choice => match self_test::open(choice, Options::default(), true, &mut |l| errln!("{l}")) {
            Err(e) if *choice == Choice::Auto => {
                errln!("{e}\nmeasuring the CPU executor instead");
                None
            }
            other => Some(other?),
        },
    };
    let fresh = || -> Result<Box<dyn Executor>, GraphError> {
        Ok(match &device {
            None => Box::new(HostExecutor::<f32>::new()),
            Some(d) => Box::new(GpuExecutor::new(d.clone())),
        })
    };
    let large = match args.shapes.as_deref() {
        Some(s) => s == "large",
        None => device.as_ref().is_some_and(|d| d.report.kind != "cpu"),
    };
    let name = fresh()?.name();
    say(format!("device: {name}"));
    let effort = Effort {
        warm: 2,
        warm_seconds: if device.is_some() { 0.15 } else { 0.0 },
        runs: 100,
        seconds: args.seconds,
    };
    let ceilings = bench::ceilings(&fresh, large, effort)?;
    say(format!(
        "ceilings measured: {:.1} GFLOP/s (fused multiply-add or product), {:.1} GB/s copy\n",
        ceilings.gflops, ceilings.gbytes
    ));
    say(format!(
        "{:52} {:>10} {:>17} {:>9} {:>8} {:>6} {:>6}",
        "kernel", "median ms", "10%..90%", "GFLOP/s", "GB/s", "share", "ratio"
    ));
    let wanted =
        |n: &str| args.filter.is_empty() || args.filter.iter().any(|f| n.contains(f.as_str()));
    let ratio =
        |old: Option<f64>, new: f64| old.map_or(String::new(), |o| format!("{:.2}", new / o));
    // On a CPU driver halves are only slower.
    let half = device
        .as_ref()
        .is_some_and(|d| d.limits.f16 && !d.limits.is_cpu);
    let all = shapes::subjects(large, half);
    let subjects: Vec<&bench::Subject> = all.iter().filter(|s| wanted(&s.name)).collect();
    let losses = loss::subjects(large)
        .into_iter()
        .filter(|l| wanted(&l.name()));
    let losses: Vec<loss::LossSubject> = losses.collect();
    let batch = args.batch_size.unwrap_or(if large { 256 } else { 8 });
    let steps = steps(batch, (large, half), wanted)?;
    if let Some(d) = device.as_ref().filter(|_| !args.no_autotune) {
        let mut told = false;
        let mut progress = |_, all| {
            if !std::mem::replace(&mut told, true) {
                say(format!(
                    "timing the tiles of up to {all} products and convolutions"
                ));
            }
        };
        let graph = bench::graph(&subjects)?;
        let mut choices = tune::of_graphs(d, &args.device, &[&graph], &mut progress)?;
        for l in &losses {
            // Matrices of all pairs may be too large for this adapter: their row will say so.
            let graph = l.graph()?.0;
            if let Ok(more) = tune::of_graphs(d, &args.device, &[&graph], &mut progress) {
                choices.listed.extend(more.listed);
            }
        }
        for (_, config) in &steps {
            let more = tune::of_run(d, &args.device, config, &mut progress)?;
            choices.listed.extend(more.listed);
        }
        d.choose(choices);
    }
    let mut rows = Vec::new();
    let of_op = |s: &bench::Subject| bench::measure(fresh()?, s, effort, ceilings);
    let of_loss = |l: &loss::LossSubject| l.measure(fresh()?, effort, ceilings);
    let ops = subjects.iter().map(|s| (s.name.clone(), of_op(s)));
    let measured = ops.chain(losses.iter().map(|l| (l.name(), of_loss(l))));
    for (name, r) in measured {
        let r = match r {
            Ok(r) => r,
            Err(e) => {
                say(format!("{name:52} {e}"));
                continue;
            }
        };
        let before = old
            .as_ref()
            .and_then(|o| o.rows.iter().find(|b| b.name == r.name))
            .map(|b| b.seconds);
        say(format!(
            "{:52} {:10.3} {:8.3}..{:<7.3} {:9.1} {:8.1} {:5.0}% {:>6}",
            r.name,
            1e3 * r.seconds,
            1e3 * r.low,
            1e3 * r.high,
            r.gflops,
            r.gbytes,
            100.0 * r.share,
            ratio(before, r.seconds)
        ));
        rows.push(r);
    }
    let mut timed = Vec::new();
    for (name, config) in &steps {
        let longer = Effort {
            seconds: args.seconds * 5.0,
            ..effort
        };
        let s = step::measure(name, config, fresh()?, longer, ceilings)?;
        let before = old
            .as_ref()
            .and_then(|o| o.steps.iter().find(|b| b.name == s.name))
            .map(|b| b.seconds);
        say(format!(
            "{:52} {:10.1} ms {:8.1} views/s {:9.1} GFLOP/s {:5.1}% of the f32 ceiling, {:.0} MiB planned, {:.0} allocated, first step after {:.1} s{} {}",
            s.name,
            1e3 * s.seconds,
            s.views_per_s,
            s.gflops,
            100.0 * s.utilisation,
            s.planned_bytes as f64 / 1048576.0,
            s.allocated_bytes as f64 / 1048576.0,
            s.first_step_seconds,
            s.host_ms
                .map_or(String::new(), |ms| format!(", {ms:.1} ms of it the host's")),
            ratio(before, s.seconds)
        ));
        let all: f64 = s.ops.iter().map(|o| o.seconds).sum();
        let largest = s.ops.iter().take(6);
        let shares = largest.map(|o| format!("{} {:.0} %", o.op, 100.0 * o.seconds / all));
        let shares: Vec<String> = shares.collect();
        if !shares.is_empty() {
            say(format!("    of its kernels: {}", shares.join(", ")));
        }
        timed.push(s);
    }
    let report = Report {
        version: env!("CARGO_PKG_VERSION").into(),
        device: name,
        ceilings,
        rows,
        steps: timed,
    };
    let text = serde_json::to_string_pretty(&report)?;
    if voice.json {
        outln!("{text}");
    }
    if let Some(p) = &args.out {
        std::fs::write(p, text + "\n").with_context(|| format!("cannot write {}", p.display()))?;
    }
    Ok(())
}
