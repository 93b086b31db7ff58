//! `amcl-wgpu verify`: any implementation's numbers beside this one's.

use super::console::OutputOptions;
use amcl_wgpu::device::Choice;
use amcl_wgpu::verify::{Computer, Subject, Verified, VerifyError};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Computes what files of another implementation hold (losses, ops, optimisers, networks) and compares.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Safetensors files whose header's `meta` names kind and config. A network stands in four files, of which any
    /// names the others: X_init, X_io, X_grads, X_after.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// auto, cpu, gpu, gpu:N or part of an adapter's name: what computes in f32, as in training.
    #[arg(long, default_value = "cpu")]
    device: Choice,
    /// f64: the reference on the CPU alone; f32: the device alone. Both where it is not given.
    #[arg(long, value_parser = ["f32", "f64"])]
    precision: Option<String>,
}

/// What computes with a precision: the f64 reference and the device, or one of them.
///
/// # Errors
/// f64 on a device; no such device.
pub(super) fn computers(device: &Choice, precision: Option<&str>) -> anyhow::Result<Vec<Computer>> {
    anyhow::ensure!(
        precision != Some("f64") || *device == Choice::Cpu,
        "f64 runs on the CPU: use --device cpu"
    );
    let mut out = Vec::new();
    if precision != Some("f32") {
        out.push(Computer::Reference);
    }
    if precision != Some("f64") {
        out.push(Computer::open(device, |n| errln!("{n}"))?);
    }
    Ok(out)
}

/// What was verified, and how much of it failed.
#[derive(Default)]
pub(super) struct Tally {
    files: usize,
    failed_files: usize,
    quantities: usize,
    failed: usize,
    /// Networks that were verified: path, the file that named them, whether they passed.
    networks: Vec<(PathBuf, PathBuf, bool)>,
}

impl Tally {
    /// Verifies a file and prints what was found.
    pub(super) fn file(&mut self, path: &Path, computers: &[Computer], options: OutputOptions) {
        self.files += 1;
        let mut object = json!({"file": path.display().to_string()});
        let passed = self
            .verify(path, computers, &mut object, options)
            .unwrap_or_else(|e| {
                object["error"] = json!(e.to_string());
                errln!("error: {}: {e}", path.display());
                false
            });
        self.failed_files += usize::from(!passed);
        object["passed"] = json!(passed);
        if options.json {
            outln!("{object}");
        }
    }

    /// Whether the file passes; what is found goes into `object` too.
    fn verify(
        &mut self,
        path: &Path,
        computers: &[Computer],
        object: &mut Value,
        options: OutputOptions,
    ) -> Result<bool, VerifyError> {
        let subject = Subject::open(path)?;
        object["kind"] = json!(subject.fixture.kind);
        let network = subject.parts.as_ref().map(|p| p.name.clone());
        let before = self
            .networks
            .iter()
            .find(|(name, ..)| Some(name) == network.as_ref());
        if let Some((_, with, passed)) = before {
            object["verified_with"] = json!(with.display().to_string());
            if !options.json {
                outln!(
                    "{}: {}, verified with {}",
                    path.display(),
                    subject.fixture.kind,
                    with.display()
                );
            }
            return Ok(*passed);
        }
        if !options.json {
            outln!("{}: {}", path.display(), subject.fixture.kind);
        }
        let (mut compared, mut notes, mut failed) = (Vec::new(), Vec::new(), 0);
        for c in computers {
            let (name, verified) = (c.name(), subject.verify(c)?);
            if !options.json {
                print(&name, &verified, options);
            }
            for q in &verified.compared {
                failed += usize::from(!q.passed());
                compared.push(json!({
                    "executor": name, "name": q.name, "relative_error": q.error, "bound": q.bound,
                    "passed": q.passed(),
                }));
            }
            object["loss"] = json!(verified.loss);
            let new: Vec<String> = verified
                .notes
                .into_iter()
                .filter(|n| !notes.contains(n))
                .collect();
            notes.extend(new);
        }
        self.quantities += compared.len();
        self.failed += failed;
        object["compared"] = json!(compared);
        object["notes"] = json!(notes);
        self.networks
            .extend(network.map(|name| (name, path.into(), failed == 0)));
        Ok(failed == 0)
    }

    /// Prints the verdict; false when anything failed.
    pub(super) fn verdict(&self, options: OutputOptions) -> bool {
        let (files, quantities) = (self.files, self.quantities);
        let good = self.failed_files == 0;
        if !options.json {
            let plural = if files == 1 { "" } else { "s" };
            match good {
                true => outln!(
                    "verified: {files} file{plural}, {quantities} quantities, all within their bounds"
                ),
                false => outln!(
                    "FAILED: {} of {files} file{plural}; {} of {quantities} quantities are past their bounds",
                    self.failed_files,
                    self.failed
                ),
            }
        }
        good
    }
}

/// Prints what one executor made of a file.
fn print(name: &str, verified: &Verified, options: OutputOptions) {
    let failed = verified.compared.iter().any(|c| !c.passed());
    if !options.quiet || failed {
        match verified.loss {
            Some(loss) => outln!(" {name}: loss {loss:.9e}"),
            None => outln!(" {name}"),
        }
    }
    for c in &verified.compared {
        let verdict = if c.passed() { "ok  " } else { "FAIL" };
        if !(options.quiet && c.passed()) {
            outln!("  {verdict} {}: {}", c.name, c.words());
        }
    }
    for note in verified.notes.iter().filter(|_| !options.quiet) {
        outln!("  {note}");
    }
}

/// Runs the verb; false when a file fails.
///
/// # Errors
/// No such device.
pub fn run(args: &Args, options: OutputOptions) -> anyhow::Result<bool> {
    let computers = computers(&args.device, args.precision.as_deref())?;
    let mut tally = Tally::default();
    for path in &args.files {
        tally.file(path, &computers, options);
    }
    Ok(tally.verdict(options))
}
