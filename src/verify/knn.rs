//! Kind `knn`: votes of nearest neighbours by cosine similarity, and the classes that they elect. `config` has k (a
//! list), t and classes.

use super::judge::{Judge, Quantity, distance};
use super::{Computer, Result, Subject, Verified};
use crate::eval::knn::{Bank, Distance, Knn, Vote};
use crate::fixture::{Fixture, bad};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    k: Vec<usize>,
    t: f32,
    classes: usize,
}

fn features(f: &Fixture, name: &str) -> Result<([usize; 2], Vec<f32>)> {
    let shape = f.rank(name)?;
    let values = f.reals(name, &shape)?;
    Ok((shape, values.iter().map(|v| *v as f32).collect()))
}

/// Every row's values over their sum.
fn shares(values: &[f64], width: usize) -> Vec<f64> {
    let rows = values.chunks(width).flat_map(|row| {
        let sum: f64 = row.iter().sum();
        row.iter().map(move |v| v / sum)
    });
    rows.collect()
}

pub(super) fn verify(subject: &Subject, computer: &Computer) -> Result<Verified> {
    let f = &subject.fixture;
    let s: Settings = f.config(&["seed"])?;
    if s.classes == 0 {
        return Err(bad("config.classes is 0").into());
    }
    let mut judge = Judge::new(f, computer.grade());
    let ([n, d], bank) = features(f, "bank")?;
    let ([q, width], queries) = features(f, "queries")?;
    if d != width {
        return Err(bad(format!(
            "`queries` have {width} values each, the bank's features {d}"
        ))
        .into());
    }
    let labels = f.integers("bank_labels", &[n])?;
    if let Some(label) = labels.iter().find(|l| !(0..s.classes as i64).contains(l)) {
        let classes = s.classes;
        return Err(bad(format!(
            "`bank_labels` holds {label}, but there are {classes} classes"
        ))
        .into());
    }
    let labels: Vec<u32> = labels.iter().map(|l| *l as u32).collect();
    for name in ["bank", "bank_labels", "queries", "query_labels"] {
        judge.read(name);
    }
    for k in s.k {
        if k == 0 || s.t.is_nan() || s.t <= 0.0 {
            return Err(bad(format!("config.k has {k} and config.t is {}", s.t)).into());
        }
        let vote = Vote {
            k,
            t: s.t,
            distance: Distance::Cosine,
        };
        let exec = &mut *computer.executor();
        let knn = Knn::compile(exec, n, d, s.classes, vote)?;
        let bank = Bank {
            features: &bank,
            labels: &labels,
        };
        let votes = knn.votes(exec, &queries, bank)?;
        let elected: Vec<u32> = knn.order(&votes).chunks(s.classes).map(|c| c[0]).collect();
        judge.equal(&format!("pred_k{k}"), &[q], &elected)?;
        let scores = format!("scores_k{k}");
        if f.tensors.contains_key(&scores) {
            // Our votes weigh exp((sim - the nearest's) / t), which f32 holds at any t: a query's are compared by
            // their shares. They pass through f32 on the host, on every executor.
            let want = shares(f.reals(&scores, &[q, s.classes])?, s.classes);
            let votes: Vec<f64> = votes.iter().map(|v| f64::from(*v)).collect();
            let bound = Quantity::Value.floor();
            judge.add(
                &format!("{scores} (shares)"),
                distance(&shares(&votes, s.classes), &want),
                bound,
            );
            judge.read(scores);
        }
    }
    judge.finish()
}
