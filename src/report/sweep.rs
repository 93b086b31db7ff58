//! The table and the plot of a sweep.

use super::plot::{self, Line};
use maud::{DOCTYPE, PreEscaped, html};
use std::fmt::Write as _;

/// One case at one point of the grid, over its seeds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// Case.
    pub case: String,
    /// Settings of the grid.
    pub point: Vec<(String, String)>,
    /// kNN accuracies in percent, one a seed that has ended.
    pub values: Vec<f64>,
}

impl Row {
    /// Mean over seeds; none before one has ended.
    pub fn mean(&self) -> Option<f64> {
        let n = self.values.len();
        (n > 0).then(|| self.values.iter().sum::<f64>() / n as f64)
    }

    /// Standard deviation over seeds; none under two.
    pub fn deviation(&self) -> Option<f64> {
        let (n, mean) = (self.values.len(), self.mean()?);
        let square: f64 = self.values.iter().map(|v| (v - mean).powi(2)).sum();
        (n > 1).then(|| (square / (n - 1) as f64).sqrt())
    }

    fn result(&self) -> String {
        match (self.mean(), self.deviation()) {
            (Some(m), Some(d)) => format!("{m:.2} +- {d:.2}"),
            (Some(m), None) => format!("{m:.2}"),
            _ => "-".into(),
        }
    }

    /// Rows as a Markdown table.
    pub fn table(rows: &[Self]) -> String {
        let keys: Vec<&str> = rows
            .first()
            .map(|r| r.point.iter().map(|p| p.0.as_str()).collect())
            .unwrap_or_default();
        let mut out = format!(
            "| case |{} kNN top-1, % | seeds |\n",
            keys.iter().map(|k| format!(" {k} |")).collect::<String>()
        );
        out += &format!("|---|{}---|---|\n", "---|".repeat(keys.len()));
        for r in rows {
            let cells: String = r.point.iter().map(|p| format!(" {} |", p.1)).collect();
            let _ = writeln!(
                out,
                "| {} |{cells} {} | {} |",
                r.case,
                r.result(),
                r.values.len()
            );
        }
        out
    }
}

/// Lines of the mean over the first numeric setting, one a case (and other settings).
fn lines(rows: &[Row]) -> Option<(String, Vec<Line>)> {
    let axis = (0..rows.first()?.point.len())
        .find(|i| rows.iter().all(|r| r.point[*i].1.parse::<f64>().is_ok()))?;
    let mut out: Vec<Line> = Vec::new();
    for r in rows {
        let rest = r.point.iter().enumerate().filter(|(i, _)| *i != axis);
        let rest: String = rest.map(|(_, p)| format!(", {} {}", p.0, p.1)).collect();
        let name = format!("{}{rest}", r.case);
        let (Ok(x), Some(mean)) = (r.point[axis].1.parse::<f64>(), r.mean()) else {
            continue;
        };
        let d = r.deviation().unwrap_or(0.0);
        if !out.iter().any(|l| l.name == name) {
            out.push(Line {
                name: name.clone(),
                ..Line::default()
            });
        }
        if let Some(line) = out.iter_mut().find(|l| l.name == name) {
            line.points.push((x, mean));
            line.band.push((mean - d, mean + d));
        }
    }
    for line in &mut out {
        let mut both: Vec<_> = line
            .points
            .iter()
            .copied()
            .zip(line.band.iter().copied())
            .collect();
        both.sort_by(|a, b| a.0.0.total_cmp(&b.0.0));
        (line.points, line.band) = both.into_iter().unzip();
    }
    Some((rows[0].point[axis].0.clone(), out))
}

/// The page: plot and table.
pub fn page(title: &str, rows: &[Row]) -> String {
    let style = include_str!("../../assets/report/style.css");
    let keys = rows.first().map(|r| r.point.clone()).unwrap_or_default();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(style)) }
            }
            body {
                h1 { (title) }
                @if let Some((axis, lines)) = lines(rows) {
                    figure { h3 { "kNN top-1 in percent over " (axis) ": mean and deviation over seeds" } (PreEscaped(plot::lines("kNN top-1", &lines))) }
                }
                div.scroll tabindex="0" { table {
                    tr { th { "case" } @for k in &keys { th { (k.0) } } th { "kNN top-1, %" } th { "seeds" } }
                    @for r in rows { tr { td { (r.case) } @for p in &r.point { td { (p.1) } } td { (r.result()) } td { (r.values.len()) } } }
                } }
            }
        }
    }
    .into_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_deviation_over_seeds() {
        let row = |v: &str, values: &[f64]| Row {
            case: "A".into(),
            point: vec![("kappa".into(), v.into())],
            values: values.to_vec(),
        };
        let rows = [row("10", &[1.0, 3.0]), row("2", &[5.0]), row("5", &[])];
        let table = Row::table(&rows);
        assert!(table.contains("| A | 10 | 2.00 +- 1.41 | 2 |"), "{table}");
        assert!(table.contains("| A | 2 | 5.00 | 1 |") && table.contains("| A | 5 | - | 0 |"));
        let (axis, lines) = lines(&rows).unwrap();
        assert_eq!(
            (axis.as_str(), &lines[0].points[..]),
            ("kappa", &[(2.0, 5.0), (10.0, 2.0)][..])
        );
    }
}
