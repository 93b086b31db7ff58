//! `conv2d_input_grad`: the gradient of a convolution by its input. Twin: `reference/conv2d_input_grad.rs`.

use super::conv2d::{Params, conv_cost, conv_dims, is_product, key, product_of};
use super::gemm::Gemm;
use super::tiles::Tile;
use crate::device::Limits;
use crate::device::recording::{Recorder, row_chunks};
use crate::graph::{
    Bindings, Class, Cost, DType, GraphError, HostIo, Op, Result, Shape, TensorType,
};
use crate::reference::{Scalar, conv2d_input_grad};
use crate::{kernel, twin};

/// dy [n,p,q,k], w [k,r,s,c] -> dx of shape `input` [n,h,w,c].
#[derive(Clone, Debug)]
pub struct Conv2dInputGrad {
    /// Shape of the convolution's input.
    pub input: Shape,
    /// Stride.
    pub stride: usize,
    /// Padding.
    pub padding: usize,
}

/// Halves have no kernels of their own for CPU drivers.
fn on_gpu(half: bool, limits: &Limits) -> bool {
    !limits.is_cpu || half
}

impl Op for Conv2dInputGrad {
    fn name(&self) -> &'static str {
        "conv2d_input_grad"
    }
    fn class(&self) -> Class {
        Class::Convolution
    }
    fn takes_f16(&self) -> bool {
        true
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let [dy, w] = inputs else {
            return Err("needs dy and weights".into());
        };
        let d = conv_dims(self.input.dims(), w.dims(), self.stride, self.padding)?;
        if dy.dims() != [d.n, d.p, d.q, d.k] {
            return Err(format!("dy should be {:?}", [d.n, d.p, d.q, d.k]));
        }
        if dy.dtype != w.dtype {
            return Err("dy and the weights are both f32, or both f16".into());
        }
        Ok(vec![dy.with_shape(self.input.clone())])
    }
    fn workspace(&self, inputs: &[&TensorType], limits: &Limits) -> Vec<TensorType> {
        let w = inputs[1];
        let d = conv_dims(self.input.dims(), w.dims(), self.stride, self.padding);
        match d {
            Ok(d) if on_gpu(w.dtype == DType::F16, limits) && !is_product(&d) => {
                vec![w.with_shape([d.c, d.r, d.s, d.k])]
            }
            _ => Vec::new(),
        }
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let (dy, w, dx) = (&io.inputs[0], &io.inputs[1], &io.outputs[0]);
        if let Some(turned) = io.workspace.first() {
            let d = conv_dims(self.input.dims(), w.dims(), self.stride, self.padding)
                .map_err(GraphError::Invalid)?;
            let groups = d.r * d.s * d.k.div_ceil(16) * d.c.div_ceil(16);
            let kernel = kernel!("conv2d_input_grad", "turn")
                .flag("TURN", true)
                .flag("HALF", w.is_half());
            rec.dispatch(&kernel, &Params::new(&d, groups), &[w, turned], groups)?;
        }
        for rows in row_chunks(&[dy, dx], rec.limits()) {
            let (dy, dx) = (dy.rows(rows.clone()), dx.rows(rows));
            let d = conv_dims(dx.dims(), w.dims(), self.stride, self.padding)
                .map_err(GraphError::Invalid)?;
            let vec4 = d.c % 4 == 0;
            let of_phase = d.n * d.h.div_ceil(d.stride) * d.w.div_ceil(d.stride);
            let bound = [&dy, w, &dx];
            let half = dy.is_half();
            let gpu = on_gpu(half, rec.limits());
            let lanes = rec.limits().lanes();
            if gpu && is_product(&d) {
                let pixels = d.n * d.pixels();
                product_of(Gemm::default(), rec, bound, [pixels, d.c, d.k])?;
            } else if gpu {
                let phases = d.stride * d.stride;
                let name = key("conv2d_input_grad", &d, half);
                let tile = Tile::select(rec, &name, half, [phases, of_phase, d.c]);
                let rows = tile.count(of_phase, d.c);
                let p = Params {
                    rows: rows as u32,
                    ..Params::new(&d, phases * rows)
                };
                let kernel = tile
                    .of(
                        kernel!("conv2d_input_grad", "tiled"),
                        (false, false),
                        rec.limits(),
                    )
                    .flag("HALF", half)
                    .flag("VEC_DX", vec4)
                    .flag("VEC_K", d.k % 4 == 0)
                    .flag("VEC_W", d.k % 4 == 0)
                    .flag("IN_ORDER", d.k % 4 == 0 && d.stride == 1);
                rec.dispatch(&kernel, &p, &[&dy, &io.workspace[0], &dx], phases * rows)?;
            } else if lanes > 0 && vec4 && d.k % 4 == 0 && of_phase >= 128 {
                let (phases, rows) = (d.stride * d.stride, of_phase.div_ceil(512));
                let channels = rec.limits().shared_columns(d.c, phases * rows);
                let rows = rows * d.c.div_ceil(channels);
                let groups = phases * rows;
                let p = Params {
                    rows: rows as u32,
                    ..Params::new(&d, groups)
                };
                let kernel = kernel!("conv2d_input_grad", "shared_c")
                    .flag("SHARED_C", true)
                    .flag("LANES_8", lanes == 8)
                    .flag("WIDE", channels == 32)
                    .flag("VEC_K", true)
                    .flag("VEC_W", true);
                rec.dispatch(&kernel, &p, &bound, groups)?;
            } else {
                let total = (d.n * d.h * d.w).div_ceil(4) * d.c.div_ceil(4);
                let kernel = kernel!("conv2d_input_grad", "main").flag("VEC_W", vec4);
                let groups = total.div_ceil(64);
                rec.dispatch(&kernel, &Params::new(&d, total), &bound, groups)?;
            }
        }
        Ok(())
    }
    twin!();
    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        conv_dims(
            self.input.dims(),
            inputs[1].dims(),
            self.stride,
            self.padding,
        )
        .map_or_else(|_| Cost::default(), |d| conv_cost(&d, inputs, outputs))
    }
}

impl Conv2dInputGrad {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let (dy, w) = (io.input(0), io.input(1));
        if let Ok(d) = conv_dims(
            self.input.dims(),
            io.input_types[1].dims(),
            self.stride,
            self.padding,
        ) {
            conv2d_input_grad::conv2d_input_grad(&d, dy, w, io.output(0));
        }
    }
}
