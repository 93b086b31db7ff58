//! `cast_f32`: packed halves as floats. Twin: `reference/cast_f32.rs`.

use super::cast_f16;
use crate::device::recording::Recorder;
use crate::graph::{Bindings, DType, HostIo, Op, Result, Shape, TensorType};
use crate::reference::{Scalar, cast_f32};
use crate::{kernel, twin};

/// x u32 [ceil(n/2)] as [`super::cast_f16::CastF16`] packs -> f32 of `shape` (n elements). For storage; no gradient.
#[derive(Clone, Debug)]
pub struct CastF32 {
    /// Shape of the result.
    pub shape: Shape,
}

impl Op for CastF32 {
    fn name(&self) -> &'static str {
        "cast_f32"
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let words = self.shape.elements().div_ceil(2);
        match inputs {
            [x] if x.dtype == DType::U32 && x.elements() == words => {
                Ok(vec![TensorType::f32(self.shape.clone())])
            }
            _ => Err(format!(
                "needs {words} words of two halves for {}",
                self.shape
            )),
        }
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let (words, floats) = (&io.inputs[0], &io.outputs[0]);
        Ok(cast_f16::record(
            rec,
            &kernel!("cast_f32", "main"),
            floats,
            words,
            false,
        )?)
    }
    twin!();
}

impl CastF32 {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let x = io.input_u32(0);
        cast_f32::cast_f32(x, io.output(0));
    }
}
