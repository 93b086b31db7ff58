//! `softmax`: shares of each row. Twin: `reference/softmax.rs`.

use super::rows::{self, by_rows};
use super::softmax_grad::SoftmaxGrad;
use crate::graph::{Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::{Scalar, softmax};

/// x [..,d] -> y alike: exp(x) over its sum along each row, without overflow.
#[derive(Clone, Copy, Debug)]
pub struct Softmax;

impl Op for Softmax {
    by_rows!("softmax", Reduction);
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        Ok(vec![rows::alike(inputs, 1)?])
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
        let y = g.node(node).outputs[0];
        Ok(vec![Some(g.push1(SoftmaxGrad, &[dy, y])?)])
    }
}

impl Softmax {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let d = rows::width(&io.input_types[0]);
        let x = io.input(0);
        softmax::softmax(d, x, io.output(0));
    }
}
