//! `log_sum_exp`: the logarithm of the sum of exponentials of each row. Twin: `reference/log_sum_exp.rs`.

use super::row_scale::RowScale;
use super::rows::{self, by_rows};
use super::softmax::Softmax;
use crate::graph::{Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::{Scalar, log_sum_exp};

/// x [..,d] -> [..], without overflow.
#[derive(Clone, Copy, Debug)]
pub struct LogSumExp;

impl Op for LogSumExp {
    by_rows!("log_sum_exp", Reduction);
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        Ok(vec![rows::per_row(&rows::alike(inputs, 1)?)])
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
        let x = g.node(node).inputs[0];
        let shares = g.push1(Softmax, &[x])?;
        Ok(vec![Some(g.push1(RowScale, &[shares, dy])?)])
    }
}

impl LogSumExp {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let d = rows::width(&io.input_types[0]);
        let x = io.input(0);
        log_sum_exp::log_sum_exp(d, x, io.output(0));
    }
}
