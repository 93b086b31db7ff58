//! `gemm`: (batched) matrix products with transposes, broadcast, bias and ReLU. Twin: `reference/gemm.rs`.

use super::cast_f16::halved;
use super::cast_f32::CastF32;
use super::column_sum::ColumnSum;
use super::relu_grad::ReluGrad;
use super::reshape::Reshape;
use super::tiles::Tile;
use crate::device::recording::{Recorder, View, row_chunks};
use crate::graph::onnx::{Attribute, Axes, OnnxForm, Operand};
use crate::graph::{
    Bindings, Class, Cost, DType, Graph, HostIo, NodeId, Op, Result, Shape, TensorId, TensorType,
};
use crate::reference::{Scalar, gemm};
use crate::{kernel, twin};

/// C = act(alpha * op(A) op(B) + bias). A [b,m,k] ([b,k,m] with `trans_a`), B [b,k,n] ([b,n,k] with `trans_b`), bias
/// [n] or [b,n], C [b,m,n]. A and B may both be f16; sums and bias are f32, and C where it is not to be `half`. Rank 2
/// stands for a batch of one; a batch of one broadcasts against the other's: tokens [b,m,k] times one matrix are one
/// product of b m rows. C has rank 2 when both have, or with `sum_batch`.
#[derive(Clone, Copy, Debug)]
pub struct Gemm {
    /// A is stored transposed.
    pub trans_a: bool,
    /// B is stored transposed.
    pub trans_b: bool,
    /// Third input: bias.
    pub bias: bool,
    /// Clamp at zero.
    pub relu: bool,
    /// Factor.
    pub alpha: f32,
    /// Sum over the batch: C [m,n] (the gradient of a broadcast operand).
    pub sum_batch: bool,
    /// C is f16, of operands that are, and without a ReLU.
    pub half: bool,
}

impl Default for Gemm {
    fn default() -> Self {
        Self {
            trans_a: false,
            trans_b: false,
            bias: false,
            relu: false,
            alpha: 1.0,
            sum_batch: false,
            half: false,
        }
    }
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    m: u32,
    n: u32,
    k: u32,
    batch: u32,
    stride_a: u32,
    stride_b: u32,
    stride_bias: u32,
    tiles_n: u32,
    tiles: u32,
    groups: u32,
    alpha: f32,
    r: u32,
}

fn rank3(d: &[usize]) -> std::result::Result<[usize; 3], String> {
    match *d {
        [m, n] => Ok([1, m, n]),
        [b, m, n] => Ok([b, m, n]),
        _ => Err("operands are matrices or batches of matrices".into()),
    }
}

/// A product's name among the device's choices.
fn key(d: &gemm::GemmDims, half: bool) -> String {
    let form = |trans| if trans { 'T' } else { 'N' };
    format!(
        "gemm {}{} {}x{}x{}x{}{}{}",
        form(d.trans_a),
        form(d.trans_b),
        d.batch,
        d.m,
        d.n,
        d.k,
        if d.sum_batch { " summed" } else { "" },
        if half { " f16" } else { "" }
    )
}

/// A batch whose matrices lie one below the other in one larger product: rows that meet one B, or a sum over the batch
/// that is a sum over more rows of both.
fn one_product(d: gemm::GemmDims) -> gemm::GemmDims {
    let one = gemm::GemmDims {
        batch: 1,
        stride_a: 0,
        stride_b: 0,
        sum_batch: false,
        ..d
    };
    if d.batch == 1 {
        d
    } else if d.sum_batch && d.trans_a && !d.trans_b && d.stride_a > 0 && d.stride_b > 0 {
        gemm::GemmDims {
            k: d.batch * d.k,
            ..one
        }
    } else if !d.sum_batch && !d.trans_a && d.stride_b == 0 && d.stride_bias == 0 {
        gemm::GemmDims {
            m: d.batch * d.m,
            ..one
        }
    } else {
        d
    }
}

impl Gemm {
    pub(super) fn dims(
        &self,
        a: &[usize],
        b: &[usize],
        bias: Option<&[usize]>,
    ) -> std::result::Result<gemm::GemmDims, String> {
        let ([ba, a0, a1], [bb, b0, b1]) = (rank3(a)?, rank3(b)?);
        let (m, k) = if self.trans_a { (a1, a0) } else { (a0, a1) };
        let (kb, n) = if self.trans_b { (b1, b0) } else { (b0, b1) };
        if k != kb {
            return Err(format!("inner dimensions differ: {k} and {kb}"));
        }
        if ba != bb && ba != 1 && bb != 1 {
            return Err(format!("batches differ: {ba} and {bb}"));
        }
        let batch = ba.max(bb);
        let stride_bias = match bias {
            None => 0,
            Some([x]) if *x == n => 0,
            Some([x, y]) if *y == n && *x == batch => n,
            Some(other) => {
                return Err(format!(
                    "bias {other:?} fits neither [{n}] nor [{batch},{n}]"
                ));
            }
        };
        if self.sum_batch && (self.bias || self.relu) {
            return Err("a sum over the batch takes neither bias nor ReLU".into());
        }
        let d = gemm::GemmDims {
            batch,
            m,
            n,
            k,
            stride_a: if ba == 1 { 0 } else { m * k },
            stride_b: if bb == 1 { 0 } else { k * n },
            stride_bias,
            trans_a: self.trans_a,
            trans_b: self.trans_b,
            sum_batch: self.sum_batch,
            relu: self.relu,
        };
        Ok(one_product(d))
    }

    /// Rows of C: of one matrix of the batch.
    fn rows(&self, a: &[usize]) -> usize {
        a[a.len() - if self.trans_a { 1 } else { 2 }]
    }

    /// Records C = A B on views that each fit one binding.
    pub(super) fn dispatch(
        &self,
        rec: &mut Recorder<'_>,
        d: &gemm::GemmDims,
        views: [&View; 3],
        bias: Option<&View>,
    ) -> Result<()> {
        let half = views[0].is_half();
        // Halves have no kernel of their own for CPU drivers.
        let gpu = !rec.limits().is_cpu || half;
        // A tile of 512 rows wastes most of itself on fewer.
        let lanes = rec.limits().lanes();
        let tall = !gpu && lanes > 0 && d.m >= 128 && d.n >= 12;
        let batch = if d.sum_batch { 1 } else { d.batch };
        let tile = gpu.then(|| Tile::select(rec, &key(d, half), half, [batch, d.m, d.n]));
        let shared = rec.limits().shared_columns(d.n, batch * d.m.div_ceil(512));
        let (tile_m, tile_n) = match &tile {
            Some(t) => (t.rows(), t.columns()),
            None if tall => (512, shared),
            None => (32, 32),
        };
        let (tiles_m, tiles_n) = (d.m.div_ceil(tile_m), d.n.div_ceil(tile_n));
        let groups = tiles_m * tiles_n * batch;
        let p = Params {
            m: d.m as u32,
            n: d.n as u32,
            k: d.k as u32,
            batch: d.batch as u32,
            stride_a: d.stride_a as u32,
            stride_b: d.stride_b as u32,
            stride_bias: d.stride_bias as u32,
            tiles_n: tiles_n as u32,
            tiles: (tiles_m * tiles_n) as u32,
            groups: groups as u32,
            alpha: self.alpha,
            r: 0,
        };
        let kernel = match &tile {
            Some(t) => t
                .of(
                    kernel!("gemm", "tiled"),
                    (d.trans_a, !d.trans_b),
                    rec.limits(),
                )
                .flag("HALF", half)
                .flag("HALF_C", views[2].is_half())
                .flag("FULL_K", d.k.is_multiple_of(t.depth(rec.limits())))
                .flag("VEC_C", d.n.is_multiple_of(4)),
            None if tall => kernel!("gemm", "tall")
                .flag("TALL", true)
                .flag("LANES_8", lanes == 8)
                .flag("WIDE", shared == 32),
            None => kernel!("gemm", "main"),
        };
        let kernel = kernel
            .flag("TRANS_A", d.trans_a)
            .flag("TRANS_B", d.trans_b)
            .flag("VEC_A", if d.trans_a { d.m } else { d.k } % 4 == 0)
            .flag("VEC_B", if d.trans_b { d.k } else { d.n } % 4 == 0)
            .flag("SUM_BATCH", d.sum_batch)
            .flag("BIAS", bias.is_some())
            .flag("RELU", d.relu);
        let [a, b, c] = views;
        let mut bound = vec![a, b, c];
        bound.extend(bias);
        Ok(rec.dispatch(&kernel, &p, &bound, groups)?)
    }
}

impl Op for Gemm {
    fn name(&self) -> &'static str {
        "gemm"
    }
    fn class(&self) -> Class {
        Class::Product
    }
    fn takes_f16(&self) -> bool {
        true
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        if inputs.len() != 2 + usize::from(self.bias) {
            return Err(format!("needs {} inputs", 2 + usize::from(self.bias)));
        }
        if inputs[0].dtype != inputs[1].dtype {
            return Err("both operands are f32, or both f16".into());
        }
        let d = self.dims(
            inputs[0].dims(),
            inputs[1].dims(),
            self.bias.then(|| inputs[2].dims()),
        )?;
        if self.half && (inputs[0].dtype != DType::F16 || self.relu) {
            return Err("a product in halves is one of halves, and has no ReLU".into());
        }
        let [a, b] = [inputs[0].dims(), inputs[1].dims()];
        let m = self.rows(a);
        let shape: Shape = match self.sum_batch || a.len() == 2 && b.len() == 2 {
            true => [m, d.n].into(),
            false => [rank3(a)?[0].max(rank3(b)?[0]), m, d.n].into(),
        };
        let dtype = if self.half { DType::F16 } else { DType::F32 };
        Ok(vec![TensorType { shape, dtype }])
    }
    fn gradient(
        &self,
        g: &mut Graph,
        node: NodeId,
        dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let (inputs, y) = (g.node(node).inputs.clone(), g.node(node).outputs[0]);
        let Some(mut dy) = dy[0] else {
            return Ok(vec![None; inputs.len()]);
        };
        if self.relu {
            dy = g.push1(ReluGrad, &[dy, y])?;
        }
        let (a, b) = (inputs[0], inputs[1]);
        // Products of halves take halves; a bias takes the gradient in f32.
        let dc = match g.ty(a).dtype {
            DType::F16 => halved(g, dy)?,
            _ => dy,
        };
        if self.bias && g.ty(dy).dtype == DType::F16 {
            dy = g.push1(CastF32, &[dy])?;
        }
        let batch_of = |g: &Graph, t: TensorId| {
            if g.dims(t).len() == 3 {
                g.dims(t)[0]
            } else {
                1
            }
        };
        let batch = batch_of(g, a).max(batch_of(g, b));
        let base = Self {
            alpha: self.alpha,
            ..Self::default()
        };
        // dA = dC B^T (or its transpose), dB = A^T dC (or its transpose); a broadcast operand's gradient sums over
        // the batch.
        let shaped = |g: &mut Graph,
                      op: Self,
                      x: TensorId,
                      y: TensorId,
                      like: TensorId|
         -> Result<TensorId> {
            let sum_batch = batch > 1 && batch_of(g, like) == 1;
            let d = g.push1(Self { sum_batch, ..op }, &[x, y])?;
            let want: Shape = g.ty(like).shape.clone();
            if g.ty(d).shape == want {
                Ok(d)
            } else {
                g.push1(Reshape { shape: want }, &[d])
            }
        };
        let da = if self.trans_a {
            shaped(
                g,
                Self {
                    trans_a: self.trans_b,
                    trans_b: true,
                    ..base
                },
                b,
                dc,
                a,
            )?
        } else {
            shaped(
                g,
                Self {
                    trans_b: !self.trans_b,
                    ..base
                },
                dc,
                b,
                a,
            )?
        };
        let db = if self.trans_b {
            shaped(
                g,
                Self {
                    trans_a: true,
                    trans_b: self.trans_a,
                    ..base
                },
                dc,
                a,
                b,
            )?
        } else {
            shaped(
                g,
                Self {
                    trans_a: !self.trans_a,
                    ..base
                },
                a,
                dc,
                b,
            )?
        };
        let mut out = vec![Some(da), Some(db)];
        if self.bias {
            let bias = inputs[2];
            let mut d = g.push1(ColumnSum, &[dy])?;
            if g.dims(bias).len() == 1 && g.dims(dy).len() == 3 {
                d = g.push1(ColumnSum, &[d])?;
            }
            if g.dims(d) != g.dims(bias) {
                let shape = g.ty(bias).shape.clone();
                d = g.push1(Reshape { shape }, &[d])?;
            }
            out.push(Some(d));
        }
        Ok(out)
    }
    fn onnx(&self, inputs: &[&TensorType]) -> Option<OnnxForm> {
        let ranks = [inputs[0], inputs[1]].map(|t| t.shape.rank());
        if self.sum_batch || !ranks.iter().all(|r| (2..=3).contains(r)) {
            return None;
        }
        let mut form = OnnxForm::new(Axes::Graph);
        let y = match ranks {
            [2, 2] => self.onnx_gemm(&mut form),
            _ => self.onnx_matmul(&mut form, inputs),
        };
        if self.relu {
            form.push("Relu", vec![y]);
        }
        Some(form)
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let (a, b, c, bias) = (
            &io.inputs[0],
            &io.inputs[1],
            &io.outputs[0],
            io.inputs.get(2),
        );
        let d = self
            .dims(a.dims(), b.dims(), bias.map(View::dims))
            .map_err(crate::graph::GraphError::Invalid)?;
        let max = rec.limits().max_binding;
        if [a, b, c].iter().all(|v| v.bytes() <= max) || d.sum_batch {
            return self.dispatch(rec, &d, [a, b, c], bias);
        }
        if d.batch == 1 && !d.trans_a {
            let (a, c) = (a.reshape(&[d.m, d.k]), c.reshape(&[d.m, d.n]));
            for r in row_chunks(&[&a, &c], rec.limits()) {
                let part = gemm::GemmDims { m: r.len(), ..d };
                self.dispatch(rec, &part, [&a.rows(r.clone()), b, &c.rows(r)], bias)?;
            }
            return Ok(());
        }
        // Some matrices of the batch at a time; broadcast operands are bound whole.
        let apart = |v: &View, stride| (stride > 0).then(|| v.reshape(&[d.batch, stride]));
        let (by_a, by_b) = (apart(a, d.stride_a), apart(b, d.stride_b));
        let by_bias = bias.and_then(|v| apart(v, d.stride_bias));
        let c = c.reshape(&[d.batch, d.m * d.n]);
        let split: Vec<&View> = [&by_a, &by_b, &by_bias]
            .into_iter()
            .flatten()
            .chain([&c])
            .collect();
        for r in row_chunks(&split, rec.limits()) {
            let of = |whole: &View, rows: &Option<View>| match rows {
                Some(v) => v.rows(r.clone()),
                None => whole.clone(),
            };
            let part = gemm::GemmDims {
                batch: r.len(),
                ..d
            };
            let (a, b, c) = (of(a, &by_a), of(b, &by_b), c.rows(r.clone()));
            let bias = bias.map(|v| of(v, &by_bias));
            self.dispatch(rec, &part, [&a, &b, &c], bias.as_ref())?;
        }
        Ok(())
    }
    twin!();
    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        let bytes = inputs.iter().chain(outputs).map(|t| t.bytes() as f64).sum();
        let flops = self
            .dims(inputs[0].dims(), inputs[1].dims(), None)
            .map_or(0.0, |d| 2.0 * (d.batch * d.m * d.n * d.k) as f64);
        Cost { flops, bytes }
    }
}

impl Gemm {
    /// Matrices: ONNX's `Gemm` has their transposes, the factor and a bias.
    fn onnx_gemm(&self, form: &mut OnnxForm) -> Operand {
        let count = 2 + usize::from(self.bias);
        let operands = (0..count).map(|i| Operand::Input(i, Axes::Graph));
        let attributes = vec![
            ("alpha", Attribute::Float(self.alpha)),
            ("transA", Attribute::Int(self.trans_a.into())),
            ("transB", Attribute::Int(self.trans_b.into())),
        ];
        form.push_with("Gemm", operands.collect(), attributes)
    }

    /// Batches of matrices: `MatMul` broadcasts as ours does, and has nothing else.
    fn onnx_matmul(&self, form: &mut OnnxForm, inputs: &[&TensorType]) -> Operand {
        let operands = [self.trans_a, self.trans_b].into_iter().enumerate();
        let operands = operands.map(|(i, trans)| {
            let x = Operand::Input(i, Axes::Graph);
            let order: &[usize] = match inputs[i].shape.rank() {
                2 => &[1, 0],
                _ => &[0, 2, 1],
            };
            match trans {
                true => {
                    let order = vec![("perm", Attribute::sizes(order))];
                    form.push_with("Transpose", vec![x], order)
                }
                false => x,
            }
        });
        let operands = operands.collect();
        let mut y = form.push("MatMul", operands);
        if self.alpha != 1.0 {
            y = form.push("Mul", vec![y, Operand::Scalar(self.alpha)]);
        }
        if self.bias {
            let mut bias = Operand::Input(2, Axes::Graph);
            if let [batch, n] = *inputs[2].dims() {
                bias = form.push("Reshape", vec![bias, Operand::Shape(vec![batch, 1, n])]);
            }
            y = form.push("Add", vec![y, bias]);
        }
        y
    }

    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let t = io.input_types;
        let Ok(d) = self.dims(t[0].dims(), t[1].dims(), self.bias.then(|| t[2].dims())) else {
            return;
        };
        let (a, b, bias) = (io.input(0), io.input(1), self.bias.then(|| io.input(2)));
        gemm::gemm(&d, T::of(f64::from(self.alpha)), a, b, bias, io.output(0));
    }
}
