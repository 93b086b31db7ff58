//! `abs_difference`: the distance of each element from another. Twin: `reference/abs_difference.rs`.

use super::abs_difference_grad::AbsDifferenceGrad;
use super::elementwise::elementwise;
use crate::graph::{Graph, HostIo, NodeId, Op, Result, TensorId};
use crate::reference::{Scalar, abs_difference};

/// y = |a - b|. The gradient is a's; b is a constant, as weights are to which others are pulled.
#[derive(Clone, Copy, Debug)]
pub struct AbsDifference;

impl Op for AbsDifference {
    elementwise!("abs_difference");
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
        Ok(vec![Some(g.push1(AbsDifferenceGrad, &[dy, a, b])?), None])
    }
}

impl AbsDifference {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let (a, b) = (io.input(0), io.input(1));
        abs_difference::abs_difference(a, b, io.output(0));
    }
}
