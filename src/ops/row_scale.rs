//! `row_scale`: rows times a value each. Twin: `reference/row_scale.rs`.

use super::row_dot::RowDot;
use super::rows;
use crate::device::recording::Recorder;
use crate::graph::{Bindings, Class, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::{Scalar, row_scale};
use crate::{kernel, twin};

/// x [..,d], s [..] -> [..,d]: each row of x times its s.
#[derive(Clone, Copy, Debug)]
pub struct RowScale;

impl Op for RowScale {
    fn name(&self) -> &'static str {
        "row_scale"
    }
    fn class(&self) -> Class {
        Class::Elementwise
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        match inputs {
            [x, s] if x.shape.rank() > 0 && **s == rows::per_row(x) => Ok(vec![(*x).clone()]),
            _ => Err("needs x [..,d] and s [..]".into()),
        }
    }
    fn gradient(
        &self,
        g: &mut Graph,
        node: NodeId,
        dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let Some(dy) = dy[0] else {
            return Ok(vec![None; 2]);
        };
        let (x, s) = (g.node(node).inputs[0], g.node(node).inputs[1]);
        let dx = g.push1(Self, &[dy, s])?;
        let ds = g.push1(RowDot, &[dy, x])?;
        Ok(vec![Some(dx), Some(ds)])
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let d = io.inputs[0].dims().last().copied().unwrap_or(1);
        let views = [&io.inputs[0], &io.inputs[1], &io.outputs[0]];
        Ok(rows::record(
            rec,
            &kernel!("row_scale", "main"),
            d,
            &views,
            (0.0, 0.0),
        )?)
    }
    twin!();
}

impl RowScale {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let d = rows::width(&io.input_types[0]);
        let (x, s) = (io.input(0), io.input(1));
        row_scale::row_scale(d, x, s, io.output(0));
    }
}
