//! `metrics.csv`: a line an epoch, with what was evaluated after it.

use serde_json::Value;

/// Name of the file.
pub const NAME: &str = "metrics.csv";

const COLUMNS: [&str; 9] = [
    "epoch",
    "step",
    "loss",
    "lr",
    "seconds",
    "sim_pos",
    "sim_neg",
    "knn_top1",
    "effective_rank",
];

/// The columns' names.
pub fn head() -> String {
    COLUMNS.join(",") + "\n"
}

/// The rows of the epochs among lines of `metrics.jsonl`. Numbers are written as they are read from the lines, so a row
/// is the same whether it is made when the epoch ends or when a run is resumed.
pub fn rows(lines: &str) -> String {
    let mut rows: Vec<Value> = Vec::new();
    for line in lines.lines() {
        let Ok(v) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        if v["kind"] == "epoch" {
            rows.push(v);
        } else if v["kind"] == "eval"
            && let Some(row) = rows.last_mut().filter(|r| r["epoch"] == v["epoch"])
        {
            row["knn_top1"] = v["knn_top1"].clone();
            row["effective_rank"] = v["effective_rank"].clone();
        }
    }
    let cell = |row: &Value, name: &str| match &row[name] {
        // Of quantiles, the median.
        Value::Array(q) => q.get(1).map_or(String::new(), Value::to_string),
        Value::Null => String::new(),
        v => v.to_string(),
    };
    let row = |row: &Value| {
        let cells: Vec<String> = COLUMNS.iter().map(|c| cell(row, c)).collect();
        cells.join(",") + "\n"
    };
    rows.iter().map(row).collect()
}

/// The whole file for the lines of `metrics.jsonl`; empty without an epoch.
pub fn table(lines: &str) -> String {
    match rows(lines) {
        rows if rows.is_empty() => rows,
        rows => head() + &rows,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_an_epoch_and_of_a_whole_file_are_the_same() {
        let first = r#"{"kind":"epoch","epoch":1,"step":4,"loss":0.1,"lr":0.25,"seconds":2.5,"sim_pos":[0,0.5,1]}"#;
        let second = r#"{"kind":"epoch","epoch":2,"step":8,"loss":0.30000000000000004,"lr":0.125,"seconds":2}"#;
        let eval = r#"{"kind":"eval","epoch":2,"step":8,"knn_top1":50.0,"effective_rank":3.5}"#;
        let other = r#"{"kind":"eval","epoch":0,"step":0,"knn_top1":10.0,"untrained":true}"#;
        let all = [other, first, "{torn", second, eval].join("\n");
        let parts = rows(&[other, first].join("\n")) + &rows(&[second, eval].join("\n"));
        assert_eq!(table(&all), head() + &parts);
        assert_eq!(
            parts,
            "1,4,0.1,0.25,2.5,0.5,,,\n2,8,0.30000000000000004,0.125,2,,,50.0,3.5\n"
        );
        // An evaluation of another epoch belongs to no row.
        assert!(rows(&[first, eval].join("\n")).ends_with(",,\n"));
        assert_eq!(table(other), "");
    }
}
