//! `broadcast_scalar`: one number as a tensor. Twin: `reference/broadcast_scalar.rs`.

use super::elementwise;
use crate::device::recording::Recorder;
use crate::graph::{
    Bindings, Class, Graph, HostIo, NodeId, Op, Result, Shape, TensorId, TensorType,
};
use crate::reference::{Scalar, broadcast_scalar};
use crate::{kernel, twin};

/// y (of `shape`) = x [1] everywhere.
#[derive(Clone, Debug)]
pub struct BroadcastScalar {
    /// The output's shape.
    pub shape: Shape,
}

impl Op for BroadcastScalar {
    fn name(&self) -> &'static str {
        "broadcast_scalar"
    }
    fn class(&self) -> Class {
        Class::Layout
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        if inputs.len() != 1 || inputs[0].elements() != 1 {
            return Err("needs one input of one element".into());
        }
        Ok(vec![TensorType::f32(self.shape.clone())])
    }
    fn gradient(
        &self,
        g: &mut Graph,
        _node: NodeId,
        dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let Some(dy) = dy[0] else {
            return Ok(vec![None]);
        };
        Ok(vec![Some(g.push1(super::sum_all::SumAll, &[dy])?)])
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let k = kernel!("broadcast_scalar", "main");
        Ok(elementwise::record_with(
            rec,
            k,
            &[&io.inputs[0]],
            &[&io.outputs[0]],
            0.0,
            0.0,
        )?)
    }
    twin!();
}

impl BroadcastScalar {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let x = io.input(0);
        broadcast_scalar::broadcast_scalar(x, io.output(0));
    }
}
