//! The page of a sweep: its plots and its table.

use super::document::document;
use super::plot::{self, Line};
use crate::experiment::Table;
use maud::{PreEscaped, html};

/// Lines of a column's mean over the grid's first setting that takes several values: a line for each case and
/// each combination of the other settings. Values that are no numbers are numbered, and the axis says how.
fn lines(t: &Table, column: usize) -> Option<(String, Vec<Line>)> {
    let values = |i: usize| {
        let mut all: Vec<&str> = Vec::new();
        for r in &t.rows {
            let v = r.point.get(i).map_or("", |p| p.1.as_str());
            if !all.contains(&v) {
                all.push(v);
            }
        }
        all
    };
    let axis = (0..t.keys().len()).find(|i| values(*i).len() > 1)?;
    let all = values(axis);
    let numbers = all.iter().all(|v| v.parse::<f64>().is_ok());
    let x = |v: &str| match v.parse() {
        Ok(x) if numbers => x,
        _ => 1.0 + all.iter().position(|a| *a == v).unwrap_or(0) as f64,
    };
    let mut name = t.keys()[axis].to_string();
    if !numbers {
        let list = all.iter().enumerate();
        let list: Vec<String> = list.map(|(i, v)| format!("{}: {v}", i + 1)).collect();
        name += &format!(" ({})", list.join(", "));
    }
    let mut out: Vec<Line> = Vec::new();
    for r in &t.rows {
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

/// Lines over the labels a class, one for each row and feature. A column's title starts with its number of labels; the
/// feature follows where it has a name: `10 labels a class, class token, %`.
fn by_labels(t: &Table) -> Vec<Line> {
    let mut out = Vec::new();
    for r in &t.rows {
        let point: String = r
            .point
            .iter()
            .map(|p| format!(", {} {}", p.0, p.1))
            .collect();
        for (c, title) in t.columns.iter().enumerate() {
            let x = title.split(' ').next().map(str::parse::<f64>);
            let (Some(Ok(x)), Some(mean)) = (x, r.mean(c)) else {
                continue;
            };
            let feature = title.split(", ").nth(1).filter(|f| *f != "%");
            let feature = feature.map_or(String::new(), |f| format!(", {f}"));
            let line = line_of(&mut out, format!("{}{point}{feature}", r.case));
            let d = r.deviation(c).unwrap_or(0.0);
            line.points.push((x, mean));
            line.band.push((mean - d, mean + d));
        }
    }
    out.retain(|l| l.points.len() > 1);
    out
}

/// The page of a sweep: plots and table.
pub fn page(t: &Table) -> String {
    let labels = by_labels(t);
    let body = html! {
        h1 { (t.title) }
        @for (c, name) in t.columns.iter().enumerate() {
            @if let Some((axis, lines)) = lines(t, c) {
                figure {
                    h3 { (name) " over " (axis) ": mean and deviation over seeds" }
                    (PreEscaped(plot::lines(name, &lines)))
                }
            }
        }
        @if !labels.is_empty() {
            figure {
                h3 { "accuracy over labels a class: mean and deviation over seeds" }
                (PreEscaped(plot::lines("accuracy, %", &labels)))
            }
        }
        div.scroll tabindex="0" { table {
            tr { th { "case" } @for k in t.keys() { th { (k) } } @for c in &t.columns { th { (c) } } th { "seeds" } }
            @for r in &t.rows {
                tr {
                    td { (r.case) }
                    @for p in &r.point { td { (p.1) } }
                    @for c in 0..t.columns.len() { td { (r.result(c)) } }
                    td { (r.runs.len()) }
                }
            }
        } }
        @if let Some(origin) = t.origin() { p { (origin) } }
    };
    document(&t.title, None, &body)
}

/// The line of this name. It is made if there is none.
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
    use crate::experiment::Row;

    #[test]
    fn lines_are_over_the_grid_and_over_labels() {
        let row = |v: &str, values: &[f64]| Row {
            case: "A".into(),
            point: vec![("kappa".into(), v.into())],
            runs: values
                .iter()
                .map(|v| vec![Some(*v), Some(2.0 * v)])
                .collect(),
        };
        let mut t = Table {
            title: "<T>".into(),
            columns: vec!["kNN".into(), "linear".into()],
            rows: vec![row("10", &[1.0, 3.0]), row("2", &[5.0]), row("5", &[])],
            commits: Vec::new(),
        };
        let (axis, of_linear) = lines(&t, 1).unwrap();
        assert_eq!(
            (axis.as_str(), &of_linear[0].points[..]),
            ("kappa", &[(2.0, 10.0), (10.0, 4.0)][..])
        );
        assert!(by_labels(&t).is_empty() && page(&t).contains("&lt;T&gt;"));
        // Values that are no numbers are numbered in the order of the grid. Labels a class are an axis of their own.
        t.rows[1].point[0].1 = "ab".into();
        let (axis, of_knn) = lines(&t, 0).unwrap();
        assert_eq!(axis, "kappa (1: 10, 2: ab, 3: 5)");
        assert_eq!(of_knn[0].points, [(1.0, 2.0), (2.0, 5.0)]);
        t.columns = vec!["10 labels".into(), "500 labels".into()];
        assert_eq!(by_labels(&t)[0].points, [(10.0, 2.0), (500.0, 4.0)]);
    }
}
