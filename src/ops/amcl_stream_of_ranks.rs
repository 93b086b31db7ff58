//! `amcl_stream_of_ranks`: the streamed AMCL loss of a rank's own anchors, against the rows of all ranks. It runs
//! `amcl_stream`'s kernel, and has its twin.

use super::amcl_stream::AmclStream;
use super::amcl_stream_grad::AmclStreamGrad;
use super::views_of_ranks::ViewsOfRanks;
use crate::comm::World;
use crate::device::recording::Recorder;
use crate::graph::{
    Bindings, Class, Cost, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType,
};

/// Inputs: those of [`AmclStream`], of all ranks' rows ([`ViewsOfRanks`]), and behind them this rank's own z (and
/// features) [c,own,d], which are among those and have the gradient. Outputs: loss, norm [c,own].
///
/// A pair (i,j) counts as i's and as j's, and is made anew by whoever owns either. So the gradient of a rank's rows
/// needs of other ranks' anchors no more than their norms and upstream gradients, which are gathered: a number each,
/// where rows' gradients would be d. It is the gradient of the sum of all ranks' losses, as gathering's is.
#[derive(Clone, Debug)]
pub struct AmclStreamOfRanks {
    /// The loss, with this rank's share.
    pub stream: AmclStream,
    /// This rank among the others.
    pub world: World,
}

impl Op for AmclStreamOfRanks {
    fn name(&self) -> &'static str {
        "amcl_stream_of_ranks"
    }
    fn class(&self) -> Class {
        Class::FusedProduct
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let (of_all, operands) = (self.stream.inputs(), self.stream.operands());
        if inputs.len() != of_all + operands {
            return Err("needs the loss's inputs of all ranks, and this rank's own rows".into());
        }
        let out = self.stream.infer(&inputs[..of_all])?;
        let own = out[0].dims()[1];
        for (all, rows) in inputs.iter().zip(&inputs[of_all..]) {
            let [c, _, d] = all.rank("rows")?;
            if rows.dims() != [c, own, d] {
                return Err(format!("own rows should be {:?}", [c, own, d]));
            }
        }
        Ok(out)
    }
    fn gradient(
        &self,
        g: &mut Graph,
        node: NodeId,
        dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let (inputs, norm) = (g.node(node).inputs.clone(), g.node(node).outputs[1]);
        let mut out = vec![None; inputs.len()];
        if let Some(dloss) = dy[0] {
            let mut of = inputs[..self.stream.inputs()].to_vec();
            let gather = ViewsOfRanks {
                world: self.world.clone(),
                what: "anchors",
            };
            of.extend(g.push(gather, &[dloss, norm])?);
            let loss = self.stream;
            let d = g.push(AmclStreamGrad { loss }, &of)?;
            // The own rows' stand last; gain and mean, which have no rows, are inputs that all ranks have.
            let (rows, centre) = d.split_at(self.stream.operands());
            let own = out.len() - rows.len();
            let of_rows = out[own..].iter_mut().zip(rows);
            of_rows.for_each(|(slot, d)| *slot = Some(*d));
            let of_centre = out[self.stream.operands()..].iter_mut().zip(centre);
            of_centre.for_each(|(slot, d)| *slot = Some(*d));
        }
        Ok(out)
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        self.stream.record(rec, io)
    }
    fn reference_f32(&self, io: &mut HostIo<'_, f32>) {
        self.stream.twin(io);
    }
    fn reference_f64(&self, io: &mut HostIo<'_, f64>) {
        self.stream.twin(io);
    }
    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        self.stream.cost(&inputs[..self.stream.inputs()], outputs)
    }
}
