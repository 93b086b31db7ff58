//! `attention`: softmax(q k^T) v of every head. Twin: `reference/attention.rs`.

use super::attention_grad::AttentionGrad;
use super::cast_f32::CastF32;
use crate::device::Limits;
use crate::device::recording::{Kernel, Recorder, View, row_chunks};
use crate::graph::onnx::{Attribute, Axes, OnnxForm, Operand};
use crate::graph::{
    Bindings, Class, Cost, DType, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType,
};
use crate::reference::Scalar;
use crate::reference::attention::Heads;
use crate::{kernel, twin};

/// qkv [b,n,3d] -> o [b,n,d], lse [b,heads,n]: o = softmax(scale q k^T) v for each head of d / heads columns, as one
/// linear layer leaves queries, keys and values: column which * d + head * width + c. Every width and number of tokens
/// is allowed. qkv and o are both f32 or both f16; sums, weights and the rows' log-sum-exps are f32. The weights are
/// never stored: the gradient makes them anew from lse.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    /// Heads, of which d is a multiple.
    pub heads: usize,
    /// Factor of the logits: 1 / sqrt(d / heads) in Transformers.
    pub scale: f64,
}

/// Mirrors `shaders/lib/head_tile.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct Params {
    n: u32,
    d: u32,
    heads: u32,
    groups: u32,
    tiles: u32,
    chunks: u32,
    scale: f32,
    scale2: f32,
}

/// Tokens of a tile and columns of a chunk, for GPUs.
const TILE: usize = 64;
/// Tokens of a group, on drivers that run on CPUs.
const GROUP: usize = 16;

impl Attention {
    /// With the usual factor, for tokens of `dim` numbers.
    pub fn new(dim: usize, heads: usize) -> Self {
        let scale = (heads as f64 / dim as f64).sqrt();
        Self { heads, scale }
    }

    /// Images, tokens and columns of a head, from the type of qkv; or what is wrong with it.
    pub(super) fn shape(&self, qkv: &TensorType) -> std::result::Result<[usize; 3], String> {
        let [b, n, d3] = qkv.rank("qkv")?;
        let heads = self.heads;
        if heads == 0 || d3 == 0 || d3 % (3 * heads) != 0 || n == 0 {
            let third = d3 / 3;
            return Err(format!(
                "{d3} columns of queries, keys and values (3 x {third}) do not divide by {heads} heads"
            ));
        }
        Ok([b, n, d3 / 3 / heads])
    }

    /// Whether the kernels for drivers that run on CPUs serve. With subgroups of 4 they are twice as long: SwiftShader
    /// takes more than 17 GB to compile the gradient's, and has the kernels for GPUs; lavapipe at 128 bits would take
    /// five times as long with those.
    pub(super) fn by_lanes(qkv: &View, width: usize, limits: &Limits) -> bool {
        let compiles = match limits.lanes() {
            0 => false,
            8 => true,
            _ => !limits.modest_compiler,
        };
        compiles && width.is_multiple_of(4) && !qkv.is_half()
    }

    /// Records a kernel (of several entry points: the one for GPUs, the one for drivers that run on CPUs) over the
    /// images of `qkv`.
    pub(super) fn dispatch(
        &self,
        rec: &mut Recorder<'_>,
        kernels: [Kernel; 2],
        width: usize,
        bound: &[&View],
    ) -> Result<()> {
        let qkv = bound[0];
        let lanes = Self::by_lanes(qkv, width, rec.limits());
        let [tiled, by_lanes] = kernels;
        let (tokens, kernel) = match lanes {
            true => (
                GROUP,
                by_lanes
                    .flag("LANES", true)
                    .flag("LANES_8", rec.limits().lanes() == 8)
                    .define("C16", format!("{}u", width.div_ceil(16))),
            ),
            false => (TILE, tiled.define("COLS", "16u")),
        };
        let kernel = kernel
            .define("TOKENS", format!("{tokens}u"))
            .flag("VEC4", width.is_multiple_of(4))
            .flag("HALF", qkv.is_half());
        let chunks = if lanes { 1 } else { width.div_ceil(TILE) };
        let (images, n) = (qkv.dims()[0], qkv.dims()[1]);
        let groups = images * self.heads * n.div_ceil(tokens) * chunks;
        let p = Params {
            groups: groups as u32,
            tiles: n.div_ceil(tokens) as u32,
            chunks: chunks as u32,
            ..self.params(n, width)
        };
        Ok(rec.dispatch(&kernel, &p, bound, groups)?)
    }

    /// Parameters but for the grid.
    pub(super) fn params(&self, n: usize, width: usize) -> Params {
        Params {
            n: n as u32,
            d: width as u32,
            heads: self.heads as u32,
            groups: 0,
            tiles: 0,
            chunks: 0,
            scale: self.scale as f32,
            scale2: (self.scale * std::f64::consts::LOG2_E) as f32,
        }
    }

    /// The twin's shape.
    pub(super) fn heads<T: Scalar>(&self, qkv: &TensorType) -> Heads<T> {
        let [_, tokens, width] = self.shape(qkv).unwrap_or([1; 3]);
        Heads {
            tokens,
            heads: self.heads,
            width,
            scale: T::of(self.scale),
        }
    }

    /// Operations of `products` products of all pairs of tokens.
    pub(super) fn cost(&self, types: &[&TensorType], products: usize) -> Cost {
        let pairs = self.shape(types[0]).map_or(0, |[b, n, w]| b * n * n * w);
        Cost {
            flops: (2 * products * self.heads * pairs) as f64,
            bytes: types.iter().map(|t| t.bytes() as f64).sum(),
        }
    }
}

impl Params {
    /// For a thread a query and head: `groups` counts images.
    pub(super) fn by_queries(self, images: usize) -> Self {
        Self {
            groups: images as u32,
            ..self
        }
    }
}

impl Op for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }
    fn class(&self) -> Class {
        Class::FusedProduct
    }
    fn takes_f16(&self) -> bool {
        true
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let [qkv] = inputs else {
            return Err("needs qkv [b,n,3d]".into());
        };
        let [b, n, width] = self.shape(qkv)?;
        let o = qkv.with_shape([b, n, self.heads * width]);
        Ok(vec![o, TensorType::f32([b, self.heads, n])])
    }
    fn gradient(
        &self,
        g: &mut Graph,
        node: NodeId,
        dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let n = g.node(node);
        let (qkv, o, lse) = (n.inputs[0], n.outputs[0], n.outputs[1]);
        // lse is kept for this gradient alone: none comes back through it.
        let Some(mut dout) = dy[0] else {
            return Ok(vec![None]);
        };
        if g.ty(dout).dtype == DType::F16 {
            dout = g.push1(CastF32, &[dout])?;
        }
        let op = AttentionGrad { forward: *self };
        Ok(vec![Some(g.push1(op, &[qkv, o, lse, dout])?)])
    }
    fn onnx(&self, inputs: &[&TensorType]) -> Option<OnnxForm> {
        let [b, n, width] = self.shape(inputs[0]).ok()?;
        let mut form = OnnxForm::new(Axes::Graph);
        let order = |axes: &[usize]| vec![("perm", Attribute::sizes(axes))];
        let apart = Operand::Shape(vec![b, n, 3, self.heads, width]);
        let x = form.push("Reshape", vec![Operand::Input(0, Axes::Graph), apart]);
        // [3,b,heads,n,width]: of the first axis each third is taken, and stays as an axis of one.
        let x = form.push_with("Transpose", vec![x], order(&[2, 0, 3, 1, 4]));
        let [q, k, v] = [0, 1, 2].map(|which| {
            let third = vec![x.clone(), Operand::Integers(vec![which])];
            form.push_with("Gather", third, vec![("axis", Attribute::Int(0))])
        });
        let k = form.push_with("Transpose", vec![k], order(&[0, 1, 2, 4, 3]));
        let s = form.push("MatMul", vec![q, k]);
        let s = form.push("Mul", vec![s, Operand::Scalar(self.scale as f32)]);
        let w = form.push_with("Softmax", vec![s], vec![("axis", Attribute::Int(-1))]);
        let o = form.push("MatMul", vec![w, v]);
        let o = form.push_with("Transpose", vec![o], order(&[0, 1, 3, 2, 4]));
        let shape = Operand::Shape(vec![b, n, self.heads * width]);
        form.push("Reshape", vec![o, shape]);
        Some(form)
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let all = [&io.inputs[0], &io.outputs[0], &io.outputs[1]];
        let width = all[1].dims()[2] / self.heads;
        for r in row_chunks(&all, rec.limits()) {
            let [qkv, o, lse] = all.map(|v| v.rows(r.clone()));
            let kernels = [kernel!("attention", "main"), kernel!("attention", "lanes")];
            self.dispatch(rec, kernels, width, &[&qkv, &o, &lse])?;
        }
        Ok(())
    }
    twin!();
    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        let all: Vec<&TensorType> = inputs.iter().chain(outputs).copied().collect();
        self.cost(&all, 2)
    }
}

impl Attention {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let qkv = io.input(0);
        let heads = self.heads::<T>(&io.input_types[0]);
        let [o, lse] = io.outputs_n();
        heads.attention(qkv, o, lse);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::host::HostExecutor;
    use crate::graph::{Executor, HostData};
    use crate::ops::backward;
    use crate::ops::slice_tokens::SliceTokens;
    use crate::ops::swap_axes::SwapAxes;

    /// The same by ops that store the weights: products of batches, and a softmax.
    fn unfused(g: &mut Graph, op: Attention, qkv: TensorId) -> Result<TensorId> {
        let [b, n, width] = op
            .shape(g.ty(qkv))
            .map_err(crate::graph::GraphError::Invalid)?;
        let (h, d) = (op.heads, op.heads * width);
        let swap = |g: &mut Graph, x, axes, out: &[usize]| {
            let out = out.into();
            g.push1(SwapAxes { axes, out }, &[x])
        };
        let thirds = swap(g, qkv, [1, b * n, 3, d], &[1, 3, b * n * d])?;
        let mut operand = |first: usize| {
            let x = g.push1(SliceTokens { first, count: 1 }, &[thirds])?;
            swap(g, x, [b, n, h, width], &[b * h, n, width])
        };
        let [q, k, v] = [operand(0)?, operand(1)?, operand(2)?];
        let q = g.scale(q, op.scale)?;
        let s = g.matmul_nt(q, k)?;
        let w = g.softmax(s)?;
        let o = g.matmul(w, v)?;
        swap(g, o, [b, h, n, width], &[b, n, d])
    }

    /// Result and gradient of sum(coefficients * result).
    fn run(fused: bool, op: Attention, [b, n, d]: [usize; 3]) -> [Vec<f64>; 2] {
        let mut g = Graph::new();
        let qkv = g.input("qkv", TensorType::f32([b, n, 3 * d]));
        let coefficients = g.input("c", TensorType::f32([b, n, d]));
        let o = match fused {
            true => g.push(op, &[qkv]).unwrap()[0],
            false => unfused(&mut g, op, qkv).unwrap(),
        };
        let loss = g.mul(o, coefficients).and_then(|y| g.sum(y)).unwrap();
        let dqkv = backward(&mut g, loss, &[qkv]).unwrap()[0].unwrap();
        let values =
            |n: usize, f: f64| HostData::F64((0..n).map(|i| (i as f64 * f).sin()).collect());
        let inputs = [
            (qkv, values(b * n * 3 * d, 0.37)),
            (coefficients, values(b * n * d, 1.7)),
        ];
        let got = HostExecutor::<f64>::new().evaluate(&g, &inputs, &[o, dqkv]);
        let got = got.unwrap();
        [0, 1].map(|i| got[i].to_f64())
    }

    /// In f64, where both have 1e-15 and sums of 131 terms.
    #[test]
    fn equals_the_path_that_stores_the_weights() {
        for (b, n, heads, width) in [(2, 1, 2, 3), (1, 37, 3, 5), (2, 131, 1, 8)] {
            let shape = [b, n, heads * width];
            let op = Attention::new(heads * width, heads);
            let (one, other) = (run(true, op, shape), run(false, op, shape));
            for (a, b) in one.iter().flatten().zip(other.iter().flatten()) {
                assert!((a - b).abs() < 1e-12, "{n}: {a} {b}");
            }
            // Another factor is another function.
            let wrong = Attention {
                scale: 1.01 * op.scale,
                ..op
            };
            let off = run(true, wrong, shape);
            let far = off[1]
                .iter()
                .zip(&one[1])
                .any(|(a, b)| (a - b).abs() > 1e-6);
            assert!(far || n == 1);
        }
    }

    #[test]
    fn columns_that_heads_do_not_divide_are_refused() {
        let mut g = Graph::new();
        let qkv = g.input("qkv", TensorType::f32([2, 5, 3 * 64]));
        let e = g
            .push(Attention::new(64, 5), &[qkv])
            .unwrap_err()
            .to_string();
        assert!(e.contains("do not divide by 5 heads"), "{e}");
        assert!(g.push(Attention::new(64, 4), &[qkv]).is_ok());
    }
}
