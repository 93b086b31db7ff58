//! `amcl-wgpu check`: every kernel against its twin, on this machine.

use super::check_web;
use super::console::OutputOptions;
use super::number::within;
use amcl_wgpu::check::report::{Controls, is_report};
use amcl_wgpu::check::{self, Case, Harness, Report, gradient, harness};
use amcl_wgpu::device::{Choice, DeviceError, Options};
use amcl_wgpu::run::{environment, output};
use amcl_wgpu::settings::between;
use serde_json::json;
use std::path::PathBuf;

/// Proves every kernel on this machine against the f64 CPU reference.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// auto, cpu, gpu, gpu:N or part of an adapter's name.
    #[arg(long, default_value = "auto")]
    device: Choice,
    /// Only cases whose title contains this text.
    #[arg(long)]
    filter: Option<String>,
    /// Only every N-th case (and control) of each op, its first one among them.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = within::<usize>(between(1.0, 1e6)))]
    every: usize,
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
    /// Write what was found to this file as JSON: adapter, driver, limits, and by op the cases, the worst share of the
    /// bound and the time. A report that is already there is replaced.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Write a page into this folder, in place of checking here: it runs the cases on its visitor's browser and GPU, and
    /// makes a report of them. Within WebGPU's default limits; larger cases are left out, and named.
    #[arg(long, value_name = "DIR", conflicts_with_all = [
        "device", "report", "gradients", "negative", "checked", "gpu_kernels", "max_binding",
    ])]
    web: Option<PathBuf>,
    /// Replace the file of --report where it is something else, or the files of --web.
    #[arg(long)]
    overwrite: bool,
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

    /// What the cases depend on, for the report.
    fn flags(&self) -> Vec<String> {
        let switch = |on: bool, name: &str| on.then(|| name.to_string());
        let every = (self.every > 1).then(|| format!("--every {}", self.every));
        let filter = self.filter.as_ref().map(|f| format!("--filter {f:?}"));
        let binding = self.max_binding.map(|b| format!("--max-binding {b}"));
        let switches = [
            switch(self.checked, "--checked"),
            switch(self.gpu_kernels, "--gpu-kernels"),
            switch(self.gradients, "--gradients"),
            switch(self.negative, "--negative"),
        ];
        let valued = [filter, every, binding];
        valued.into_iter().chain(switches).flatten().collect()
    }

    /// The file of the report may be replaced.
    fn replaces(&self) -> bool {
        let earlier = self
            .report
            .as_ref()
            .and_then(|p| std::fs::read_to_string(p).ok());
        self.overwrite || earlier.is_some_and(|text| is_report(&text))
    }
}

/// Runs the verb; true when everything passed.
///
/// # Errors
/// No such device; a filter that leaves no case; a report that cannot be written.
pub fn run(args: &Args, output: OutputOptions) -> anyhow::Result<bool> {
    if let Some(folder) = &args.web {
        let mut cases = check::table();
        cases.retain(|c| args.wanted(&c.title()));
        anyhow::ensure!(!cases.is_empty(), "no case matches the filter");
        let cases = check::every(args.every, cases, |c| c.op.name());
        check_web::write(&cases, folder, args.overwrite, output)?;
        return Ok(true);
    }
    output::free(args.report.as_slice(), args.replaces())?;
    let harness = open(args)?;
    if !output.json && !output.quiet {
        outln!("checking on {}", name(&harness));
    }
    let mut report = Report::new(&harness, environment::commit(), args.flags());
    let cases = chosen(args, &harness, &mut report)?;
    let mut checker = Checker {
        args,
        output,
        report,
    };
    for c in &cases {
        checker.case(&harness, c, "");
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
            checker.case(&harness, c, " (no cooperative matrices)");
        }
    }
    if args.negative {
        checker.controls(&harness);
    }
    let report = checker.report;
    if !output.json {
        print(&report);
    }
    if let Some(path) = &args.report {
        let text = serde_json::to_string_pretty(&report)? + "\n";
        output::write(&[(path.clone(), text.into_bytes())], args.replaces())?;
        if !output.json && !output.quiet {
            outln!("report: {}", path.display());
        }
    }
    Ok(report.is_clean())
}

/// The cases to run. The report is told of the others.
fn chosen(args: &Args, harness: &Harness, report: &mut Report) -> anyhow::Result<Vec<Case>> {
    let (wanted, others): (Vec<_>, Vec<_>) = check::table()
        .into_iter()
        .partition(|c| args.wanted(&c.title()));
    let filter = args.filter.as_deref().unwrap_or("");
    if wanted.is_empty() {
        anyhow::bail!("no case matches the filter `{filter}`");
    }
    report.leave_out("--filter", others.len());
    let (possible, cannot): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|c| harness.can(c));
    report.leave_out("the adapter's shaders have no f16", cannot.len());
    let all = possible.len();
    let cases = check::every(args.every, possible, |c| c.op.name());
    report.leave_out("--every", all - cases.len());
    Ok(cases)
}

/// Opens the device. `auto` without a hardware GPU checks the CPU executor.
fn open(args: &Args) -> anyhow::Result<Harness> {
    match Harness::open(&args.device, args.options()) {
        Err(e @ DeviceError::NoAdapter(_)) if args.device == Choice::Auto => {
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

/// Runs cases and prints them as they end.
struct Checker<'a> {
    args: &'a Args,
    output: OutputOptions,
    report: Report,
}

impl Checker<'_> {
    /// Runs a case, and its gradient rule where that was asked for. `suffix` is put behind its title.
    fn case(&mut self, harness: &Harness, c: &Case, suffix: &str) {
        let mut o = harness.run(c);
        o.title += suffix;
        if self.args.gradients
            && !c.differentiable.is_empty()
            && let Err(e) = gradient::check(c)
        {
            o.fault = e;
        }
        self.report.add(c.op.name(), &o);
        if self.output.json {
            let line = json!({
                "case": o.title, "passed": o.passed(), "nmse": o.nmse, "nmse_bound": o.nmse_bound,
                "max_error": o.max_error, "max_bound": o.max_bound, "fault": o.fault,
            });
            outln!("{line}");
        } else if !o.passed() {
            outln!("FAIL  {}\n      {}", o.title, o.fault);
        } else if self.args.verbose {
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
    fn controls(&mut self, harness: &Harness) {
        if matches!(harness, Harness::Cpu) {
            return;
        }
        let mut broken = check::mutations();
        if has_cooperative(harness) {
            broken.extend(check::cooperative_mutations());
        }
        let broken = check::every(self.args.every, broken, |m| m.kernel);
        let two_buffers = check::two_buffer_mutations();
        let two_buffers = check::every(self.args.every, two_buffers, |m| m.kernel);
        let mut found = Controls::default();
        let broken = broken.into_iter().map(|m| (m, false));
        for (m, two_buffers) in broken.chain(two_buffers.into_iter().map(|m| (m, true))) {
            let own: Vec<Case> = check::table()
                .into_iter()
                .filter(|c| c.op.name().starts_with(m.kernel) && harness.can(c))
                .collect();
            if !own.iter().any(|c| self.args.wanted(&c.title())) {
                continue;
            }
            match harness::negative_control(&self.args.device, &m, two_buffers, &own) {
                Ok(by) => {
                    found.caught += 1;
                    if self.args.verbose && !self.output.json {
                        outln!("ok    negative control {}: caught by {by}", m.kernel);
                    }
                }
                Err(e) => {
                    found.unnoticed += 1;
                    errln!("FAIL  negative control {e}");
                }
            }
        }
        self.report.controls = Some(found);
    }
}

/// Prints the table by op and the sums.
fn print(report: &Report) {
    outln!(
        "\n{:28} {:>6} {:>8} {:>22}",
        "op",
        "cases",
        "failed",
        "worst error / bound"
    );
    for (op, row) in &report.ops {
        outln!(
            "{op:28} {:>6} {:>8} {:>22.3}",
            row.cases,
            row.failed,
            row.worst
        );
    }
    outln!("\n{} passed, {} failed", report.passed, report.failed);
    if let Some(c) = report.controls.filter(|c| c.caught + c.unnoticed > 0) {
        outln!("{} negative controls caught, {} not", c.caught, c.unnoticed);
    }
    for (reason, cases) in &report.not_run {
        outln!("{cases} cases not run: {reason}");
    }
}
