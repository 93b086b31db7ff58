//! `barlow_stream_grad`: the gradient of streamed redundancy reduction by one view, which makes the pairs anew. Twin:
//! `reference/barlow_stream_grad.rs`.

use super::barlow_stream::{BarlowStream, Cut, Sizes};
use crate::device::recording::{Recorder, View};
use crate::graph::{Bindings, Class, Cost, HostIo, Op, Result, TensorType};
use crate::reference::{Scalar, barlow_stream_grad};
use crate::{kernel, twin};

/// Inputs: a view and the other [c,n,d], and features alike if there are any; dloss [c,d]. Outputs: the gradient of
/// the view and, as they are, of its features.
#[derive(Clone, Copy, Debug)]
pub struct BarlowStreamGrad {
    /// The forward op.
    pub forward: BarlowStream,
    /// The view is the second one: dloss belongs to the channels of the other.
    pub by_column: bool,
}

/// Blocks of 64 columns of the gradients that a group sums, at most: their sums are kept in registers (for views and
/// features 2 x 4 x 16 numbers a thread, of 255 that GPUs have), and the pairs are made anew once for all of them.
const PARTS: usize = 4;

impl Op for BarlowStreamGrad {
    fn name(&self) -> &'static str {
        "barlow_stream_grad"
    }
    fn class(&self) -> Class {
        Class::FusedProduct
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let operands = &inputs[..inputs.len().min(self.forward.operands())];
        let rows = self.forward.check(operands)?;
        if inputs.len() != operands.len() + 1 || inputs[operands.len()].dims() != rows {
            return Err(format!("dloss should be {rows:?}"));
        }
        Ok(operands.iter().step_by(2).map(|t| (*t).clone()).collect())
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let (operands, dloss) = io.inputs.split_at(self.forward.operands());
        let (views, features) = operands.split_at(2);
        let mut cuts: Vec<Cut<'_>> = views.iter().map(Cut::View).collect();
        cuts.extend(features.iter().map(Cut::Features));
        cuts.extend(dloss.iter().map(Cut::Row));
        cuts.push(Cut::View(&io.outputs[0]));
        cuts.extend(io.outputs[1..].iter().map(Cut::Features));
        let sizes = Sizes::of(views[0].dims(), features.first().map(View::dims));
        let columns = sizes.n.max(sizes.f).div_ceil(64);
        let parts = columns.min(PARTS);
        let k = kernel!("barlow_stream_grad", "main").define("PARTS", format!("{parts}u"));
        let chunks = columns.div_ceil(parts);
        self.forward
            .record_heads(rec, &k, sizes, &cuts, chunks, self.by_column)
    }
    twin!();
    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        // The pairs anew, and their weights times the other view.
        Cost {
            flops: 2.0 * BarlowStream::product_flops(inputs),
            bytes: inputs.iter().chain(outputs).map(|t| t.bytes() as f64).sum(),
        }
    }
}

impl BarlowStreamGrad {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let channels = self.forward.channels(io);
        let form = self.forward.loss.form(channels.sizes[1]);
        let dloss = io.input(self.forward.operands());
        let column = self.by_column;
        if self.forward.loss.adaptive() {
            let [dx, df] = io.outputs_n();
            barlow_stream_grad::barlow_stream_grad(&form, &channels, column, dloss, dx, Some(df));
        } else {
            let dx = io.output(0);
            barlow_stream_grad::barlow_stream_grad(&form, &channels, column, dloss, dx, None);
        }
    }
}
