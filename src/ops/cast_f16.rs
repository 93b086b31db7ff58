//! `cast_f16`: floats rounded to halves. Twin: `reference/cast_f16.rs`.

use super::cast_f32::CastF32;
use crate::device::DeviceError;
use crate::device::recording::{Kernel, Recorder, View};
use crate::graph::{
    Bindings, Class, DType, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType,
};
use crate::reference::{Scalar, cast_f16};
use crate::{kernel, twin};

/// x f32 -> f16 of the same shape, to nearest, ties to even; past 65,504 infinite. The gradient comes back in f32,
/// whether it arrives as f32 (of weights) or f16 (of activations).
#[derive(Clone, Copy, Debug)]
pub struct CastF16;

/// x in f16, as it is or rounded.
///
/// # Errors
/// None is expected.
pub fn halved(g: &mut Graph, x: TensorId) -> Result<TensorId> {
    match g.ty(x).dtype {
        DType::F16 => Ok(x),
        _ => g.push1(CastF16, &[x]),
    }
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    n: u32,
    total: u32,
    r: [u32; 2],
}

/// Records a conversion from `x` to `y`, one of them halves (bound as words of two), piece by piece.
pub(super) fn record(
    rec: &mut Recorder<'_>,
    kernel: &Kernel,
    x: &View,
    y: &View,
) -> std::result::Result<(), DeviceError> {
    for range in x.flat_chunks(rec.limits()) {
        let total = range.len().div_ceil(2);
        let p = Params {
            n: range.len() as u32,
            total: total as u32,
            r: [0; 2],
        };
        let bound = [&x.flat(range.clone()), &y.flat(range)];
        rec.dispatch(kernel, &p, &bound, total.div_ceil(64))?;
    }
    Ok(())
}

impl Op for CastF16 {
    fn name(&self) -> &'static str {
        "cast_f16"
    }
    fn class(&self) -> Class {
        Class::Layout
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        match inputs {
            [x] if x.dtype == DType::F32 => Ok(vec![TensorType::f16(x.shape.clone())]),
            _ => Err("needs one f32 tensor".into()),
        }
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
        Ok(vec![Some(match g.ty(dy).dtype {
            DType::F16 => g.push1(CastF32, &[dy])?,
            _ => dy,
        })])
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let kernel = kernel!("cast_f16", "main");
        Ok(record(rec, &kernel, &io.inputs[0], &io.outputs[0])?)
    }
    twin!();
}

impl CastF16 {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let x = io.input(0);
        cast_f16::cast_f16(x, io.output(0));
    }
}
