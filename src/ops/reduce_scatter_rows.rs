//! `reduce_scatter_rows`: the sum over ranks of each rank's own rows. It has no kernel: numbers go through the host.

use super::all_gather_rows::{AllGatherRows, rows};
use crate::comm::World;
use crate::device::recording::Recorder;
use crate::graph::{Bindings, Class, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::Scalar;
use crate::twin;

/// x [all n,...] of each rank -> [n,...]: the sum over the ranks, from 0, of the rows that stand at this rank's place,
/// by the ranks' shares of a batch. The gradient of [`AllGatherRows`], which is its own.
#[derive(Clone, Debug)]
pub struct ReduceScatterRows {
    /// This rank among the others.
    pub world: World,
}

impl Op for ReduceScatterRows {
    fn name(&self) -> &'static str {
        "reduce_scatter_rows"
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
        let shares = self.world.shares();
        let all: usize = shares.iter().sum();
        let own = rows(x, |n| {
            let unit = n.is_multiple_of(all).then_some(n / all)?;
            Some(unit * shares[self.world.rank()])
        });
        let wrong = || {
            format!(
                "{} rows are not those of ranks with shares {shares:?}",
                x.dims()[0]
            )
        };
        Ok(vec![own.ok_or_else(wrong)?])
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
        Ok(vec![Some(g.push1(AllGatherRows { world }, &[dy])?)])
    }
    fn record(&self, _rec: &mut Recorder<'_>, _io: &Bindings) -> Result<()> {
        super::hosts_alone(self.name())
    }
    twin!();
}

impl ReduceScatterRows {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let sum = self
            .world
            .reduce_scatter("embeddings' gradient", io.input(0));
        super::exchanged(sum, io.output(0));
    }
}
