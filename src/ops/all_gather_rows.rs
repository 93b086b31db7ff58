//! `all_gather_rows`: the rows of all ranks, on every rank. It has no kernel: numbers go through the host.

use super::reduce_scatter_rows::ReduceScatterRows;
use crate::comm::World;
use crate::device::recording::Recorder;
use crate::graph::{
    Bindings, Class, Graph, HostIo, NodeId, Op, Result, Shape, TensorId, TensorType,
};
use crate::reference::Scalar;
use crate::twin;

/// x [n,...] of each rank -> [all n,...], those of rank 0 first. Ranks have rows by their shares of a batch.
///
/// Each rank differentiates a loss of its own, and the objective is the ranks' mean. What this rank's rows do to the
/// losses of others comes back from them: the gradient is the sum over all ranks of what they have for these rows
/// ([`ReduceScatterRows`]), never the local slice alone.
#[derive(Clone, Debug)]
pub struct AllGatherRows {
    /// This rank among the others.
    pub world: World,
}

/// The same rows so many times, or one part of them.
pub(super) fn rows(x: &TensorType, of: impl Fn(usize) -> Option<usize>) -> Option<TensorType> {
    let mut dims = x.dims().to_vec();
    let first = dims.first_mut()?;
    *first = of(*first)?;
    Some(TensorType::f32(Shape::from(dims.as_slice())))
}

impl Op for AllGatherRows {
    fn name(&self) -> &'static str {
        "all_gather_rows"
    }
    fn class(&self) -> Class {
        Class::Exchange
    }
    fn on_host(&self) -> bool {
        true
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let [x] = inputs else {
            return Err("needs one input".into());
        };
        let all = rows(x, |n| Some(self.world.lengths(n)?.iter().sum()));
        Ok(vec![all.ok_or("needs rows in this rank's share")?])
    }
    fn gradient(
        &self,
        g: &mut Graph,
        _node: NodeId,
        dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let Some(dy) = dy[0] else {
            return Ok(vec![None]);
        };
        let world = self.world.clone();
        Ok(vec![Some(g.push1(ReduceScatterRows { world }, &[dy])?)])
    }
    fn record(&self, _rec: &mut Recorder<'_>, _io: &Bindings) -> Result<()> {
        super::hosts_alone(self.name())
    }
    twin!();
}

impl AllGatherRows {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        super::exchanged(
            self.world.all_gather_shares("embeddings", io.input(0)),
            io.output(0),
        );
    }
}
