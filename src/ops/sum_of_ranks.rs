//! `sum_of_ranks`: the sum over all ranks, on every rank. It has no kernel: numbers go through the host.

use super::elementwise;
use crate::comm::World;
use crate::device::recording::Recorder;
use crate::graph::{Bindings, Class, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::Scalar;
use crate::twin;

/// x of each rank -> their sum, by rank from 0. Its gradient is itself: the sum over ranks of what the losses of all
/// make of the sum.
#[derive(Clone, Debug)]
pub struct SumOfRanks {
    /// This rank among the others.
    pub world: World,
}

impl Op for SumOfRanks {
    fn name(&self) -> &'static str {
        "sum_of_ranks"
    }
    fn class(&self) -> Class {
        Class::Exchange
    }
    fn on_host(&self) -> bool {
        true
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        elementwise::same(inputs)
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
        Ok(vec![Some(g.push1(self.clone(), &[dy])?)])
    }
    fn record(&self, _rec: &mut Recorder<'_>, _io: &Bindings) -> Result<()> {
        super::hosts_alone(self.name())
    }
    twin!();
}

impl SumOfRanks {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        super::exchanged(self.world.sum("statistics", io.input(0), 1.0), io.output(0));
    }
}
