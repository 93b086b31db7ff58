//! The table of a sweep.

use super::file::{Column, Experiment};
use super::trial::Trial;
use crate::downstream::encoder::Feature;
use std::fmt::Write as _;

/// One case at one point of the grid, over its seeds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// Case.
    pub case: String,
    /// Settings of the grid.
    pub point: Vec<(String, String)>,
    /// Results in percent, one a column of the table, of every seed that has ended. None where the case's encoder has
    /// no such feature.
    pub runs: Vec<Vec<Option<f64>>>,
}

impl Row {
    fn column(&self, column: usize) -> impl Iterator<Item = f64> + Clone + '_ {
        let of = move |r: &Vec<Option<f64>>| r.get(column).copied().flatten();
        self.runs.iter().filter_map(of)
    }

    /// Mean of a column over seeds; none before one has ended.
    pub fn mean(&self, column: usize) -> Option<f64> {
        let n = self.column(column).count();
        (n > 0).then(|| self.column(column).sum::<f64>() / n as f64)
    }

    /// Standard deviation over seeds; none under two.
    pub fn deviation(&self, column: usize) -> Option<f64> {
        let (n, mean) = (self.column(column).count(), self.mean(column)?);
        let square: f64 = self.column(column).map(|v| (v - mean).powi(2)).sum();
        (n > 1).then(|| (square / (n - 1) as f64).sqrt())
    }

    /// Mean and deviation of a column in words, `-` before a seed has ended.
    pub fn result(&self, column: usize) -> String {
        match (self.mean(column), self.deviation(column)) {
            (Some(m), Some(d)) => format!("{m:.2} +- {d:.2}"),
            (Some(m), None) => format!("{m:.2}"),
            _ => "-".into(),
        }
    }
}

/// A sweep's results.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// What it shows, for people.
    pub title: String,
    /// What was measured: titles of the columns.
    pub columns: Vec<String>,
    /// Rows.
    pub rows: Vec<Row>,
    /// Commits of the program that the runs were begun with, and how many runs each; what a folder does not say is not
    /// counted.
    pub commits: Vec<(String, usize)>,
}

impl Table {
    /// A row for every case and point, over its seeds.
    pub(super) fn of(e: &Experiment, trials: &[Trial]) -> Self {
        let mut features: Vec<Feature> = Vec::new();
        for feature in trials.iter().flat_map(|t| &t.features) {
            if !features.contains(feature) {
                features.push(*feature);
            }
        }
        let columns = e.columns(&features);
        let mut rows: Vec<Row> = Vec::new();
        let mut commits: Vec<(String, usize)> = Vec::new();
        for trial in trials {
            if let Some(commit) = trial.commit() {
                match commits.iter_mut().find(|c| c.0 == commit) {
                    Some(found) => found.1 += 1,
                    None => commits.push((commit, 1)),
                }
            }
            let results = trial.results(e).map(|found| {
                let of = |c: &Column| {
                    let feature = match c.feature {
                        Some(feature) => trial.features.iter().position(|f| *f == feature)?,
                        None => 0,
                    };
                    let (_, by) = found.iter().find(|(m, _)| *m == c.measure)?;
                    by.get(feature)?.get(c.number).copied()
                };
                columns.iter().map(of).collect()
            });
            for point in &trial.points {
                let same = |r: &Row| r.case == trial.case && r.point == *point;
                let at = rows.iter().position(same).unwrap_or_else(|| {
                    rows.push(Row {
                        case: trial.case.clone(),
                        point: point.clone(),
                        runs: Vec::new(),
                    });
                    rows.len() - 1
                });
                rows[at].runs.extend(results.clone());
            }
        }
        Self {
            title: e.title.clone(),
            columns: columns.into_iter().map(|c| c.title).collect(),
            rows,
            commits,
        }
    }

    /// Names of the grid's settings.
    pub fn keys(&self) -> Vec<&str> {
        let first = self.rows.first();
        first.map_or(Vec::new(), |r| {
            r.point.iter().map(|p| p.0.as_str()).collect()
        })
    }

    /// The commits in words; none where no run names one.
    pub fn origin(&self) -> Option<String> {
        let of = |(commit, runs): &(String, usize)| match self.commits.len() {
            1 => commit.clone(),
            _ => format!("{commit} ({runs})"),
        };
        let all: Vec<String> = self.commits.iter().map(of).collect();
        (!all.is_empty())
            .then(|| format!("Runs begun with the program of commit {}.", all.join(", ")))
    }

    /// The table in Markdown.
    pub fn markdown(&self) -> String {
        let mut head = vec!["case"];
        head.extend(self.keys());
        head.extend(self.columns.iter().map(String::as_str));
        head.push("seeds");
        let mut out = format!("| {} |\n{}|\n", head.join(" | "), "|---".repeat(head.len()));
        for r in &self.rows {
            let mut cells = vec![r.case.clone()];
            cells.extend(r.point.iter().map(|p| p.1.clone()));
            cells.extend((0..self.columns.len()).map(|c| r.result(c)));
            cells.push(r.runs.len().to_string());
            let _ = writeln!(out, "| {} |", cells.join(" | "));
        }
        if let Some(origin) = self.origin() {
            let _ = writeln!(out, "\n{origin}");
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_deviation_over_seeds() {
        let row = |v: &str, values: &[f64]| Row {
            case: "A".into(),
            point: vec![("kappa".into(), v.into())],
            runs: values
                .iter()
                .map(|v| vec![Some(*v), Some(2.0 * v)])
                .collect(),
        };
        let t = Table {
            title: "T".into(),
            columns: vec!["kNN".into(), "linear".into()],
            rows: vec![row("10", &[1.0, 3.0]), row("2", &[5.0]), row("5", &[])],
            commits: vec![("abc".into(), 2), ("def".into(), 1)],
        };
        let table = t.markdown();
        assert!(table.ends_with("\nRuns begun with the program of commit abc (2), def (1).\n"));
        assert!(
            table.contains("| A | 10 | 2.00 +- 1.41 | 4.00 +- 2.83 | 2 |"),
            "{table}"
        );
        assert!(table.contains("| A | 2 | 5.00 | 10.00 | 1 |"), "{table}");
        assert!(table.contains("| A | 5 | - | - | 0 |"), "{table}");
    }
}
