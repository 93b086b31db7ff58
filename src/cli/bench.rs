//! `amcl-wgpu bench`: speed of every kernel family and of the training step.

use super::bench_compare::{self, Other, Report, Verdict};
use super::console::OutputOptions;
use super::number::within;
use amcl_wgpu::bench::loss::{self, LossSubject};
use amcl_wgpu::bench::step::{self, Floor, StepRow};
use amcl_wgpu::bench::{self, Ceilings, Effort, Row, Subject, shapes};
use amcl_wgpu::check::self_test;
use amcl_wgpu::device::{Choice, Device, Options};
use amcl_wgpu::graph::gpu::GpuExecutor;
use amcl_wgpu::graph::host::HostExecutor;
use amcl_wgpu::graph::{Executor, GraphError};
use amcl_wgpu::methods::METHODS;
use amcl_wgpu::run::{environment, output};
use amcl_wgpu::settings::above;
use amcl_wgpu::train::{Config, tune};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Times every kernel family and the training step against this device's own ceilings
#[derive(clap::Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,
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
    #[arg(long, default_value_t = 1.0, value_parser = within::<f64>(above(0.0).to(3600.0)))]
    seconds: f64,
    /// Write the results to this file as JSON.
    #[arg(long, short)]
    out: Option<PathBuf>,
    /// Replace the file of --out where it is already there.
    #[arg(long)]
    overwrite: bool,
    /// Print the ratio of each row's time to that in this file (written by --out): under 1 is faster. Given another
    /// build of this program, both are timed in turns, each ratio beside that of this program to itself.
    #[arg(long, value_name = "FILE|PROGRAM")]
    compare: Option<PathBuf>,
    /// Turns of both programs.
    #[arg(long, default_value_t = 5, requires = "compare", value_parser = within::<usize>(above(0.0).to(1000.0)))]
    turns: usize,
    /// Fail where a ratio is above this one (1.05, say), and, of two programs, above that of this one to itself.
    #[arg(long, requires = "compare", value_parser = within::<f64>(above(0.0).to(1e3)))]
    bound: Option<f64>,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    Data(super::bench_data::Args),
    Comm(super::bench_comm::Args),
}

impl Args {
    /// What is measured, as flags of another call of the verb.
    fn flags(&self) -> Vec<String> {
        let device = match &self.device {
            Choice::Name(name) => name.clone(),
            other => other.to_string(),
        };
        let mut flags = vec![
            format!("--device={device}"),
            format!("--seconds={}", self.seconds),
        ];
        if !self.filter.is_empty() {
            flags.push(format!("--filter={}", self.filter.join(",")));
        }
        flags.extend(self.shapes.iter().map(|s| format!("--shapes={s}")));
        flags.extend(self.batch_size.iter().map(|n| format!("--batch-size={n}")));
        flags.extend(self.no_autotune.then(|| "--no-autotune".into()));
        flags
    }
}

/// Settings of the training steps that are timed, name and overrides of the defaults: every method plain and
/// with AMCL, and SimCLR on Vision Transformers; `large`: at 224 px too, a ResNet-50 with a quarter of the batch and
/// Vision Transformers with half of it; `half`: in mixed precision as well.
fn steps(
    batch: usize,
    (large, half): (bool, bool),
    wanted: impl Fn(&str) -> bool,
) -> anyhow::Result<Vec<(String, Config)>> {
    let heads = ["heads.hidden=512", "heads.out=128"];
    let resnet18 = ["model.encoder=resnet18", "model.width=64"];
    let vit_small = ["model.encoder=vit_small", "model.patch=4"];
    // Name, images of a step, overrides.
    let mut methods: Vec<(String, usize, Vec<String>)> = Vec::new();
    let strings = |s: &[&str]| -> Vec<String> { s.iter().map(ToString::to_string).collect() };
    for m in METHODS {
        let mut own = vec![format!("method.name={}", m.name)];
        if m.has_heads {
            own.extend(heads.map(String::from));
        }
        own.extend(m.recipe.iter().map(ToString::to_string));
        let on_vit = m.needs_vit || m.recipe.iter().any(|r| r.starts_with("model.encoder=vit"));
        let (encoder, model) = match on_vit {
            true => ("vit_small/4", vit_small),
            false => ("resnet18", resnet18),
        };
        own.extend(strings(&model));
        // A queue holds at least the batch.
        if (m.keys)().iter().any(|k| k == "queue") {
            own.push(format!("method.queue={}", batch.max(4096)));
        }
        methods.push((format!("{encoder} {}", m.name), batch, own.clone()));
        if m.amcl {
            own.extend(["amcl.enabled=true".into(), "heads.count=3".into()]);
            let name = format!("{encoder} {}+amcl C=3", m.name);
            methods.push((name, batch, own));
        }
    }
    let with_heads = |model: &[&str]| strings(&[&heads, model].concat());
    methods.push(("vit_small/4 simclr".into(), batch, with_heads(&vit_small)));
    if large {
        let resnet50 = [
            "model.encoder=resnet50",
            "model.stem=imagenet",
            "model.image_size=224",
        ];
        let quarter = (batch / 4).max(2);
        methods.push((
            "resnet50 simclr 224 px".into(),
            quarter,
            with_heads(&resnet50),
        ));
        for encoder in ["vit_small", "vit_base"] {
            let name = format!("model.encoder={encoder}");
            let vit = [name.as_str(), "model.patch=16", "model.image_size=224"];
            let title = format!("{encoder}/16 simclr 224 px");
            methods.push((title, (batch / 2).max(2), with_heads(&vit)));
        }
    }
    let mut all = Vec::new();
    for precision in ["f32", "mixed"].into_iter().take(1 + usize::from(half)) {
        for (name, images, over) in &methods {
            let mark = if precision == "mixed" { " mixed" } else { "" };
            let title = format!("step {name}{mark} batch {images}");
            if !wanted(&title) {
                continue;
            }
            let mut over = over.clone();
            over.push(format!("optim.precision={precision:?}"));
            over.push(format!("optim.batch_size={images}"));
            let config = Config::parse("", &over)?;
            all.push((title, config));
        }
    }
    Ok(all)
}

/// What is to be measured.
struct Plan {
    subjects: Vec<Subject>,
    losses: Vec<LossSubject>,
    steps: Vec<(String, Config)>,
}

impl Plan {
    fn new(args: &Args, device: Option<&Device>) -> anyhow::Result<Self> {
        let large = large(args, device);
        // On a CPU driver f16 is slower than f32, so nobody uses it.
        let half = device.is_some_and(|d| d.limits.f16 && !d.limits.is_cpu);
        let wanted =
            |n: &str| args.filter.is_empty() || args.filter.iter().any(|f| n.contains(f.as_str()));
        let batch = args.batch_size.unwrap_or(if large { 256 } else { 8 });
        let mut subjects = shapes::subjects(large, half);
        subjects.retain(|s| wanted(&s.name));
        let mut losses = loss::subjects(large);
        losses.retain(|l| wanted(&l.name()));
        Ok(Self {
            subjects,
            losses,
            steps: steps(batch, (large, half), wanted)?,
        })
    }

    /// Times the tiles of all products and convolutions in the plan, and has the device take the fastest.
    fn tune(&self, device: &Device, choice: &Choice, print: &Printer) -> anyhow::Result<()> {
        let mut told = false;
        let mut progress = |_, all| {
            if !std::mem::replace(&mut told, true) {
                print.line(&format!(
                    "timing the tiles of up to {all} products and convolutions"
                ));
            }
        };
        let subjects: Vec<&Subject> = self.subjects.iter().collect();
        let graph = bench::graph(&subjects)?;
        let mut choices = tune::of_graphs(device, choice, &[&graph], &mut progress)?;
        for l in &self.losses {
            // The matrix of all pairs may be too large for this adapter. The row of the loss then says so.
            let graph = l.graph()?.0;
            if let Ok(more) = tune::of_graphs(device, choice, &[&graph], &mut progress) {
                choices.listed.extend(more.listed);
            }
        }
        for (_, config) in &self.steps {
            let more = tune::of_run(device, choice, config, &mut progress)?;
            choices.listed.extend(more.listed);
        }
        device.set_tiles(choices);
        Ok(())
    }
}

/// Whether the shapes are those for hardware GPUs.
fn large(args: &Args, device: Option<&Device>) -> bool {
    match args.shapes.as_deref() {
        Some(s) => s == "large",
        None => device.is_some_and(|d| d.report.kind != "cpu"),
    }
}

/// The table for people, row by row.
struct Printer {
    output: OutputOptions,
    /// The report that `--compare` names.
    before: Option<Box<Report>>,
}

impl Printer {
    fn line(&self, line: &str) {
        if !self.output.json && !self.output.quiet {
            outln!("{line}");
        }
    }

    fn head(&self, c: &Ceilings) {
        self.line(&format!(
            "ceilings measured: {:.1} GFLOP/s (fused multiply-add or product), {:.1} GB/s copy\n",
            c.gflops, c.gbytes
        ));
        self.line(&format!(
            "{:52} {:>10} {:>17} {:>9} {:>8} {:>6} {:>6}",
            "kernel", "median ms", "10%..90%", "GFLOP/s", "GB/s", "share", "ratio"
        ));
    }

    fn row(&self, r: &Row) {
        let before = self.before.as_ref().and_then(|b| b.seconds(&r.name));
        self.line(&format!(
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
    }

    fn step(&self, s: &StepRow, c: Ceilings) {
        let before = self.before.as_ref().and_then(|b| b.seconds(&s.name));
        let host = s
            .host_ms
            .map_or(String::new(), |ms| format!(", {ms:.1} ms of it the host's"));
        self.line(&format!(
            "{:52} {:10.1} ms {:8.1} views/s {:9.1} GFLOP/s {:5.1}% of the f32 ceiling, \
             {:.0} MiB planned, {:.0} allocated, first step after {:.1} s{host} {}",
            s.name,
            1e3 * s.seconds,
            s.views_per_s,
            s.gflops,
            100.0 * s.utilisation,
            s.planned_bytes as f64 / 1048576.0,
            s.allocated_bytes as f64 / 1048576.0,
            s.first_step_seconds,
            ratio(before, s.seconds)
        ));
        let all: f64 = s.ops.iter().map(|o| o.seconds).sum();
        if s.ops.is_empty() {
            return;
        }
        let known = c.gflops > 0.0 && c.gbytes > 0.0;
        let floors: Vec<Floor> = s.ops.iter().map(|o| Floor::of(o, c)).collect();
        let least: f64 = floors.iter().map(|f| f.seconds).sum();
        self.line(&match known {
            true => format!(
                "    its kernels take {:.1} ms; by the ceilings, op by op, {:.1} ms would do ({:.0} %)",
                1e3 * all,
                1e3 * least,
                100.0 * least / all
            ),
            false => format!("    its kernels take {:.1} ms", 1e3 * all),
        });
        let most = s
            .ops
            .iter()
            .zip(&floors)
            .filter(|(o, _)| o.seconds > 0.01 * all);
        for (o, f) in most {
            let floor = match known {
                true => format!(
                    "floor {:8.2} ms by {:10}, reached {:4.0} %",
                    1e3 * f.seconds,
                    if f.by_bytes { "bytes" } else { "operations" },
                    100.0 * f.seconds / o.seconds
                ),
                false => String::new(),
            };
            self.line(&format!(
                "      {:24} {:4} calls {:9.2} ms {:3.0} %  {floor}",
                o.op,
                o.calls,
                1e3 * o.seconds,
                100.0 * o.seconds / all
            ));
        }
    }
}

/// The ratio of a time to the earlier one, as text. Empty if there is none.
fn ratio(before: Option<f64>, now: f64) -> String {
    before.map_or(String::new(), |b| format!("{:.2}", now / b))
}

/// Opens the device. None: the CPU executor is measured.
fn open(choice: &Choice) -> anyhow::Result<Option<Arc<Device>>> {
    if *choice == Choice::Cpu {
        return Ok(None);
    }
    match self_test::open(choice, Options::default(), true, &mut |l| errln!("{l}")) {
        Err(e) if *choice == Choice::Auto => {
            errln!("{e}\nmeasuring the CPU executor instead");
            Ok(None)
        }
        other => Ok(Some(other?)),
    }
}

/// Runs the verb.
///
/// # Errors
/// No such device, a comparison that cannot be read, files. False: something is slower than `--bound` allows.
pub fn run(args: &Args, options: OutputOptions) -> anyhow::Result<bool> {
    match &args.what {
        Some(What::Comm(args)) => return super::bench_comm::run(args, options).map(|()| true),
        Some(What::Data(args)) => return super::bench_data::run(args, options).map(|()| true),
        None => {}
    }
    output::free(args.out.as_slice(), args.overwrite)?;
    let before = match args.compare.as_deref().map(Other::open).transpose()? {
        Some(Other::Program(other)) => return in_turns(args, &other, options),
        Some(Other::Report(r)) => Some(r),
        None => None,
    };
    let print = Printer {
        output: options,
        before,
    };
    let device = open(&args.device)?;
    let device = device.as_ref();
    let report = measure(args, device, &print)?;
    deliver(args, &report, options)?;
    let (Some(bound), Some(before)) = (args.bound, &print.before) else {
        return Ok(true);
    };
    let slower = bench_compare::slower(&report, before, bound);
    if !slower.is_empty() {
        errln!("above {bound} times what it took: {}", slower.join(", "));
    }
    Ok(slower.is_empty())
}

/// Prints and writes what was measured.
fn deliver(args: &Args, report: &impl Serialize, options: OutputOptions) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(report)?;
    if options.json {
        outln!("{text}");
    }
    if let Some(p) = &args.out {
        output::write(&[(p.clone(), (text + "\n").into_bytes())], args.overwrite)?;
    }
    Ok(())
}

/// Times this program and another in turns. False: a row is slower than `--bound` allows.
fn in_turns(args: &Args, other: &Path, options: OutputOptions) -> anyhow::Result<bool> {
    let print = Printer {
        output: options,
        before: None,
    };
    let turns = bench_compare::in_turns(other, &args.flags(), args.turns, |l| print.line(l))?;
    let name = |(version, commit): &(String, Option<String>)| {
        let commit = commit.as_deref().map(|c| &c[..c.len().min(10)]);
        format!("{version} {}", commit.unwrap_or("of no commit"))
    };
    let [ours, theirs] = turns.programs.each_ref().map(name);
    let processor = turns
        .processor
        .as_deref()
        .unwrap_or("a processor that is not told");
    print.line(&format!("device: {}, on {processor}", turns.device));
    print.line(&format!("this program is {ours}, the other {theirs}\n"));
    print.line(&bench_compare::head());
    for row in &turns.rows {
        print.line(&row.line(args.bound));
    }
    deliver(args, &turns, options)?;
    let bound = args.bound.unwrap_or(f64::INFINITY);
    let slower = turns
        .rows
        .iter()
        .filter(|r| r.verdict(bound) == Verdict::Slower);
    Ok(slower.count() == 0)
}

/// Measures ceilings, kernels, losses and steps, and prints each as soon as it is there.
fn measure(args: &Args, device: Option<&Arc<Device>>, print: &Printer) -> anyhow::Result<Report> {
    let fresh = || -> Result<Box<dyn Executor>, GraphError> {
        Ok(match device {
            None => Box::new(HostExecutor::<f32>::new()),
            Some(d) => Box::new(GpuExecutor::new(d.clone())),
        })
    };
    let exec = fresh()?;
    let (name, driver) = (exec.name(), environment::driver(exec.as_ref()));
    print.line(&format!(
        "device: {name}{}",
        driver
            .as_ref()
            .map_or(String::new(), |d| format!(", driver {d}"))
    ));
    let effort = Effort {
        warm: 2,
        warm_seconds: if device.is_some() { 0.15 } else { 0.0 },
        runs: 100,
        seconds: args.seconds,
    };
    let device = device.map(AsRef::as_ref);
    let ceilings = bench::ceilings(&fresh, large(args, device), effort)?;
    print.head(&ceilings);
    let plan = Plan::new(args, device)?;
    if let Some(d) = device.filter(|_| !args.no_autotune) {
        plan.tune(d, &args.device, print)?;
    }
    let of_op = |s: &Subject| bench::measure(fresh()?, s, effort, ceilings);
    let of_loss = |l: &LossSubject| l.measure(fresh()?, effort, ceilings);
    let ops = plan.subjects.iter().map(|s| (s.name.clone(), of_op(s)));
    let losses = plan.losses.iter().map(|l| (l.name(), of_loss(l)));
    let mut rows = Vec::new();
    for (name, measured) in ops.chain(losses) {
        match measured {
            Ok(row) => {
                print.row(&row);
                rows.push(row);
            }
            Err(e) => print.line(&format!("{name:52} {e}")),
        }
    }
    let longer = Effort {
        seconds: args.seconds * 5.0,
        ..effort
    };
    let mut steps = Vec::new();
    for (name, config) in &plan.steps {
        let row = step::measure(name, config, fresh()?, longer, ceilings)?;
        print.step(&row, ceilings);
        steps.push(row);
    }
    Ok(Report {
        version: env!("CARGO_PKG_VERSION").into(),
        commit: environment::commit().map(String::from),
        processor: environment::processor(),
        device: name,
        driver,
        ceilings,
        rows,
        steps,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// MAE, which has no heads to set, ended a whole `bench` before its first step, and so did LGP, which is for
    /// Vision Transformers.
    #[test]
    fn every_step_that_is_timed_is_a_valid_configuration() {
        let all = steps(8, (true, true), |_| true).expect("configurations");
        for m in METHODS {
            let of = |mark: &str| format!("{}{mark} batch 8", m.name);
            for mark in ["", " mixed"] {
                let timed = all.iter().any(|(t, _)| t.ends_with(&of(mark)));
                assert!(timed, "{}{mark}", m.name);
            }
        }
        let plain = steps(8, (false, false), |_| true).expect("configurations");
        assert!(plain.len() < all.len());
        assert!(!plain.iter().any(|(t, _)| t.contains("mixed")));
    }
}
