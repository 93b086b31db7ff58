//! `log_sum_exp`: the logarithm of the sum of exponentials of each row. Twin: `reference/log_sum_exp.rs`.

use super::row_scale::RowScale;
use super::rows;
use super::softmax::Softmax;
use crate::device::recording::Recorder;
use crate::graph::{Bindings, Class, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::{Scalar, log_sum_exp};
use crate::{kernel, twin};

/// x [..,d] -> [..], without overflow.
#[derive(Clone, Copy, Debug)]
pub struct LogSumExp;

impl Op for LogSumExp {
    fn name(&self) -> &'static str {
        "log_sum_exp"
    }
    fn class(&self) -> Class {
        Class::Reduction
    }
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
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let d = io.inputs[0].dims().last().copied().unwrap_or(1);
        let views = [&io.inputs[0], &io.outputs[0]];
        Ok(rows::record(
            rec,
            &kernel!("log_sum_exp", "main"),
            d,
            &views,
            (0.0, 0.0),
        )?)
    }
    twin!();
}

impl LogSumExp {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let d = rows::width(&io.input_types[0]);
        let x = io.input(0);
        log_sum_exp::log_sum_exp(d, x, io.output(0));
    }
}
