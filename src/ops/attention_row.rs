//! `attention_row`: the weights of one token for all tokens, for pictures. Twin: `reference/attention_row.rs`.

use super::attention::Attention;
use crate::device::recording::{Recorder, row_chunks};
use crate::graph::{Bindings, Class, Cost, DType, HostIo, Op, Result, TensorType};
use crate::reference::Scalar;
use crate::{kernel, twin};

/// qkv [b,n,3d] in f32, as [`Attention`] takes it -> w [b,heads,n]: the row of softmax(scale q k^T) that belongs to one
/// token, the same in each image. Attention itself stores no weights. It has no gradient: it is looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionRow {
    /// The attention.
    pub attention: Attention,
    /// Number of the token.
    pub token: usize,
}

/// Mirrors `shaders/lib/row.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    rows: u32,
    d: u32,
    a: f32,
    b: f32,
}

impl Op for AttentionRow {
    fn name(&self) -> &'static str {
        "attention_row"
    }
    fn class(&self) -> Class {
        Class::Reduction
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let [qkv] = inputs else {
            return Err("needs qkv [b,n,3d]".into());
        };
        let [b, n, _] = self.attention.shape(qkv)?;
        if qkv.dtype != DType::F32 {
            return Err("takes queries, keys and values in f32".into());
        }
        if self.token >= n {
            return Err(format!("no token {} among {n}", self.token));
        }
        Ok(vec![TensorType::f32([b, self.attention.heads, n])])
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let (qkv, w) = (&io.inputs[0], &io.outputs[0]);
        let heads = self.attention.heads;
        let (n, width) = (qkv.dims()[1], qkv.dims()[2] / 3 / heads);
        let kernel = kernel!("attention_row", "main")
            .define("HEADS", format!("{heads}u"))
            .define("WIDTH", format!("{width}u"))
            .define("TOKEN", format!("{}u", self.token));
        for images in row_chunks(&[qkv, w], rec.limits()) {
            let rows = images.len() * heads;
            let p = Params {
                rows: rows as u32,
                d: n as u32,
                a: self.attention.scale as f32,
                b: 0.0,
            };
            let parts = [qkv, w].map(|v| v.rows(images.clone()));
            rec.dispatch(&kernel, &p, &[&parts[0], &parts[1]], rows)?;
        }
        Ok(())
    }
    twin!();
    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        let [b, n, width] = self.attention.shape(inputs[0]).unwrap_or_default();
        let all = inputs.iter().chain(outputs);
        Cost {
            flops: (2 * b * self.attention.heads * n * width) as f64,
            bytes: all.map(|t| t.bytes() as f64).sum(),
        }
    }
}

impl AttentionRow {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let qkv = io.input(0);
        let heads = self.attention.heads::<T>(&io.input_types[0]);
        heads.attention_row(self.token, qkv, io.output(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Graph;

    #[test]
    fn a_token_that_is_not_there_is_refused() {
        let mut g = Graph::new();
        let qkv = g.input("qkv", TensorType::f32([2, 5, 3 * 8]));
        let of = |token| AttentionRow {
            attention: Attention::new(8, 2),
            token,
        };
        let e = g.push(of(5), &[qkv]).unwrap_err().to_string();
        assert!(e.contains("no token 5 among 5"), "{e}");
        let w = g.push1(of(4), &[qkv]).unwrap();
        assert_eq!(g.dims(w), [2, 2, 5]);
    }
}
