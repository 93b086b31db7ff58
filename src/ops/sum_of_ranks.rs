//! `sum_of_ranks`: the sum over all ranks, on every rank. It has no kernel: numbers go through the host.

use crate::comm::World;
use crate::device::recording::Recorder;
use crate::graph::{Bindings, Class, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::Scalar;
use crate::twin;

/// x, ... of each rank -> the sum of each, by rank from 0; all of them go in one exchange. Its gradient is itself: the
/// sum over ranks of what the losses of all make of the sum.
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
        match inputs {
            [] => Err("needs an input".into()),
            _ => Ok(inputs.iter().map(|t| (*t).clone()).collect()),
        }
    }
    fn gradient(
        &self,
        g: &mut Graph,
        _node: NodeId,
        dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let given: Vec<TensorId> = dy.iter().flatten().copied().collect();
        if given.is_empty() {
            return Ok(vec![None; dy.len()]);
        }
        let mut sums = g.push(self.clone(), &given)?.into_iter();
        Ok(dy.iter().map(|d| d.and_then(|_| sums.next())).collect())
    }
    fn record(&self, _rec: &mut Recorder<'_>, _io: &Bindings) -> Result<()> {
        super::hosts_alone(self.name())
    }
    twin!();
}

impl SumOfRanks {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let own: Vec<&[T]> = io.inputs.iter().map(|x| x.float()).collect();
        let sums = self.world.sum("statistics", &own.concat(), 1.0);
        let mut parts: Vec<&mut [T]> = io.outputs.iter_mut().map(|y| y.float()).collect();
        super::exchanged_parts(sums, &mut parts);
    }
}
