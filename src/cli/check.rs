//! `amcl-wgpu check`: every kernel against its twin, on this machine.

use super::console::OutputOptions;
use super::number::within;
use amcl_wgpu::check::{self, Case, Harness, gradient, harness};
use amcl_wgpu::device::{Choice, Options};
use amcl_wgpu::settings::between;
use serde_json::json;
use std::collections::BTreeMap;

/// Proves every kernel on this machine against the f64 CPU reference.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// auto, cpu, gpu, gpu:N or part of an adapter's name.
    #[arg(long, default_value = "auto")]
    device: Choice,
    /// Only cases whose title contains this text.
    #[arg(long)]
    filter: Option<String>,
    /// Keep the shader compiler's bounds checks (as the tests do); by default shaders run as in training.
    #[arg(long)]
    checked: bool,
    /// On a CPU driver, check the kernels for GPUs in place of those for CPU drivers.
    #[arg(long)]
    gpu_kernels: bool,
    /// Also pretend that bindings hold no more than this many bytes: proves the splitting of large tensors.
    #[arg(long, value_parser = within::<usize>(between(4096.0, 1e15)))]
    max_binding: Option<usize>,
    /// Also check gradient rules by central differences.
    #[arg(long)]
    gradients: bool,
    /// Also run the negative controls: deliberately broken shaders, which must fail.
    #[arg(long)]
    negative: bool,
    /// Print every case.
    #[arg(long, short)]
    verbose: bool,
}

impl Args {
    fn options(&self) -> Options {
        Options {
            checked: self.checked,
            gpu_kernels: self.gpu_kernels,
            max_binding: self.max_binding,
            ..Options::default()
        }
    }

    fn wanted(&self, title: &str) -> bool {
        let filter = self.filter.as_ref();
        filter.is_none_or(|f| title.contains(f.as_str()))
    }
}

/// Runs the verb; true when everything passed.
///
/// # Errors
/// No such device; a filter that leaves no case.
pub fn run(args: &Args, output: OutputOptions) -> anyhow::Result<bool> {
    let harness = open(args)?;
    if !output.json && !output.quiet {
        outln!("checking on {}", name(&harness));
    }
    let (cases, cannot): (Vec<_>, Vec<_>) = check::table()
        .into_iter()
        .filter(|c| args.wanted(&c.title()))
        .partition(|c| harness.can(c));
    let mut tally = Tally::default();
    for c in &cases {
        tally.case(&harness, c, args, output);
    }
    // Where products can use cooperative matrices, training may still choose the kernels without them. So
    // these are checked as well.
    if has_cooperative(&harness) {
        let options = Options {
            no_cooperative: true,
            ..args.options()
        };
        let harness = Harness::open(&args.device, options)?;
        for c in cases.iter().filter(|c| c.is_tiled()) {
            tally.case(&harness, c, args, output);
        }
    }
    if args.negative {
        tally.controls(&harness, args, output);
    }
    if !output.json {
        tally.print(cannot.len());
    }
    if cases.is_empty() && cannot.is_empty() {
        anyhow::bail!(
            "no case matches the filter `{}`",
            args.filter.as_deref().unwrap_or("")
        );
    }
    Ok(tally.failed == 0 && tally.unnoticed == 0)
}

/// Opens the device. `auto` without a hardware GPU checks the CPU executor.
fn open(args: &Args) -> anyhow::Result<Harness> {
    match Harness::open(&args.device, args.options()) {
        Err(e) if args.device == Choice::Auto => {
            errln!("{e}\nchecking the CPU executor's f32 twins against f64 instead");
            Ok(Harness::open(&Choice::Cpu, args.options())?)
        }
        other => Ok(other?),
    }
}

fn name(harness: &Harness) -> String {
    match harness {
        Harness::Gpu(d) => format!(
            "{} ({}, {})",
            d.report.name, d.report.backend, d.report.driver
        ),
        Harness::Cpu => "CPU executor (f32)".to_string(),
    }
}

fn has_cooperative(harness: &Harness) -> bool {
    matches!(harness, Harness::Gpu(d) if !d.limits.cooperative.is_empty())
}

/// The cases of an op.
#[derive(Clone, Copy, Default)]
struct OfOp {
    cases: usize,
    failed: usize,
    /// The largest error, in units of its bound.
    worst: f64,
}

/// What was found so far.
#[derive(Default)]
struct Tally {
    by_op: BTreeMap<&'static str, OfOp>,
    cases: usize,
    failed: usize,
    /// Negative controls that were run.
    controls: usize,
    /// Those of them that no case noticed.
    unnoticed: usize,
}

impl Tally {
    /// Runs a case, and its gradient rule where that was asked for.
    fn case(&mut self, harness: &Harness, c: &Case, args: &Args, output: OutputOptions) {
        let mut o = harness.run(c);
        if args.gradients
            && !c.differentiable.is_empty()
            && let Err(e) = gradient::check(c)
        {
            o.fault = e;
        }
        let failed = usize::from(!o.passed());
        let row = self.by_op.entry(c.op.name()).or_default();
        row.cases += 1;
        row.failed += failed;
        row.worst = row.worst.max(o.max_error / o.max_bound);
        self.cases += 1;
        self.failed += failed;
        if output.json {
            let line = json!({
                "case": o.title, "passed": o.passed(), "nmse": o.nmse, "nmse_bound": o.nmse_bound,
                "max_error": o.max_error, "max_bound": o.max_bound, "fault": o.fault,
            });
            outln!("{line}");
        } else if !o.passed() {
            outln!("FAIL  {}\n      {}", o.title, o.fault);
        } else if args.verbose {
            outln!(
                "ok    {}  nmse {:.1e} (bound {:.1e})",
                o.title,
                o.nmse,
                o.nmse_bound
            );
        }
    }

    /// Runs the negative controls of the device's kernels. A control is tried on all cases of its op if the
    /// filter leaves any of them.
    fn controls(&mut self, harness: &Harness, args: &Args, output: OutputOptions) {
        if matches!(harness, Harness::Cpu) {
            return;
        }
        let mut broken = check::mutations();
        if has_cooperative(harness) {
            broken.extend(check::cooperative_mutations());
        }
        for m in broken {
            let own: Vec<Case> = check::table()
                .into_iter()
                .filter(|c| c.op.name().starts_with(m.kernel) && harness.can(c))
                .collect();
            if !own.iter().any(|c| args.wanted(&c.title())) {
                continue;
            }
            self.controls += 1;
            match harness::negative_control(&args.device, &m, &own) {
                Ok(by) => {
                    if args.verbose && !output.json {
                        outln!("ok    negative control {}: caught by {by}", m.kernel);
                    }
                }
                Err(e) => {
                    self.unnoticed += 1;
                    errln!("FAIL  negative control {e}");
                }
            }
        }
    }

    /// Prints the table by op and the sums. `cannot` cases were not run because the adapter has no f16.
    fn print(&self, cannot: usize) {
        outln!(
            "\n{:28} {:>6} {:>8} {:>22}",
            "op",
            "cases",
            "failed",
            "worst error / bound"
        );
        for (op, row) in &self.by_op {
            outln!(
                "{op:28} {:>6} {:>8} {:>22.3}",
                row.cases,
                row.failed,
                row.worst
            );
        }
        outln!(
            "\n{} passed, {} failed",
            self.cases - self.failed,
            self.failed
        );
        if self.controls > 0 {
            outln!(
                "{} negative controls caught, {} not",
                self.controls - self.unnoticed,
                self.unnoticed
            );
        }
        if cannot > 0 {
            outln!("{cannot} cases in f16 not run: the adapter's shaders have no f16");
        }
    }
}
