//! `row_scale`: rows times a value each. Twin: `reference/row_scale.rs`.

use super::row_dot::RowDot;
use super::rows::{self, by_rows};
use crate::graph::{Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::{Scalar, row_scale};

/// x [..,d], s [..] -> [..,d]: each row of x times its s.
#[derive(Clone, Copy, Debug)]
pub struct RowScale;

impl Op for RowScale {
    by_rows!("row_scale", Elementwise);
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
}

impl RowScale {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let d = rows::width(&io.input_types[0]);
        let (x, s) = (io.input(0), io.input(1));
        row_scale::row_scale(d, x, s, io.output(0));
    }
}
