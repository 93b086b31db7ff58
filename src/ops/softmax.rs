//! `softmax`: shares of each row. Twin: `reference/softmax.rs`.

use super::rows;
use super::softmax_grad::SoftmaxGrad;
use crate::device::recording::Recorder;
use crate::graph::{Bindings, Class, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::{Scalar, softmax};
use crate::{kernel, twin};

/// x [..,d] -> y alike: exp(x) over its sum along each row, without overflow.
#[derive(Clone, Copy, Debug)]
pub struct Softmax;

impl Op for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }
    fn class(&self) -> Class {
        Class::Reduction
    }
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
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let d = io.inputs[0].dims().last().copied().unwrap_or(1);
        let views = [&io.inputs[0], &io.outputs[0]];
        Ok(rows::record(
            rec,
            &kernel!("softmax", "main"),
            d,
            &views,
            (0.0, 0.0),
        )?)
    }
    twin!();
}

impl Softmax {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let d = rows::width(&io.input_types[0]);
        let x = io.input(0);
        softmax::softmax(d, x, io.output(0));
    }
}
