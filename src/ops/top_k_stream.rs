//! `top_k_stream`: the largest candidates of each row of similarities, as a threshold, without the matrix. Twin:
//! `reference/top_k_stream.rs`.

use super::amcl_loss::Cut;
use super::amcl_stream::{Params, record_heads};
use super::top_k::check_layout;
use crate::device::recording::Recorder;
use crate::graph::{
    Bindings, Class, Cost, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType,
};
use crate::reference::Scalar;
use crate::reference::top_k::{Candidates, Layout};
use crate::reference::top_k_stream;
use crate::{kernel, twin};

/// z [c,a,d] of unit rows in NT-Xent's arrangement -> threshold value f32 [c,a] and column u32 [c,a]: what
/// [`super::top_k::TopK`] gives for the products of these, in memory that grows with a and not with its square.
#[derive(Clone, Copy, Debug)]
pub struct TopKStream {
    /// How many, clamped to the candidates.
    pub kappa: usize,
    /// The positive is a candidate too.
    pub include_positive: bool,
}

impl Op for TopKStream {
    fn name(&self) -> &'static str {
        "top_k_stream"
    }
    fn class(&self) -> Class {
        Class::FusedProduct
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let [c, a, _] = inputs[0].rank("z")?;
        check_layout(Layout::NtXent, a, a)?;
        if self.kappa == 0 {
            return Err("kappa must be at least 1".into());
        }
        Ok(vec![TensorType::f32([c, a]), TensorType::u32([c, a])])
    }
    fn gradient(
        &self,
        _g: &mut Graph,
        _node: NodeId,
        _dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        // A selection is constant almost everywhere.
        Ok(vec![None])
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let z = &io.inputs[0];
        let [value, index] = [&io.outputs[0], &io.outputs[1]].map(Cut::Row);
        // All but the anchor itself and, as the case may be, its positive.
        let candidates = z.dims()[1] - 2 + usize::from(self.include_positive);
        let p = Params::selecting(self.kappa.min(candidates), self.include_positive);
        let cuts = [Cut::Matrix(z), value, index];
        record_heads(
            rec,
            kernel!("top_k_stream", "main"),
            z.dims(),
            false,
            &cuts,
            1,
            p,
        )
    }
    twin!();
    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        // As many walks as usual, each of which makes all products.
        let d = inputs[0].dims();
        Cost {
            flops: 3.0 * 2.0 * (d[0] * d[1] * d[1] * d[2]) as f64,
            bytes: inputs.iter().chain(outputs).map(|t| t.bytes() as f64).sum(),
        }
    }
}

impl TopKStream {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let (z, d) = (io.input(0), io.input_types[0].dims());
        let c = Candidates {
            anchors: d[1],
            layout: Layout::NtXent,
            include_positive: self.include_positive,
        };
        let [value, index] = io.outputs.as_mut_slice() else {
            return;
        };
        top_k_stream::top_k_stream(&c, self.kappa, z, d[2], value.float(), index.u32());
    }
}
