//! `row_dot`: products of rows. Twin: `reference/row_dot.rs`.

use super::row_scale::RowScale;
use super::rows::{self, by_rows};
use crate::graph::{Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::{Scalar, row_dot};

/// a, b [..,d] -> [..]: the dot product of each pair of rows.
#[derive(Clone, Copy, Debug)]
pub struct RowDot;

impl Op for RowDot {
    by_rows!("row_dot", Reduction);
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        Ok(vec![rows::per_row(&rows::alike(inputs, 2)?)])
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
        let (a, b) = (g.node(node).inputs[0], g.node(node).inputs[1]);
        let da = g.push1(RowScale, &[b, dy])?;
        let db = g.push1(RowScale, &[a, dy])?;
        Ok(vec![Some(da), Some(db)])
    }
}

impl RowDot {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let d = rows::width(&io.input_types[0]);
        let (a, b) = (io.input(0), io.input(1));
        row_dot::row_dot(d, a, b, io.output(0));
    }
}
