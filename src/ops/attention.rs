//! `attention`: softmax(q k^T) v of every head. Twin: `reference/attention.rs`.

use super::attention_grad::AttentionGrad;
use super::cast_f32::CastF32;
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

/// Tokens of a tile and columns of a chunk.
const TILE: usize = 64;

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

    /// A kernel for these widths, the parameters of a dispatch over `images`, and its groups.
    pub(super) fn launch(
        &self,
        kernel: Kernel,
        qkv: &View,
        width: usize,
    ) -> (Kernel, Params, usize) {
        let (images, n) = (qkv.dims()[0], qkv.dims()[1]);
        let (tiles, chunks) = (n.div_ceil(TILE), width.div_ceil(TILE));
        let groups = images * self.heads * tiles * chunks;
        let p = Params {
            n: n as u32,
            d: width as u32,
            heads: self.heads as u32,
            groups: groups as u32,
            tiles: tiles as u32,
            chunks: chunks as u32,
            scale: self.scale as f32,
            scale2: (self.scale * std::f64::consts::LOG2_E) as f32,
        };
        let kernel = kernel
            .define("COLS", "16u")
            .flag("VEC4", width.is_multiple_of(4))
            .flag("HALF", qkv.is_half());
        (kernel, p, groups)
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
            let (kernel, p, groups) = self.launch(kernel!("attention", "main"), &qkv, width);
            rec.dispatch(&kernel, &p, &[&qkv, &o, &lse], groups)?;
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
