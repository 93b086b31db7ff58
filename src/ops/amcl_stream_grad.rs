//! `amcl_stream_grad`: the manual backward pass of the streamed AMCL loss, which makes the pairs anew. Twin:
//! `reference/amcl_stream_grad.rs`.

use super::amcl_stream::{AmclStream, Bound};
use crate::device::recording::Recorder;
use crate::graph::{Bindings, Class, Cost, HostIo, Op, Result, TensorType};
use crate::reference::Scalar;
use crate::reference::amcl_stream_grad;
use crate::{kernel, twin};

/// Inputs: z, features, value and index as the loss had them, dloss [c,a], norm [c,a] of all anchors. Outputs: the
/// gradient of the rows of the loss's share, all of them by default: dz as z, and one as the features if there are any.
/// It is whole: what these rows do as columns of other anchors is part of it.
#[derive(Clone, Copy, Debug)]
pub struct AmclStreamGrad {
    /// The forward op.
    pub loss: AmclStream,
}

impl Op for AmclStreamGrad {
    fn name(&self) -> &'static str {
        "amcl_stream_grad"
    }
    fn class(&self) -> Class {
        Class::FusedProduct
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let forward = inputs.len().saturating_sub(2);
        let [c, a, d] = self.loss.check(&inputs[..forward])?;
        for t in &inputs[forward..] {
            if t.dims() != [c, a] {
                return Err(format!("dloss and norm should be {:?}", [c, a]));
            }
        }
        let operands = &inputs[..self.loss.operands()];
        let own = self.loss.share.of(a);
        let of = |t: &&TensorType| TensorType::f32([t.dims()[0], own, d]);
        Ok(operands.iter().map(of).collect())
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let z = &io.inputs[0];
        let (forward, rows) = io.inputs.split_at(io.inputs.len() - 2);
        let (operands, selection) = forward.split_at(self.loss.operands());
        let mut bound = vec![Bound::Z(z)];
        bound.extend(operands[1..].iter().map(Bound::Feature));
        bound.extend(rows.iter().map(Bound::Each));
        bound.push(Bound::OwnZ(&io.outputs[0]));
        bound.extend(io.outputs[1..].iter().map(Bound::OwnFeature));
        bound.extend(selection.iter().map(Bound::Each));
        let heads = operands.get(1).map_or(1, |f| f.dims()[0]);
        let chunks = z.dims()[2].div_ceil(64);
        let k = kernel!("amcl_stream_grad", "main");
        self.loss
            .record_heads(rec, k, z.dims(), heads, &bound, chunks)
    }
    twin!();
    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        // The pairs anew, and their weights times the rows.
        Cost {
            flops: 2.0 * self.loss.product_flops(inputs[0]),
            bytes: inputs.iter().chain(outputs).map(|t| t.bytes() as f64).sum(),
        }
    }
}

impl AmclStreamGrad {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let (form, rows) = self.loss.rows(io);
        let last = io.inputs.len() - 2;
        let saved = (io.input(last), io.input(last + 1));
        let anchors = self.loss.share.anchors(form.n);
        if self.loss.form.adaptive() {
            let [dz, df] = io.outputs_n();
            amcl_stream_grad::amcl_stream_grad(&form, &rows, &anchors, saved, dz, Some(df));
        } else {
            amcl_stream_grad::amcl_stream_grad(&form, &rows, &anchors, saved, io.output(0), None);
        }
    }
}
