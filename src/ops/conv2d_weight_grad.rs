//! `conv2d_weight_grad`: the gradient of a convolution by its weights. Twin: `reference/conv2d_weight_grad.rs`.

use super::conv2d::{Params, conv_cost, conv_dims, key};
use super::tiles::{AT_A_TIME, Tile};
use crate::device::Limits;
use crate::device::recording::{Recorder, row_chunks, row_chunks_of};
use crate::graph::{Bindings, Class, Cost, GraphError, HostIo, Op, Result, Shape, TensorType};
use crate::reference::conv2d::ConvDims;
use crate::reference::{Scalar, conv2d_weight_grad};
use crate::{kernel, twin};

/// x [n,h,w,c], dy [n,p,q,k], both f32 or both f16 -> dw of shape `weight` [k,r,s,c], f32.
#[derive(Clone, Debug)]
pub struct Conv2dWeightGrad {
    /// Shape of the weights.
    pub weight: Shape,
    /// Stride.
    pub stride: usize,
    /// Padding.
    pub padding: usize,
}

/// Threads that a driver on a CPU should have at least: splits are added until there are about so many.
const THREADS: usize = 1 << 15;
/// Bounds on the pixels of a split: below, the reduction costs more than it saves; above, f32 sums lose digits.
const PIXELS: (usize, usize) = (64, 4096);
/// The least pixels of a split on a GPU, where a partial sum costs the writing and reading of a tile.
const GPU_PIXELS: usize = 256;
/// The most there: an H200 (132 multiprocessors) was left with a quarter of its last round at twice as many.
const GPU_MOST_PIXELS: usize = 2048;

/// Pixels a split and number of splits, for one of `pieces` pieces of the batch: all pieces' partial sums together
/// fit one binding.
fn splits(d: &ConvDims, pieces: usize, half: bool, limits: &Limits) -> (usize, usize) {
    let pixels = d.n * d.pixels();
    let room = (limits.max_binding / (4 * d.k * d.row()) / pieces).max(1);
    let (wanted, least, most) = if limits.is_cpu && !half {
        let tiles = d.k.div_ceil(4) * d.c.div_ceil(4) * d.r * d.s;
        (THREADS.div_ceil(tiles), PIXELS.0, PIXELS.1)
    } else {
        // By the smallest tile, whichever is chosen: the workspace must be known before. Two rounds, so that larger
        // tiles fill the device too.
        let tiles = d.k.div_ceil(64) * d.row().div_ceil(64);
        ((2 * AT_A_TIME).div_ceil(tiles), GPU_PIXELS, GPU_MOST_PIXELS)
    };
    let rows = pixels
        .div_ceil(wanted)
        .clamp(least, most)
        .max(pixels.div_ceil(room));
    (rows, pixels.div_ceil(rows))
}

impl Op for Conv2dWeightGrad {
    fn name(&self) -> &'static str {
        "conv2d_weight_grad"
    }
    fn class(&self) -> Class {
        Class::Convolution
    }
    fn takes_f16(&self) -> bool {
        true
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let [x, dy] = inputs else {
            return Err("needs x and dy".into());
        };
        let d = conv_dims(x.dims(), self.weight.dims(), self.stride, self.padding)?;
        if dy.dtype != x.dtype {
            return Err("x and dy are both f32, or both f16".into());
        }
        if dy.dims() != [d.n, d.p, d.q, d.k] {
            return Err(format!("dy should be {:?}", [d.n, d.p, d.q, d.k]));
        }
        Ok(vec![TensorType::f32(self.weight.clone())])
    }
    fn workspace(&self, inputs: &[&TensorType], limits: &Limits) -> Vec<TensorType> {
        let element = inputs[0].dtype.bytes();
        let shapes = [(inputs[0].dims(), element), (inputs[1].dims(), element)];
        let pieces = row_chunks_of(&shapes, limits);
        let count = pieces.len();
        let parts: usize = pieces
            .into_iter()
            .filter_map(|rows| {
                let mut x = inputs[0].dims().to_vec();
                x[0] = rows.len();
                conv_dims(&x, self.weight.dims(), self.stride, self.padding).ok()
            })
            .map(|d| splits(&d, count, element == 2, limits).1)
            .sum();
        vec![TensorType::f32([parts, self.weight.elements()])]
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let (x, dy, dw, part) = (
            &io.inputs[0],
            &io.inputs[1],
            &io.outputs[0],
            &io.workspace[0],
        );
        let mut first = 0;
        let pieces = row_chunks(&[x, dy], rec.limits());
        let number = pieces.len();
        for range in pieces {
            let (x, dy) = (x.rows(range.clone()), dy.rows(range));
            let d = conv_dims(x.dims(), self.weight.dims(), self.stride, self.padding)
                .map_err(GraphError::Invalid)?;
            let half = x.is_half();
            let (rows, count) = splits(&d, number, half, rec.limits());
            let (vec_c, vec_k) = (d.c % 4 == 0, d.k % 4 == 0);
            let positions = d.r * d.s * d.c / 8;
            let lanes = rec.limits().lanes();
            let (kernel, total, groups) = if !rec.limits().is_cpu || half {
                let name = key("conv2d_weight_grad", &d, half);
                let tile = Tile::select(rec, &name, half, [count, d.row(), d.k]);
                let groups = count * tile.count(d.row(), d.k);
                let k = tile
                    .of(
                        kernel!("conv2d_weight_grad", "tiled"),
                        (true, true),
                        rec.limits(),
                    )
                    .flag("HALF", half)
                    .flag("FOUR_IN_A_ROW", vec_c && d.q % 4 == 0 && rows % 4 == 0);
                (k.flag("VEC_PART", vec_c), groups, groups)
            } else if lanes > 0 && d.c.is_multiple_of(8) && positions >= 8 {
                let rows = count * positions.div_ceil(64);
                let filters = rec.limits().shared_columns(d.k, rows);
                let groups = rows * d.k.div_ceil(filters);
                let k = kernel!("conv2d_weight_grad", "shared_k")
                    .flag("SHARED_K", true)
                    .flag("WIDE", filters == 32);
                (k.flag("LANES_8", lanes == 8), groups, groups)
            } else {
                let total = count * d.r * d.s * d.k.div_ceil(4) * d.c.div_ceil(4);
                let k = kernel!("conv2d_weight_grad", "partial");
                (k, total, total.div_ceil(64))
            };
            let kernel = kernel.flag("VEC_C", vec_c).flag("VEC_K", vec_k);
            let p = Params {
                first: first as u32,
                rows: rows as u32,
                splits: count as u32,
                ..Params::new(&d, total)
            };
            rec.dispatch(&kernel, &p, &[&x, &dy, part], groups)?;
            first += count;
        }
        let d = conv_dims(x.dims(), self.weight.dims(), self.stride, self.padding)
            .map_err(GraphError::Invalid)?;
        let total = self.weight.elements();
        let p = Params {
            splits: first as u32,
            ..Params::new(&d, total)
        };
        let k = kernel!("conv2d_weight_grad", "total").define("TOTAL", "");
        Ok(rec.dispatch(&k, &p, &[part, dw], total.div_ceil(64))?)
    }
    twin!();
    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        conv_dims(
            inputs[0].dims(),
            self.weight.dims(),
            self.stride,
            self.padding,
        )
        .map_or_else(|_| Cost::default(), |d| conv_cost(&d, inputs, outputs))
    }
}

impl Conv2dWeightGrad {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let (x, dy) = (io.input(0), io.input(1));
        if let Ok(d) = conv_dims(
            io.input_types[0].dims(),
            self.weight.dims(),
            self.stride,
            self.padding,
        ) {
            conv2d_weight_grad::conv2d_weight_grad(&d, x, dy, io.output(0));
        }
    }
}
