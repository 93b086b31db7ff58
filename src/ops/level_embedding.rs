//! `level_embedding`: sines and cosines of a noise level. Twin: `reference/level_embedding.rs`.

use crate::device::recording::{Recorder, row_chunks};
use crate::graph::{
    Bindings, Class, DType, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType,
};
use crate::reference::{Scalar, level_embedding};
use crate::{kernel, twin};

/// levels [b] -> [b,dim]: sin(s f_i) and then cos(s f_i), with f_i = 10000^(-i / (h - 1)), i < h = dim / 2 (the form of
/// CAN's noise embedding; note h - 1, which position embeddings do not have). For levels up to 1000. No gradient
/// passes: levels are drawn.
#[derive(Clone, Copy, Debug)]
pub struct LevelEmbedding {
    /// Even, 4 and more.
    pub dim: usize,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    total: u32,
    count: u32,
    a: f32,
    r: u32,
}

impl Op for LevelEmbedding {
    fn name(&self) -> &'static str {
        "level_embedding"
    }
    fn class(&self) -> Class {
        Class::Elementwise
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let [b] = inputs[0].rank("levels")?;
        let dim = self.dim;
        if dim < 4 || !dim.is_multiple_of(2) || inputs[0].dtype != DType::F32 {
            return Err(format!(
                "needs levels [b] and an even width of 4 and more, not {dim}"
            ));
        }
        Ok(vec![TensorType::f32([b, dim])])
    }
    fn gradient(
        &self,
        _g: &mut Graph,
        _node: NodeId,
        _dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        Ok(vec![None])
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let (levels, y) = (&io.inputs[0], &io.outputs[0]);
        let count = self.dim / 2;
        for r in row_chunks(&[levels, y], rec.limits()) {
            let total = r.len() * count;
            let p = Params {
                total: total as u32,
                count: count as u32,
                a: (-(10_000f64.log2()) / (count as f64 - 1.0)) as f32,
                r: 0,
            };
            let bound = [&levels.rows(r.clone()), &y.rows(r)];
            let kernel = kernel!("level_embedding", "main");
            rec.dispatch(&kernel, &p, &bound, total.div_ceil(64))?;
        }
        Ok(())
    }
    twin!();
}

impl LevelEmbedding {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let levels = io.input(0);
        level_embedding::level_embedding(self.dim, levels, io.output(0));
    }
}
