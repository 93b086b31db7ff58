//! Kind `pos_embed`: tables of positions, whose `config.cases` list dim, grid and first (`column` or `row`), and
//! embeddings of noise levels, `sigma_embedding_DIM` of `sigma`.

use super::case::{Case, Cases};
use super::judge::{Judge, Quantity};
use super::{Computer, Result, Subject, Verified};
use crate::fixture::bad;
use crate::methods::loss::evaluate::Array;
use crate::nn::positions;
use crate::ops::level_embedding::LevelEmbedding;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    dim: usize,
    grid: usize,
    first: First,
}

/// What the first half of a table's columns encodes.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum First {
    Column,
    Row,
}

pub(super) fn verify(subject: &Subject, computer: &Computer) -> Result<Verified> {
    let f = &subject.fixture;
    let settings: Cases<Table> = f.config(&[])?;
    let mut judge = Judge::new(f, computer.grade());
    for (i, t) in settings.cases.iter().enumerate() {
        if !t.dim.is_multiple_of(4) || t.dim == 0 {
            let dim = t.dim;
            return Err(bad(format!("config.cases[{i}].dim is {dim}, no multiple of 4")).into());
        }
        let name = format!("{i}.pos");
        let shape = [1 + t.grid * t.grid, t.dim];
        // Before the table is made: the file's is as large, so that its size is a sane one.
        f.reals(&name, &shape)?;
        let table = positions::sin_cos(t.grid, t.dim, 1);
        let table = match t.first {
            First::Column => table,
            First::Row => positions::row_first(&table, t.dim),
        };
        judge.compare(&name, &Array::new(&shape, table), Quantity::Value, 0.0)?;
    }
    let levels = f.tensors.keys().filter_map(|name| {
        let dim = name.strip_prefix("sigma_embedding_")?.parse().ok()?;
        Some((name.clone(), dim))
    });
    for (name, dim) in levels {
        let [n] = f.rank("sigma")?;
        let mut case = Case::new(f);
        let sigma = case.input(&mut judge, "sigma", &[n])?;
        let embedding = case.graph.push1(LevelEmbedding { dim }, &[sigma])?;
        case.want(name, embedding, Quantity::Value, "");
        case.run(computer.executor().as_mut(), &mut judge)?;
    }
    judge.finish()
}
