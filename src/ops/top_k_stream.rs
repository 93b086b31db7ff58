//! `top_k_stream`: the largest candidates of each row of similarities, as a threshold, without the matrix. Twin:
//! `reference/top_k_stream.rs`.

use super::amcl_stream::{Bound, Heads, Params, Share, record_heads};
use super::top_k::check_layout;
use crate::device::recording::Recorder;
use crate::graph::{
    Bindings, Class, Cost, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType,
};
use crate::reference::Scalar;
use crate::reference::top_k::{Candidates, Layout};
use crate::reference::top_k_stream;
use crate::{kernel, twin};

/// z [c,a,d] of unit rows in NT-Xent's arrangement -> threshold value f32 [c,own] and column u32 [c,own] of a share's
/// anchors: what [`super::top_k::TopK`] gives for the products of these, in memory that grows with a and not with its
/// square.
#[derive(Clone, Copy, Debug)]
pub struct TopKStream {
    /// How many, clamped to the candidates.
    pub kappa: usize,
    /// The positive is a candidate too.
    pub include_positive: bool,
    /// Which anchors.
    pub share: Share,
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
        self.share.check(a)?;
        if self.kappa == 0 {
            return Err("kappa must be at least 1".into());
        }
        let own = self.share.of(a);
        Ok(vec![TensorType::f32([c, own]), TensorType::u32([c, own])])
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
        // All but the anchor itself and, as the case may be, its positive.
        let candidates = z.dims()[1] - 2 + usize::from(self.include_positive);
        let p = Params::selecting(self.kappa.min(candidates), self.include_positive);
        let [value, index] = [&io.outputs[0], &io.outputs[1]].map(Bound::Own);
        let heads = Heads {
            dims: z.dims(),
            shared: false,
            share: self.share,
            chunks: 1,
        };
        let kernel = kernel!("top_k_stream", "main");
        record_heads(rec, kernel, heads, &[Bound::Z(z), value, index], p)
    }
    twin!();
    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        // As many walks as usual, each of which makes all products.
        let d = inputs[0].dims();
        Cost {
            flops: 3.0 * 2.0 * (d[0] * self.share.of(d[1]) * d[1] * d[2]) as f64,
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
        let anchors = self.share.anchors(d[1]);
        let [value, index] = io.outputs.as_mut_slice() else {
            return;
        };
        let of = (z, d[2]);
        top_k_stream::top_k_stream(&c, self.kappa, of, &anchors, value.float(), index.u32());
    }
}
