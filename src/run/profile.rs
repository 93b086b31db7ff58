//! Where a profiled step's time goes: a table by op, and a trace for Perfetto (<https://ui.perfetto.dev>, Chrome's
//! trace-event format).

use crate::device::replay::Timed;
use crate::graph::watched::{Act, Call};
use crate::graph::{DType, Graph};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// What one op takes of a step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OpTime {
    /// The op.
    pub op: String,
    /// Dispatches (on the CPU executor: nodes).
    pub calls: usize,
    /// Seconds of all.
    pub seconds: f64,
    /// Operations of those nodes whose f32 arithmetic may bound them: products and convolutions, but of halves, which
    /// matrix units may take.
    #[serde(default)]
    pub flops: f64,
    /// Bytes of all nodes, each operand counted once.
    #[serde(default)]
    pub bytes: f64,
}

/// Time by op (the first word of a label), longest first.
pub fn by_op(timed: &[Timed]) -> Vec<OpTime> {
    let mut ops: BTreeMap<&str, OpTime> = BTreeMap::new();
    for t in timed {
        let op = t.label.split(' ').next().unwrap_or_default();
        let e = ops.entry(op).or_default();
        e.op = op.into();
        e.calls += 1;
        e.seconds += t.seconds;
    }
    let mut rows: Vec<OpTime> = ops.into_values().collect();
    rows.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    rows
}

/// Adds to each op what its nodes in `graphs`, which were run once each, have to do.
pub fn add_work<'a>(ops: &mut [OpTime], graphs: impl Iterator<Item = &'a Graph>) {
    for g in graphs {
        for (node, cost) in g.costs() {
            let Some(of) = ops.iter_mut().find(|o| o.op == node.op.name()) else {
                continue;
            };
            let halves = node.inputs.iter().any(|t| g.ty(*t).dtype == DType::F16);
            if node.op.class().is_matrix_work() && !halves {
                of.flops += cost.flops;
            }
            of.bytes += cost.bytes;
        }
    }
}

/// [`by_op`] as a table, with shares.
pub fn table(timed: &[Timed]) -> String {
    let total: f64 = timed.iter().map(|t| t.seconds).sum();
    let mut out = format!("{:24} {:>6} {:>10} {:>6}\n", "op", "calls", "ms", "share");
    for r in by_op(timed) {
        let share = 100.0 * r.seconds / total.max(f64::MIN_POSITIVE);
        let (op, calls, ms) = (r.op, r.calls, 1e3 * r.seconds);
        let _ = writeln!(out, "{op:24} {calls:6} {ms:10.3} {share:5.1}%");
    }
    let _ = write!(out, "{:24} {:6} {:10.3}", "sum", timed.len(), 1e3 * total);
    out
}

/// The trace as JSON text.
pub fn trace(timed: &[Timed]) -> String {
    let events: Vec<_> = timed
        .iter()
        .map(|t| {
            json!({
                "name": t.label, "cat": t.kernel, "ph": "X", "pid": 1, "tid": 1,
                "ts": t.start * 1e6, "dur": t.seconds * 1e6, "args": {"kernel": t.kernel},
            })
        })
        .collect();
    json!({"displayTimeUnit": "ms", "traceEvents": events}).to_string()
}

/// What the host did for some steps, as a trace: its calls, and from when each step was handed over until its results
/// were there.
pub fn calls(calls: &[Call]) -> String {
    let micros = |d: Duration| d.as_secs_f64() * 1e6;
    let event = |row: u32, name: &str, step: u32, begin: Duration, took: Duration| {
        json!({
            "name": format!("{name} {step}"), "cat": name, "ph": "X", "pid": 1, "tid": row, "ts": micros(begin),
            "dur": micros(took), "args": {"step": step},
        })
    };
    let rows = [
        (1, "host"),
        (2, "even steps in flight"),
        (3, "odd steps in flight"),
    ];
    let named = rows.map(|(row, name)| {
        json!({"name": "thread_name", "ph": "M", "pid": 1, "tid": row, "args": {"name": name}})
    });
    let mut events = Vec::from(named);
    let of = |c: &Call| event(1, c.act.name(), c.step, c.begin, c.took);
    events.extend(calls.iter().map(of));
    let mut flights: BTreeMap<u32, [Option<Duration>; 2]> = BTreeMap::new();
    for c in calls {
        let flight = flights.entry(c.step).or_default();
        match c.act {
            Act::Submit => flight[0] = flight[0].or(Some(c.begin)),
            Act::Collect => flight[1] = Some(c.begin + c.took),
            Act::Fetch | Act::Upload => {}
        }
    }
    for (step, flight) in flights {
        if let [Some(begin), Some(end)] = flight {
            let took = end.saturating_sub(begin);
            events.push(event(2 + step % 2, "in flight", step, begin, took));
        }
    }
    json!({"displayTimeUnit": "ms", "traceEvents": events}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::TensorType;

    #[test]
    fn times_add_up_by_op() {
        let t = |label: &str, start: f64, seconds: f64| Timed {
            label: label.into(),
            kernel: "k".into(),
            start,
            seconds,
        };
        let timed = [
            t("conv2d a", 0.0, 0.003),
            t("relu a", 0.003, 0.002),
            t("conv2d b", 0.005, 0.001),
        ];
        let text = table(&timed);
        let first: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(first, ["conv2d", "2", "4.000", "66.7%"]);
        let json: serde_json::Value = serde_json::from_str(&trace(&timed)).unwrap();
        assert_eq!(json["traceEvents"][2]["ts"], 5000.0);
    }

    #[test]
    fn ops_have_the_work_of_their_nodes() {
        let mut g = Graph::new();
        let x = g.input("x", TensorType::f32([3, 5]));
        let w = g.input("w", TensorType::f32([5, 7]));
        let y = g.matmul(x, w).unwrap();
        let y = g.relu(y).unwrap();
        g.relu(y).unwrap();
        let timed = ["gemm a", "relu a", "relu b"].map(|label| Timed {
            label: label.into(),
            kernel: String::new(),
            start: 0.0,
            seconds: 1.0,
        });
        let mut ops = by_op(&timed);
        // A step's program that runs twice, as its timed dispatches do.
        add_work(&mut ops, [&g, &g].into_iter());
        let of = |name: &str| ops.iter().find(|o| o.op == name).unwrap();
        assert_eq!(of("gemm").flops, 2.0 * 2.0 * 105.0);
        assert_eq!(of("gemm").bytes, 2.0 * 4.0 * (15.0 + 35.0 + 21.0));
        // What is bound by memory has no operations that count.
        assert_eq!(
            (of("relu").flops, of("relu").bytes),
            (0.0, 4.0 * 4.0 * 42.0)
        );
    }
}
