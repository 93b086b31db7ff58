//! `pixel_noise`: Gaussian noise, a level an image, from counter-based random numbers. Twin:
//! `reference/pixel_noise.rs`.

use crate::device::recording::{Recorder, row_chunks};
use crate::graph::{
    Bindings, Class, DType, Graph, HostIo, NodeId, Op, Result, Shape, TensorId, TensorType,
};
use crate::reference::Scalar;
use crate::reference::pixel_noise::{self, WORDS};
use crate::{kernel, twin};

/// words u32 [b,5], levels [b] -> e [b,..]: level times standard normal numbers. An image's words are its stream's: the
/// key's two, and the counter's but the first, which counts blocks of four numbers. So the noise depends on what it is
/// for, and not on the batch or the device (up to rounding). No gradient passes.
#[derive(Clone, Debug)]
pub struct PixelNoise {
    /// Shape of an image's noise.
    pub shape: Shape,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    total: u32,
    blocks: u32,
    row: u32,
    r: u32,
}

impl Op for PixelNoise {
    fn name(&self) -> &'static str {
        "pixel_noise"
    }
    fn class(&self) -> Class {
        Class::Augmentation
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        match inputs {
            [words, levels]
                if levels.shape.rank() == 1
                    && levels.dtype == DType::F32
                    && **words == TensorType::u32([levels.dims()[0], WORDS])
                    && self.shape.elements() > 0 =>
            {
                let dims = [levels.dims(), self.shape.dims()].concat();
                Ok(vec![TensorType::f32(dims.as_slice())])
            }
            _ => Err(format!("needs words u32 [b,{WORDS}] and levels [b]")),
        }
    }
    fn gradient(
        &self,
        _g: &mut Graph,
        _node: NodeId,
        _dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        Ok(vec![None; 2])
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let all = [&io.inputs[0], &io.inputs[1], &io.outputs[0]];
        let row = self.shape.elements();
        let blocks = row.div_ceil(4);
        for r in row_chunks(&all, rec.limits()) {
            let total = r.len() * blocks;
            let p = Params {
                total: total as u32,
                blocks: blocks as u32,
                row: row as u32,
                r: 0,
            };
            let [words, levels, e] = all.map(|v| v.rows(r.clone()));
            let kernel = kernel!("pixel_noise", "main");
            rec.dispatch(&kernel, &p, &[&words, &levels, &e], total.div_ceil(64))?;
        }
        Ok(())
    }
    twin!();
}

impl PixelNoise {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let (words, levels) = (io.input_u32(0), io.input(1));
        pixel_noise::pixel_noise(words, levels, io.output(0));
    }
}
