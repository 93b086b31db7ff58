//! `stop_gradient`: a copy through which no gradient passes (targets, momentum keys). Twin:
//! `reference/stop_gradient.rs`.

use super::elementwise;
use crate::device::recording::Recorder;
use crate::graph::{Bindings, Class, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::{Scalar, stop_gradient};
use crate::{kernel, twin};

/// y = x; its gradient is none.
#[derive(Clone, Copy, Debug)]
pub struct StopGradient;

impl Op for StopGradient {
    fn name(&self) -> &'static str {
        "stop_gradient"
    }
    fn class(&self) -> Class {
        Class::Layout
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        match inputs {
            [x] => Ok(vec![(*x).clone()]),
            _ => Err("needs one input".into()),
        }
    }
    fn gradient(
        &self,
        _: &mut Graph,
        _: NodeId,
        _: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        Ok(vec![None])
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        Ok(elementwise::record(
            rec,
            kernel!("stop_gradient", "main"),
            &[&io.inputs[0], &io.outputs[0]],
            0.0,
            0.0,
        )?)
    }
    twin!();
}

impl StopGradient {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let x = io.input(0);
        stop_gradient::stop_gradient(x, io.output(0));
    }
}
