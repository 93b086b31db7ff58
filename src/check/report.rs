//! What the case table showed on a device, as data: the file of `amcl-wgpu check --report`.

use super::{Harness, Outcome};
use crate::device::AdapterReport;
use serde::Serialize;
use std::collections::BTreeMap;

/// What [`Report::format`] says: another program's JSON is not taken for a report.
const FORMAT: &str = "amcl-wgpu check";

/// Version of the layout. A field that is added does not change it, one that changes its meaning does.
const VERSION: u32 = 1;

/// A run of the case table.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Always `amcl-wgpu check`.
    pub format: &'static str,
    /// Version of the layout.
    pub version: u32,
    /// The program.
    pub program: Program,
    /// The system that it ran on.
    pub system: System,
    /// Adapter, backend, driver, limits and features; none: the CPU executor.
    pub adapter: Option<AdapterReport>,
    /// Which kernels ran: `gpu`, `cpu driver` (on a software driver, unless GPU kernels were asked for), or `host`
    /// (the CPU executor's).
    pub kernels: &'static str,
    /// What the run was asked for, as on the command line, without names of files.
    pub flags: Vec<String>,
    /// Cases that ran and passed.
    pub passed: usize,
    /// Cases that ran and did not pass.
    pub failed: usize,
    /// Cases that did not run, by the reason.
    pub not_run: BTreeMap<String, usize>,
    /// Negative controls that a case noticed, and those that none did; none where they were not run.
    pub controls: Option<Controls>,
    /// The cases that failed.
    pub failures: Vec<Failure>,
    /// By op.
    pub ops: BTreeMap<String, OfOp>,
    /// Seconds of all cases, with their f64 twins.
    pub seconds: f64,
}

/// The program that ran the table.
#[derive(Clone, Debug, Serialize)]
pub struct Program {
    /// Version.
    pub version: &'static str,
    /// The commit that it was built from, where that is known.
    pub commit: Option<&'static str>,
}

/// The operating system.
#[derive(Clone, Debug, Serialize)]
pub struct System {
    /// Name and version, where the system tells them.
    pub name: Option<String>,
    /// Version of its kernel.
    pub kernel: Option<String>,
    /// Kind of processor.
    pub arch: &'static str,
}

/// Negative controls: deliberately broken shaders.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Controls {
    /// A case noticed the fault.
    pub caught: usize,
    /// No case did.
    pub unnoticed: usize,
}

/// A case that failed.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// Its title.
    pub case: String,
    /// What was wrong.
    pub fault: String,
}

/// The cases of an op.
#[derive(Clone, Debug, Default, Serialize)]
pub struct OfOp {
    /// Cases that ran.
    pub cases: usize,
    /// Those of them that failed.
    pub failed: usize,
    /// The largest error, in units of its bound.
    pub worst: f64,
    /// The case with that error. None where all results were exact.
    pub worst_case: Option<String>,
    /// Seconds on the device: compiling, sending, running, reading back. A case's first kernel of a kind is compiled
    /// within its time.
    pub seconds: f64,
}

impl Report {
    /// Of a table that is about to run.
    pub fn new(harness: &Harness, commit: Option<&'static str>, flags: Vec<String>) -> Self {
        let (adapter, kernels) = match harness {
            Harness::Cpu => (None, "host"),
            Harness::Gpu(d) => {
                let kernels = if d.limits.is_cpu { "cpu driver" } else { "gpu" };
                (Some(d.report.clone()), kernels)
            }
        };
        Self {
            format: FORMAT,
            version: VERSION,
            program: Program {
                version: env!("CARGO_PKG_VERSION"),
                commit,
            },
            system: System {
                name: sysinfo::System::long_os_version().ok(),
                kernel: sysinfo::System::kernel_version().ok(),
                arch: std::env::consts::ARCH,
            },
            adapter,
            kernels,
            flags,
            passed: 0,
            failed: 0,
            not_run: BTreeMap::new(),
            controls: None,
            failures: Vec::new(),
            ops: BTreeMap::new(),
            seconds: 0.0,
        }
    }

    /// Adds a case that ran.
    pub fn add(&mut self, op: &str, outcome: &Outcome) {
        let row = self.ops.entry(op.to_string()).or_default();
        row.cases += 1;
        row.seconds += outcome.seconds;
        let share = outcome.max_error / outcome.max_bound;
        if share > row.worst {
            (row.worst, row.worst_case) = (share, Some(outcome.title.clone()));
        }
        if outcome.passed() {
            self.passed += 1;
            return;
        }
        row.failed += 1;
        self.failed += 1;
        self.failures.push(Failure {
            case: outcome.title.clone(),
            fault: outcome.fault.clone(),
        });
    }

    /// Adds cases that are not run.
    pub fn leave_out(&mut self, reason: &str, cases: usize) {
        if cases > 0 {
            *self.not_run.entry(reason.to_string()).or_default() += cases;
        }
    }

    /// No case failed, and every negative control was noticed.
    pub fn is_clean(&self) -> bool {
        self.failed == 0 && self.controls.is_none_or(|c| c.unnoticed == 0)
    }
}

/// Whether a file's text is a report of this verb, of any version.
pub fn is_report(text: &str) -> bool {
    let value: Result<serde_json::Value, _> = serde_json::from_str(text);
    value.is_ok_and(|v| v["format"] == FORMAT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_counted_by_op_and_the_worst_is_named() {
        let mut report = Report::new(&Harness::Cpu, None, Vec::new());
        let case = &super::super::table()[0];
        let outcome = |title: &str, max_error, fault: &str| Outcome {
            title: title.into(),
            max_error,
            max_bound: 2.0,
            fault: fault.into(),
            seconds: 0.25,
            ..Harness::Cpu.run(case)
        };
        assert!(report.is_clean());
        report.add("gemm", &outcome("gemm a", 0.5, ""));
        report.add("gemm", &outcome("gemm b", 1.0, ""));
        report.add("relu", &outcome("relu a", 0.0, ""));
        report.leave_out("no f16", 0);
        report.leave_out("no f16", 3);
        assert!(report.is_clean());
        let gemm = &report.ops["gemm"];
        assert_eq!((gemm.cases, gemm.failed, gemm.worst), (2, 0, 0.5));
        assert_eq!(gemm.seconds, 0.5);
        assert_eq!(gemm.worst_case.as_deref(), Some("gemm b"));
        assert_eq!(report.ops["relu"].worst_case, None);
        // A case that did not run at all has no error to compare.
        report.add("gemm", &outcome("gemm c", f64::NAN, "lost"));
        assert_eq!((report.passed, report.failed), (3, 1));
        assert_eq!(report.failures[0].case, "gemm c");
        assert_eq!(report.ops["gemm"].worst_case.as_deref(), Some("gemm b"));
        assert_eq!(report.not_run["no f16"], 3);
        assert!(!report.is_clean());
        let text = serde_json::to_string(&report).unwrap();
        assert!(is_report(&text));
        assert!(!is_report(&text.replace("amcl-wgpu check", "another")) && !is_report("notes"));
    }

    #[test]
    fn an_unnoticed_control_is_not_clean() {
        let mut report = Report::new(&Harness::Cpu, None, Vec::new());
        report.controls = Some(Controls {
            caught: 3,
            unnoticed: 1,
        });
        assert!(!report.is_clean());
    }
}
