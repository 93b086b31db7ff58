//! `conv2d`: 2-D convolution without bias, NHWC and KRSC. Twin: `reference/conv2d.rs`.

use super::conv2d_input_grad::Conv2dInputGrad;
use super::conv2d_weight_grad::Conv2dWeightGrad;
use super::gemm::Gemm;
use super::tiles::Tile;
use crate::device::recording::{Recorder, View, row_chunks};
use crate::graph::onnx::{Attribute, Axes, OnnxForm, Operand};
use crate::graph::{
    Bindings, Class, Cost, Graph, GraphError, HostIo, NodeId, Op, Result, TensorId, TensorType,
};
use crate::reference::Scalar;
use crate::reference::conv2d::{self, ConvDims};
use crate::{kernel, twin};

/// x [n,h,w,c], w [k,r,s,c], both f32 or both f16 -> y [n,p,q,k] in their type, p = (h + 2 padding - r) / stride + 1.
#[derive(Clone, Copy, Debug)]
pub struct Conv2d {
    /// Stride, both ways.
    pub stride: usize,
    /// Zero padding, all sides.
    pub padding: usize,
}

/// The uniform of all three convolution kernels.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct Params {
    /// n, h, w, c, p, q, k, r, s, stride, padding.
    pub dims: [u32; 11],
    /// Threads with work; groups with work where a group shares a tile.
    pub total: u32,
    /// First partial sum of this dispatch.
    pub first: u32,
    /// Pixels a split (by weights); groups a phase (by input).
    pub rows: u32,
    /// Splits.
    pub splits: u32,
    /// Zero.
    pub z: u32,
}

impl Params {
    pub(super) fn new(d: &ConvDims, total: usize) -> Self {
        let dims = [d.n, d.h, d.w, d.c, d.p, d.q, d.k, d.r, d.s, d.stride, d.pad].map(|v| v as u32);
        Self {
            dims,
            total: total as u32,
            first: 0,
            rows: 0,
            splits: 0,
            z: 0,
        }
    }
}

/// Shapes from those of x and w.
pub(super) fn conv_dims(
    x: &[usize],
    w: &[usize],
    stride: usize,
    padding: usize,
) -> std::result::Result<ConvDims, String> {
    let (&[n, h, w_, c], &[k, r, s, wc]) = (x, w) else {
        return Err("needs x [n,h,w,c] and weights [k,r,s,c]".into());
    };
    if c != wc {
        return Err(format!("x has {c} channels, the weights expect {wc}"));
    }
    if stride == 0 || h + 2 * padding < r || w_ + 2 * padding < s {
        return Err(format!(
            "a {r}x{s} kernel with padding {padding}, stride {stride} does not fit a {h}x{w_} image"
        ));
    }
    let (p, q) = (
        (h + 2 * padding - r) / stride + 1,
        (w_ + 2 * padding - s) / stride + 1,
    );
    Ok(ConvDims {
        n,
        h,
        w: w_,
        c,
        p,
        q,
        k,
        r,
        s,
        stride,
        pad: padding,
    })
}

/// A convolution's name among the device's choices.
pub(super) fn key(op: &str, d: &ConvDims, half: bool) -> String {
    format!(
        "{op} {}x{}x{}x{} {}x{}x{}/{} {}{}",
        d.n,
        d.h,
        d.w,
        d.c,
        d.k,
        d.r,
        d.s,
        d.stride,
        d.pad,
        if half { " f16" } else { "" }
    )
}

/// Is the convolution (and its gradient by the input) the product of a matrix of pixels with the weights?
pub(super) fn is_product(d: &ConvDims) -> bool {
    (d.r, d.s, d.stride, d.pad) == (1, 1, 1, 0)
}

/// Records such a product of m x k and k x n matrices in `views` of any rank.
pub(super) fn product_of(
    product: Gemm,
    rec: &mut Recorder<'_>,
    [a, b, c]: [&View; 3],
    [m, n, k]: [usize; 3],
) -> Result<()> {
    let (a, c) = (a.reshape(&[m, k]), c.reshape(&[m, n]));
    let b = b.reshape(&if product.trans_b { [n, k] } else { [k, n] });
    let d = product
        .dims(a.dims(), b.dims(), None)
        .map_err(GraphError::Invalid)?;
    product.dispatch(rec, &d, [&a, &b, &c], None)
}

/// Multiply-adds count two.
pub(super) fn conv_cost(d: &ConvDims, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
    let bytes = inputs.iter().chain(outputs).map(|t| t.bytes() as f64).sum();
    Cost {
        flops: 2.0 * (d.n * d.pixels() * d.k * d.row()) as f64,
        bytes,
    }
}

impl Op for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }
    fn class(&self) -> Class {
        Class::Convolution
    }
    fn takes_f16(&self) -> bool {
        true
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let [x, w] = inputs else {
            return Err("needs x and weights".into());
        };
        let d = conv_dims(x.dims(), w.dims(), self.stride, self.padding)?;
        if x.dtype != w.dtype {
            return Err("x and the weights are both f32, or both f16".into());
        }
        Ok(vec![x.with_shape([d.n, d.p, d.q, d.k])])
    }
    fn gradient(
        &self,
        g: &mut Graph,
        node: NodeId,
        dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let Some(dy) = dy[0] else {
            return Ok(vec![None, None]);
        };
        let (x, w) = (g.node(node).inputs[0], g.node(node).inputs[1]);
        let (xs, ws) = (g.ty(x).shape.clone(), g.ty(w).shape.clone());
        let dx = g.push1(
            Conv2dInputGrad {
                input: xs,
                stride: self.stride,
                padding: self.padding,
            },
            &[dy, w],
        )?;
        let dw = g.push1(
            Conv2dWeightGrad {
                weight: ws,
                stride: self.stride,
                padding: self.padding,
            },
            &[x, dy],
        )?;
        Ok(vec![Some(dx), Some(dw)])
    }
    fn onnx(&self, inputs: &[&TensorType]) -> Option<OnnxForm> {
        let [_, r, s, _] = inputs[1].dims()[..] else {
            return None;
        };
        let mut form = OnnxForm::new(Axes::ChannelsFirst);
        let operands = [0, 1].map(|i| Operand::Input(i, Axes::ChannelsFirst));
        let window = vec![
            ("kernel_shape", Attribute::sizes(&[r, s])),
            ("strides", Attribute::sizes(&[self.stride; 2])),
            ("pads", Attribute::sizes(&[self.padding; 4])),
        ];
        form.push_with("Conv", operands.to_vec(), window);
        Some(form)
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let (x, w, y) = (&io.inputs[0], &io.inputs[1], &io.outputs[0]);
        for rows in row_chunks(&[x, y], rec.limits()) {
            let (x, y) = (x.rows(rows.clone()), y.rows(rows));
            let d = conv_dims(x.dims(), w.dims(), self.stride, self.padding)
                .map_err(GraphError::Invalid)?;
            let vec4 = d.c % 4 == 0;
            let pixels = d.n * d.pixels();
            let half = x.is_half();
            // Halves have no kernels of their own for CPU drivers.
            let gpu = !rec.limits().is_cpu || half;
            let lanes = rec.limits().lanes();
            if gpu && is_product(&d) {
                let product = Gemm {
                    trans_b: true,
                    ..Gemm::default()
                };
                product_of(product, rec, [&x, w, &y], [pixels, d.k, d.c])?;
                continue;
            }
            let (kernel, total, groups) = if gpu {
                let name = key("conv2d", &d, half);
                let tile = Tile::select(rec, &name, half, [1, pixels, d.k]);
                let groups = tile.count(pixels, d.k);
                let k = tile
                    .of(kernel!("conv2d", "tiled"), (false, false), rec.limits())
                    .flag("HALF", half);
                (k.flag("VEC_K", d.k % 4 == 0), groups, groups)
            } else if lanes > 0 && pixels >= 128 {
                let rows = pixels.div_ceil(512);
                let filters = rec.limits().shared_columns(d.k, rows);
                let groups = rows * d.k.div_ceil(filters);
                let k = kernel!("conv2d", "shared_k")
                    .flag("SHARED_K", true)
                    .flag("WIDE", filters == 32);
                (k.flag("LANES_8", lanes == 8), groups, groups)
            } else {
                let total = pixels.div_ceil(4) * d.k.div_ceil(4);
                (kernel!("conv2d", "main"), total, total.div_ceil(64))
            };
            let kernel = kernel.flag("VEC4", vec4);
            let p = Params::new(&d, total);
            rec.dispatch(&kernel, &p, &[&x, w, &y], groups)?;
        }
        Ok(())
    }
    twin!();
    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        conv_dims(
            inputs[0].dims(),
            inputs[1].dims(),
            self.stride,
            self.padding,
        )
        .map_or_else(|_| Cost::default(), |d| conv_cost(&d, inputs, outputs))
    }
}

impl Conv2d {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let (x, w) = (io.input(0), io.input(1));
        if let Ok(d) = conv_dims(
            io.input_types[0].dims(),
            io.input_types[1].dims(),
            self.stride,
            self.padding,
        ) {
            conv2d::conv2d(&d, x, w, io.output(0));
        }
    }
}
