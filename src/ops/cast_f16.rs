//! `cast_f16`: floats packed as halves, two a word. Twin: `reference/cast_f16.rs`.

use crate::device::DeviceError;
use crate::device::recording::{Kernel, Recorder, View};
use crate::graph::{Bindings, DType, HostIo, Op, Result, TensorType};
use crate::reference::{Scalar, cast_f16};
use crate::{kernel, twin};

/// x f32 of n elements -> u32 [ceil(n/2)]: element 2i in the low half of word i, rounded to f16. For storage; no gradient.
#[derive(Clone, Copy, Debug)]
pub struct CastF16;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    n: u32,
    total: u32,
    r: [u32; 2],
}

/// Records a conversion (`to_words`, or back) between `floats` [n] and `words` [ceil(n/2)], piece by piece.
pub(super) fn record(
    rec: &mut Recorder<'_>,
    kernel: &Kernel,
    floats: &View,
    words: &View,
    to_words: bool,
) -> std::result::Result<(), DeviceError> {
    let n = floats.elements();
    // Both sides start at multiples of 64 elements.
    let piece = (rec.limits().max_binding / 4 / 128 * 128).max(128);
    for start in (0..n).step_by(piece) {
        let len = piece.min(n - start);
        let total = len.div_ceil(2);
        let f = floats.flat(start..start + len);
        let w = words.flat(start / 2..start / 2 + total);
        let bound = if to_words { [&f, &w] } else { [&w, &f] };
        let p = Params {
            n: len as u32,
            total: total as u32,
            r: [0; 2],
        };
        rec.dispatch(kernel, &p, &bound, total.div_ceil(64))?;
    }
    Ok(())
}

impl Op for CastF16 {
    fn name(&self) -> &'static str {
        "cast_f16"
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        match inputs {
            [x] if x.dtype == DType::F32 => Ok(vec![TensorType::u32([x.elements().div_ceil(2)])]),
            _ => Err("needs one float tensor".into()),
        }
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        Ok(record(
            rec,
            &kernel!("cast_f16", "main"),
            &io.inputs[0],
            &io.outputs[0],
            true,
        )?)
    }
    twin!();
}

impl CastF16 {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let x = io.input(0);
        cast_f16::cast_f16(x, io.outputs[0].u32());
    }
}
