//! A graph on a file's tensors, and what of it is compared with which of them.

use super::Result;
use super::judge::{Judge, Quantity};
use crate::fixture::{Fixture, bad};
use crate::graph::{DType, Executor, Graph, HostData, TensorId, TensorType};
use crate::methods::loss::evaluate::Array;
use crate::ops;
use serde::Deserialize;

/// A result under the name that it is stored by.
struct Wanted {
    name: String,
    tensor: TensorId,
    quantity: Quantity,
    guide: f64,
}

/// The `config` of a kind that lists cases.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cases<T> {
    pub cases: Vec<T>,
}

/// A graph without states, whose inputs are in the file.
pub(super) struct Case<'a> {
    fixture: &'a Fixture,
    /// The graph.
    pub graph: Graph,
    inputs: Vec<(TensorId, HostData)>,
    wanted: Vec<Wanted>,
}

impl<'a> Case<'a> {
    /// An empty graph.
    pub fn new(fixture: &'a Fixture) -> Self {
        Self {
            fixture,
            graph: Graph::new(),
            inputs: Vec::new(),
            wanted: Vec::new(),
        }
    }

    /// The stored tensor `name`, of this shape, as an input.
    pub fn input(
        &mut self,
        judge: &mut Judge<'_>,
        name: &str,
        shape: &[usize],
    ) -> Result<TensorId> {
        if shape.contains(&0) {
            return Err(bad(format!("`{name}` would have the shape {shape:?}")).into());
        }
        let values = self.fixture.reals(name, shape)?.to_vec();
        judge.read(name);
        let id = self.graph.input(name, TensorType::f32(shape));
        self.inputs.push((id, HostData::F64(values)));
        Ok(id)
    }

    /// Compares `tensor` with the stored `name`; `guide` is the key of `float32_guide` with PyTorch's own f32 error.
    pub fn want(&mut self, name: String, tensor: TensorId, quantity: Quantity, guide: &str) {
        let guide = self.fixture.guide("float32_guide", guide);
        self.wanted.push(Wanted {
            name,
            tensor,
            quantity,
            guide,
        });
    }

    /// The gradients of `y`'s product with the upstream gradient `dy`, with respect to `wrt`.
    pub fn gradients(
        &mut self,
        y: TensorId,
        dy: TensorId,
        wrt: &[TensorId],
    ) -> Result<Vec<TensorId>> {
        let product = self.graph.mul(y, dy)?;
        let loss = self.graph.sum(product)?;
        let found = ops::backward(&mut self.graph, loss, wrt)?;
        let all: Option<Vec<TensorId>> = found.into_iter().collect();
        Ok(all.ok_or_else(|| bad("a gradient does not exist"))?)
    }

    /// Computes and compares.
    pub fn run(self, exec: &mut dyn Executor, judge: &mut Judge<'_>) -> Result<()> {
        self.run_beside(exec, judge, &[]).map(|_| ())
    }

    /// Computes and compares; and the values of further tensors.
    pub fn run_beside(
        self,
        exec: &mut dyn Executor,
        judge: &mut Judge<'_>,
        further: &[TensorId],
    ) -> Result<Vec<Vec<f64>>> {
        let mut tensors: Vec<TensorId> = self.wanted.iter().map(|w| w.tensor).collect();
        tensors.extend(further);
        let mut got = exec.evaluate(&self.graph, &self.inputs, &tensors)?;
        let beside = got.split_off(self.wanted.len());
        for (w, data) in self.wanted.iter().zip(got) {
            let ty = self.graph.ty(w.tensor);
            match (ty.dtype, data.as_u32()) {
                (DType::U32, Some(data)) => judge.equal(&w.name, ty.dims(), data)?,
                _ => {
                    let got = Array::new(ty.dims(), data.to_f64());
                    judge.compare(&w.name, &got, w.quantity, w.guide)?;
                }
            }
        }
        Ok(beside.iter().map(HostData::to_f64).collect())
    }
}
