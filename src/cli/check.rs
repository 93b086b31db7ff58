//! `amcl-wgpu check`: every kernel against its twin, on this machine.

use super::console::Voice;
use amcl_wgpu::check::{self, Harness, gradient, harness};
use amcl_wgpu::device::{Choice, Options};
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
    /// On a CPU driver, check the kernels that are meant for GPUs instead of its own.
    #[arg(long)]
    gpu_kernels: bool,
    /// Also pretend that bindings hold no more than this many bytes: proves the splitting of large tensors.
    #[arg(long)]
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

/// Runs the verb; true when everything passed.
///
/// # Errors
/// No such device.
pub fn run(args: &Args, voice: Voice) -> anyhow::Result<bool> {
    let options = || Options {
        checked: args.checked,
        gpu_kernels: args.gpu_kernels,
        max_binding: args.max_binding,
        ..Options::default()
    };
    let harness = match Harness::open(&args.device, options()) {
        Err(e) if args.device == Choice::Auto => {
            errln!("{e}\nchecking the CPU executor's f32 twins against f64 instead");
            Harness::open(&Choice::Cpu, options())?
        }
        other => other?,
    };
    let on = match &harness {
        Harness::Gpu(d) => format!(
            "{} ({}, {})",
            d.report.name, d.report.backend, d.report.driver
        ),
        Harness::Cpu => "CPU executor (f32)".to_string(),
    };
    if !voice.json && !voice.quiet {
        outln!("checking on {on}");
    }
    let wanted = |title: &str| {
        args.filter
            .as_ref()
            .is_none_or(|f| title.contains(f.as_str()))
    };
    let (cases, cannot): (Vec<_>, Vec<_>) = check::table()
        .into_iter()
        .filter(|c| wanted(&c.title()))
        .partition(|c| harness.can(c));
    // Per op: cases, failures, worst error in units of its bound.
    let mut matrix: BTreeMap<&'static str, (usize, usize, f64)> = BTreeMap::new();
    let mut failed = 0;
    // Where products go through cooperative matrices, those by registers are checked as well: training may choose either.
    let matrices = matches!(&harness, Harness::Gpu(d) if !d.limits.cooperative.is_empty());
    let without = match matrices {
        true => Some(Harness::open(
            &args.device,
            Options {
                no_cooperative: true,
                ..options()
            },
        )?),
        false => None,
    };
    let tiled = |c: &check::Case| c.op.class().is_tiled();
    let by_registers = without
        .iter()
        .flat_map(|h| cases.iter().filter(|c| tiled(c)).map(move |c| (h, c)));
    let by_default = cases.iter().map(|c| (&harness, c));
    let all: Vec<_> = by_default.chain(by_registers).collect();
    for (harness, c) in &all {
        let mut o = harness.run(c);
        if args.gradients
            && !c.differentiable.is_empty()
            && let Err(e) = gradient::check(c)
        {
            o.fault = e;
        }
        let row = matrix.entry(c.op.name()).or_default();
        row.0 += 1;
        row.2 = row.2.max(o.max_error / o.max_bound);
        if !o.passed() {
            row.1 += 1;
            failed += 1;
        }
        if voice.json {
            let line = serde_json::json!({
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
    let (mut controls, mut unnoticed) = (0, 0);
    if args.negative
        && let Harness::Gpu(device) = &harness
    {
        let mut broken = check::mutations();
        if !device.limits.cooperative.is_empty() {
            broken.extend(check::cooperative_mutations());
        }
        for m in broken {
            let own: Vec<_> = check::table()
                .into_iter()
                .filter(|c| c.op.name().starts_with(m.kernel) && harness.can(c))
                .collect();
            // A control is tried on all cases of its op, where the filter leaves any of them.
            if !own.iter().any(|c| wanted(&c.title())) {
                continue;
            }
            controls += 1;
            match harness::negative_control(&args.device, &m, &own) {
                Ok(by) => {
                    if args.verbose && !voice.json {
                        outln!("ok    negative control {}: caught by {by}", m.kernel);
                    }
                }
                Err(e) => {
                    unnoticed += 1;
                    errln!("FAIL  negative control {e}");
                }
            }
        }
    }
    if !voice.json {
        outln!(
            "\n{:28} {:>6} {:>8} {:>22}",
            "op",
            "cases",
            "failed",
            "worst error / bound"
        );
        for (op, (n, bad, worst)) in &matrix {
            outln!("{op:28} {n:>6} {bad:>8} {worst:>22.3}");
        }
        outln!(
            "\n{} passed, {failed} failed",
            all.len().saturating_sub(failed)
        );
        if controls > 0 {
            outln!(
                "{} negative controls caught, {unnoticed} not",
                controls - unnoticed
            );
        }
        if !cannot.is_empty() {
            outln!(
                "{} cases in f16 not run: the adapter's shaders have no f16",
                cannot.len()
            );
        }
    }
    if cases.is_empty() && cannot.is_empty() {
        anyhow::bail!(
            "no case matches the filter `{}`",
            args.filter.as_deref().unwrap_or("")
        );
    }
    Ok(failed == 0 && unnoticed == 0)
}
