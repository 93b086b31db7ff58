//! `amcl-wgpu bench --compare`: times beside those of a report, or beside another program in turns.
//!
//! Two runs of one program differ too. So beside another program this one is timed twice a turn, and each ratio stands
//! beside the ratio of the program to itself: what does not exceed that is noise.

use amcl_wgpu::bench::step::StepRow;
use amcl_wgpu::bench::{Ceilings, Row};
use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What `bench --out` writes of one program.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    pub version: String,
    /// The commit that the program was built from; none in files of older programs.
    #[serde(default)]
    pub commit: Option<String>,
    /// The processor, which decides ratios of the CPU executor; none in files of older programs.
    #[serde(default)]
    pub processor: Option<String>,
    pub device: String,
    /// Name and version of the driver; none on the CPU executor.
    #[serde(default)]
    pub driver: Option<String>,
    pub ceilings: Ceilings,
    pub rows: Vec<Row>,
    pub steps: Vec<StepRow>,
}

impl Report {
    /// Median seconds of a row or a step; none where it has no such row.
    pub fn seconds(&self, name: &str) -> Option<f64> {
        self.times().find(|(n, _)| *n == name).map(|(_, s)| s)
    }

    /// Names and median seconds of rows and steps.
    pub fn times(&self) -> impl Iterator<Item = (&str, f64)> {
        let rows = self.rows.iter().map(|r| (r.name.as_str(), r.seconds));
        rows.chain(self.steps.iter().map(|s| (s.name.as_str(), s.seconds)))
    }
}

/// What `--compare` names.
#[derive(Debug)]
pub enum Other {
    /// Times that were taken before.
    Report(Box<Report>),
    /// A program to be timed in turns with this one.
    Program(PathBuf),
}

impl Other {
    /// A report is a JSON text; any other file is taken for a program.
    ///
    /// # Errors
    /// A file that cannot be read, or a JSON text that is no report.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let bytes =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        if bytes.iter().find(|b| !b.is_ascii_whitespace()) != Some(&b'{') {
            // A bare name would be looked up among the system's programs.
            return Ok(Self::Program(std::path::absolute(path)?));
        }
        let report = serde_json::from_slice(&bytes)
            .with_context(|| format!("{} was not written by bench --out", path.display()))?;
        Ok(Self::Report(Box::new(report)))
    }
}

/// Names of the rows that take more than `bound` times what they took before.
pub fn slower<'a>(now: &'a Report, before: &Report, bound: f64) -> Vec<&'a str> {
    let above = |(name, s): &(&str, f64)| before.seconds(name).is_some_and(|b| *s > bound * b);
    now.times().filter(above).map(|(name, _)| name).collect()
}

/// What `bench --out` writes of two programs.
#[derive(Debug, Serialize)]
pub struct Turns {
    pub processor: Option<String>,
    pub device: String,
    pub driver: Option<String>,
    /// Version and commit of this program and of the other.
    pub programs: [(String, Option<String>); 2],
    pub rows: Vec<Compared>,
}

/// A row of two programs, seconds turn by turn.
#[derive(Debug, Serialize)]
pub struct Compared {
    pub name: String,
    pub ours: Vec<f64>,
    /// This program once more.
    pub again: Vec<f64>,
    pub theirs: Vec<f64>,
}

/// The middle one, or the mean of the middle two.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut all: Vec<f64> = values.collect();
    all.sort_by(f64::total_cmp);
    (all[(all.len() - 1) / 2] + all[all.len() / 2]) / 2.0
}

/// How a row stands to the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Within the bound.
    Holds,
    /// Above it, by no more than the program is apart from itself.
    Unsettled,
    /// Above it.
    Slower,
}

impl Compared {
    /// Smallest, median and largest of a / b over the turns.
    fn spread(a: &[f64], b: &[f64]) -> [f64; 3] {
        let all = a.iter().zip(b).map(|(a, b)| a / b);
        let (low, high) = (f64::INFINITY, f64::NEG_INFINITY);
        let [low, high] = [
            all.clone().fold(low, f64::min),
            all.clone().fold(high, f64::max),
        ];
        [low, median(all), high]
    }

    /// Ratios of this program's times to the other's: smallest, median, largest.
    pub fn ratio(&self) -> [f64; 3] {
        Self::spread(&self.ours, &self.theirs)
    }

    /// Ratios of this program's times to its own.
    pub fn itself(&self) -> [f64; 3] {
        Self::spread(&self.again, &self.ours)
    }

    /// The median against the bound and against the largest of the program's ratios to itself, either way up.
    pub fn verdict(&self, bound: f64) -> Verdict {
        let ([_, ratio, _], [low, _, high]) = (self.ratio(), self.itself());
        match ratio > bound {
            false => Verdict::Holds,
            true if ratio > high.max(1.0 / low) => Verdict::Slower,
            true => Verdict::Unsettled,
        }
    }

    /// The line of the table.
    pub fn line(&self, bound: Option<f64>) -> String {
        let ([a, b, c], [low, _, high]) = (self.ratio(), self.itself());
        let middle = |v: &[f64]| 1e3 * median(v.iter().copied());
        let verdict = match bound.map(|b| self.verdict(b)) {
            Some(Verdict::Slower) => "  slower",
            Some(Verdict::Unsettled) => "  above the bound, and within noise",
            Some(Verdict::Holds) | None => "",
        };
        format!(
            "{:52} {:10.3} {:10.3} {b:7.3} {a:8.3}..{c:<6.3} {low:8.3}..{high:<6.3}{verdict}",
            self.name,
            middle(&self.ours),
            middle(&self.theirs),
        )
    }
}

/// Head of the table of [`Compared::line`].
pub fn head() -> String {
    format!(
        "{:52} {:>10} {:>10} {:>7} {:>16} {:>16}",
        "kernel", "ms", "other's", "ratio", "of turns", "to itself"
    )
}

/// One report of a program.
fn times(program: &Path, flags: &[String]) -> anyhow::Result<Report> {
    let out = Command::new(program)
        .args(["bench", "--json"])
        .args(flags)
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| {
            format!(
                "{} is no report of bench --out, and cannot be started as a program",
                program.display()
            )
        })?;
    if !out.status.success() {
        bail!("{} bench: {}", program.display(), out.status);
    }
    serde_json::from_slice(&out.stdout).with_context(|| {
        format!(
            "what {} bench --json prints is no report",
            program.display()
        )
    })
}

/// Times this program, the other, and this one again, so many turns. No place in a turn is always the same one's, since
/// clocks rise and fall.
///
/// # Errors
/// A program that does not start or fails; no row that both have.
pub fn in_turns(
    other: &Path,
    flags: &[String],
    turns: usize,
    mut tell: impl FnMut(&str),
) -> anyhow::Result<Turns> {
    let own = std::env::current_exe().context("where this program lies")?;
    let programs = [own.as_path(), other, own.as_path()];
    let mut reports: [Vec<Report>; 3] = Default::default();
    for turn in 0..turns {
        tell(&format!("turn {} of {turns}", turn + 1));
        for place in 0..3 {
            let which = (turn + place) % 3;
            reports[which].push(times(programs[which], flags)?);
        }
    }
    let of = |which: usize, name: &str| -> Option<Vec<f64>> {
        reports[which].iter().map(|r| r.seconds(name)).collect()
    };
    let mut rows = Vec::new();
    for (name, _) in reports[0][0].times() {
        let [ours, theirs, again] = [0, 1, 2].map(|w| of(w, name));
        match (ours, theirs, again) {
            (Some(ours), Some(theirs), Some(again)) => rows.push(Compared {
                name: name.into(),
                ours,
                again,
                theirs,
            }),
            _ => tell(&format!("{name}: not in every turn of both, left out")),
        }
    }
    if rows.is_empty() {
        bail!("no row is timed by both programs");
    }
    let [ours, theirs, _] = &reports;
    let told = |r: &Report| (r.version.clone(), r.commit.clone());
    Ok(Turns {
        processor: ours[0].processor.clone(),
        device: ours[0].device.clone(),
        driver: ours[0].driver.clone(),
        programs: [told(&ours[0]), told(&theirs[0])],
        rows,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ours: &[f64], again: &[f64], theirs: &[f64]) -> Compared {
        Compared {
            name: "gemm".into(),
            ours: ours.into(),
            again: again.into(),
            theirs: theirs.into(),
        }
    }

    #[test]
    fn a_row_is_slower_where_the_bound_and_the_noise_are_exceeded() {
        let slow = row(&[1.2, 1.1, 1.3], &[1.21, 1.12, 1.3], &[1.0, 1.0, 1.0]);
        assert_eq!(slow.ratio(), [1.1, 1.2, 1.3]);
        assert_eq!(slow.verdict(1.05), Verdict::Slower);
        assert_eq!(slow.verdict(1.25), Verdict::Holds);
        assert!(slow.line(Some(1.05)).ends_with("slower"));
        // A machine on which the program is a quarter apart from itself tells nothing of a fifth, whichever way up.
        for again in [[1.5, 1.1, 1.3], [0.95, 1.1, 1.3]] {
            let noisy = row(&[1.2, 1.1, 1.3], &again, &[1.0, 1.0, 1.0]);
            assert_eq!(noisy.verdict(1.05), Verdict::Unsettled, "{again:?}");
        }
        // Of an even number of turns the middle lies between two.
        let even = row(&[1.0, 1.2], &[1.0, 1.2], &[1.0, 1.0]);
        assert_eq!(even.ratio(), [1.0, 1.1, 1.2]);
        // A faster one holds, however noisy.
        let fast = row(&[0.5, 0.6, 0.4], &[0.6, 0.5, 0.5], &[1.0, 1.0, 1.0]);
        assert_eq!(fast.verdict(1.0), Verdict::Holds);
    }

    fn report(rows: &[(&str, f64)]) -> Report {
        let row = |(name, seconds): &(&str, f64)| Row {
            name: (*name).into(),
            seconds: *seconds,
            ..Row::default()
        };
        Report {
            version: "0".into(),
            commit: None,
            processor: None,
            device: "cpu".into(),
            driver: None,
            ceilings: Ceilings::default(),
            rows: rows.iter().map(row).collect(),
            steps: Vec::new(),
        }
    }

    #[test]
    fn rows_above_the_bound_are_named_where_both_have_them() {
        let before = report(&[("a", 1.0), ("b", 1.0), ("c", 1.0)]);
        let now = report(&[("a", 1.04), ("b", 1.06), ("new", 9.0)]);
        assert_eq!(slower(&now, &before, 1.05), ["b"]);
        assert!(slower(&now, &before, 1.1).is_empty());
    }

    #[test]
    fn what_is_no_report_is_a_program() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            Other::open(&path)
        };
        let text = serde_json::to_string(&report(&[("a", 1.0)])).unwrap();
        assert!(matches!(file("report", &text), Ok(Other::Report(_))));
        assert!(matches!(file("text", "gemm 1 ms"), Ok(Other::Program(_))));
        let e = file("other.json", " {\"a\": 1}").unwrap_err().to_string();
        assert!(
            e.contains("other.json was not written by bench --out"),
            "{e}"
        );
        let e = Other::open(&dir.path().join("none"))
            .unwrap_err()
            .to_string();
        assert!(e.contains("cannot read"), "{e}");
        let e = times(&dir.path().join("text"), &[])
            .unwrap_err()
            .to_string();
        assert!(e.contains("cannot be started as a program"), "{e}");
    }
}
