//! `cast_f32`: halves as floats. Twin: `reference/cast_f32.rs`.

use super::cast_f16::{self, CastF16};
use crate::device::recording::Recorder;
use crate::graph::{
    Bindings, Class, DType, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType,
};
use crate::reference::{Scalar, cast_f32};
use crate::{kernel, twin};

/// x f16 -> f32 of the same shape, exact. The gradient goes back as f16.
#[derive(Clone, Copy, Debug)]
pub struct CastF32;

impl Op for CastF32 {
    fn name(&self) -> &'static str {
        "cast_f32"
    }
    fn class(&self) -> Class {
        Class::Layout
    }
    fn takes_f16(&self) -> bool {
        true
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        match inputs {
            [x] if x.dtype == DType::F16 => Ok(vec![TensorType::f32(x.shape.clone())]),
            _ => Err("needs one f16 tensor".into()),
        }
    }
    fn gradient(
        &self,
        g: &mut Graph,
        _node: NodeId,
        dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let dx = dy[0].map(|dy| g.push1(CastF16, &[dy])).transpose()?;
        Ok(vec![dx])
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let kernel = kernel!("cast_f32", "main");
        Ok(cast_f16::record(
            rec,
            &kernel,
            &io.inputs[0],
            &io.outputs[0],
        )?)
    }
    twin!();
}

impl CastF32 {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let x = io.input(0);
        cast_f32::cast_f32(x, io.output(0));
    }
}
