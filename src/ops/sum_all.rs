//! `sum_all`: the sum of all elements (or of their squares) as one number. Twin: `reference/sum_all.rs`.

use crate::device::Limits;
use crate::device::recording::Recorder;
use crate::graph::{Bindings, Class, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::{Scalar, sum_all};
use crate::{kernel, twin};

/// Elements that one workgroup sums.
const PER_GROUP: usize = 4096;

/// y [1] = sum of x, any shape.
#[derive(Clone, Copy, Debug)]
pub struct SumAll;

/// y [1] = sum of x squared, any shape: gradient norms.
#[derive(Clone, Copy, Debug)]
pub struct SumSquares;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    n: u32,
    groups: u32,
    first: u32,
    r: u32,
}

/// Pieces that fit one binding: start, length.
fn pieces(n: usize, limits: &Limits) -> Vec<(usize, usize)> {
    let step = (limits.max_binding / 4).max(64);
    (0..n).step_by(step).map(|s| (s, step.min(n - s))).collect()
}

fn workspace(inputs: &[&TensorType], limits: &Limits) -> Vec<TensorType> {
    let parts: usize = pieces(inputs[0].elements(), limits)
        .iter()
        .map(|p| p.1.div_ceil(PER_GROUP))
        .sum();
    vec![TensorType::f32([parts])]
}

fn record(square: bool, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
    let (x, part) = (&io.inputs[0], &io.workspace[0]);
    let mut first = 0;
    for (start, len) in pieces(x.elements(), rec.limits()) {
        let groups = len.div_ceil(PER_GROUP);
        let p = Params {
            n: len as u32,
            groups: groups as u32,
            first: first as u32,
            r: 0,
        };
        let k = kernel!("sum_all", "partial").flag("SQUARE", square);
        rec.dispatch(&k, &p, &[&x.flat(start..start + len), part], groups)?;
        first += groups;
    }
    let p = Params {
        n: first as u32,
        groups: 1,
        first: 0,
        r: 0,
    };
    Ok(rec.dispatch(
        &kernel!("sum_all", "total").flag("SQUARE", square),
        &p,
        &[part, &io.outputs[0]],
        1,
    )?)
}

impl Op for SumAll {
    fn name(&self) -> &'static str {
        "sum_all"
    }
    fn class(&self) -> Class {
        Class::Reduction
    }
    fn infer(&self, _inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        Ok(vec![TensorType::f32([1])])
    }
    fn workspace(&self, inputs: &[&TensorType], limits: &Limits) -> Vec<TensorType> {
        workspace(inputs, limits)
    }
    fn gradient(
        &self,
        g: &mut Graph,
        node: NodeId,
        dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let Some(dy) = dy[0] else {
            return Ok(vec![None]);
        };
        let shape = g.ty(g.node(node).inputs[0]).shape.clone();
        Ok(vec![Some(g.push1(
            super::broadcast_scalar::BroadcastScalar { shape },
            &[dy],
        )?)])
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        record(false, rec, io)
    }
    twin!();
}

impl SumAll {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let x = io.input(0);
        sum_all::sum_all(false, x, io.output(0));
    }
}

impl Op for SumSquares {
    fn name(&self) -> &'static str {
        "sum_all_squares"
    }
    fn class(&self) -> Class {
        Class::Reduction
    }
    fn infer(&self, _inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        Ok(vec![TensorType::f32([1])])
    }
    fn workspace(&self, inputs: &[&TensorType], limits: &Limits) -> Vec<TensorType> {
        workspace(inputs, limits)
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        record(true, rec, io)
    }
    twin!();
}

impl SumSquares {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let x = io.input(0);
        sum_all::sum_all(true, x, io.output(0));
    }
}
