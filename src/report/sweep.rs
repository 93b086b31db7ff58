//! The table and the plot of a sweep.

use super::document::document;
use super::plot::{self, Line};
use maud::{PreEscaped, html};
use std::fmt::Write as _;

/// One case at one point of the grid, over its seeds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// Case.
    pub case: String,
    /// Settings of the grid.
    pub point: Vec<(String, String)>,
    /// Results in percent, one a column of the table, of every seed that has ended.
    pub runs: Vec<Vec<f64>>,
}

impl Row {
    fn column(&self, column: usize) -> impl Iterator<Item = f64> + Clone + '_ {
        self.runs.iter().filter_map(move |r| r.get(column).copied())
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

    fn result(&self, column: usize) -> String {
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
}

impl Table {
    /// Names of the grid's settings.
    fn keys(&self) -> Vec<&str> {
        let first = self.rows.first();
        first.map_or(Vec::new(), |r| {
            r.point.iter().map(|p| p.0.as_str()).collect()
        })
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
        out
    }

    /// Lines of a column's mean over the grid's first setting that takes several values, one a case (and other settings). Values that are no numbers are numbered;
    /// the axis says how.
    fn lines(&self, column: usize) -> Option<(String, Vec<Line>)> {
        let values = |i: usize| {
            let mut all: Vec<&str> = Vec::new();
            for r in &self.rows {
                let v = r.point.get(i).map_or("", |p| p.1.as_str());
                if !all.contains(&v) {
                    all.push(v);
                }
            }
            all
        };
        let axis = (0..self.keys().len()).find(|i| values(*i).len() > 1)?;
        let all = values(axis);
        let numbers = all.iter().all(|v| v.parse::<f64>().is_ok());
        let x = |v: &str| match v.parse() {
            Ok(x) if numbers => x,
            _ => 1.0 + all.iter().position(|a| *a == v).unwrap_or(0) as f64,
        };
        let mut name = self.keys()[axis].to_string();
        if !numbers {
            let list = all.iter().enumerate();
            let list: Vec<String> = list.map(|(i, v)| format!("{}: {v}", i + 1)).collect();
            name += &format!(" ({})", list.join(", "));
        }
        let mut out: Vec<Line> = Vec::new();
        for r in &self.rows {
            let rest = r.point.iter().enumerate().filter(|(i, _)| *i != axis);
            let rest: String = rest.map(|(_, p)| format!(", {} {}", p.0, p.1)).collect();
            let Some(mean) = r.mean(column) else {
                continue;
            };
            let d = r.deviation(column).unwrap_or(0.0);
            let line = line_of(&mut out, format!("{}{rest}", r.case));
            line.points.push((x(&r.point[axis].1), mean));
            line.band.push((mean - d, mean + d));
        }
        for line in &mut out {
            let points = line.points.iter().copied();
            let mut both: Vec<_> = points.zip(line.band.iter().copied()).collect();
            both.sort_by(|a, b| a.0.0.total_cmp(&b.0.0));
            (line.points, line.band) = both.into_iter().unzip();
        }
        Some((name, out))
    }

    /// Lines over the number that columns start with (labels a class), one a row.
    fn by_labels(&self) -> Vec<Line> {
        let mut out = Vec::new();
        for r in &self.rows {
            let point: String = r
                .point
                .iter()
                .map(|p| format!(", {} {}", p.0, p.1))
                .collect();
            let line = line_of(&mut out, format!("{}{point}", r.case));
            for (c, title) in self.columns.iter().enumerate() {
                let x = title.split(' ').next().map(str::parse::<f64>);
                let (Some(Ok(x)), Some(mean)) = (x, r.mean(c)) else {
                    continue;
                };
                let d = r.deviation(c).unwrap_or(0.0);
                line.points.push((x, mean));
                line.band.push((mean - d, mean + d));
            }
        }
        out.retain(|l| l.points.len() > 1);
        out
    }

    /// The page: plots and table.
    pub fn page(&self) -> String {
        let labels = self.by_labels();
        let body = html! {
            h1 { (self.title) }
            @for (c, name) in self.columns.iter().enumerate() {
                @if let Some((axis, lines)) = self.lines(c) {
                    figure { h3 { (name) " over " (axis) ": mean and deviation over seeds" } (PreEscaped(plot::lines(name, &lines))) }
                }
            }
            @if !labels.is_empty() {
                figure { h3 { "accuracy over labels a class: mean and deviation over seeds" } (PreEscaped(plot::lines("accuracy, %", &labels))) }
            }
            div.scroll tabindex="0" { table {
                tr { th { "case" } @for k in self.keys() { th { (k) } } @for c in &self.columns { th { (c) } } th { "seeds" } }
                @for r in &self.rows {
                    tr {
                        td { (r.case) }
                        @for p in &r.point { td { (p.1) } }
                        @for c in 0..self.columns.len() { td { (r.result(c)) } }
                        td { (r.runs.len()) }
                    }
                }
            } }
        };
        document(&self.title, None, &body)
    }
}

/// The line of a name, made when absent.
fn line_of(lines: &mut Vec<Line>, name: String) -> &mut Line {
    let at = lines.iter().position(|l| l.name == name);
    let at = at.unwrap_or_else(|| {
        lines.push(Line {
            name,
            ..Line::default()
        });
        lines.len() - 1
    });
    &mut lines[at]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_deviation_over_seeds() {
        let row = |v: &str, values: &[f64]| Row {
            case: "A".into(),
            point: vec![("kappa".into(), v.into())],
            runs: values.iter().map(|v| vec![*v, 2.0 * v]).collect(),
        };
        let mut t = Table {
            title: "<T>".into(),
            columns: vec!["kNN".into(), "linear".into()],
            rows: vec![row("10", &[1.0, 3.0]), row("2", &[5.0]), row("5", &[])],
        };
        let table = t.markdown();
        assert!(
            table.contains("| A | 10 | 2.00 +- 1.41 | 4.00 +- 2.83 | 2 |"),
            "{table}"
        );
        assert!(table.contains("| A | 2 | 5.00 | 10.00 | 1 |"), "{table}");
        assert!(table.contains("| A | 5 | - | - | 0 |"), "{table}");
        let (axis, lines) = t.lines(1).unwrap();
        assert_eq!(
            (axis.as_str(), &lines[0].points[..]),
            ("kappa", &[(2.0, 10.0), (10.0, 4.0)][..])
        );
        assert!(t.by_labels().is_empty() && t.page().contains("&lt;T&gt;"));
        // What is no number is numbered in the order of the grid, labels a class are an axis of their own.
        t.rows[1].point[0].1 = "ab".into();
        let (axis, lines) = t.lines(0).unwrap();
        assert_eq!(axis, "kappa (1: 10, 2: ab, 3: 5)");
        assert_eq!(lines[0].points, [(1.0, 2.0), (2.0, 5.0)]);
        t.columns = vec!["10 labels".into(), "500 labels".into()];
        assert_eq!(t.by_labels()[0].points, [(10.0, 2.0), (500.0, 4.0)]);
    }
}
