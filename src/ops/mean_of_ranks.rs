//! `mean_of_ranks`: a state becomes its mean over the ranks. It has no kernel: numbers go through the host.

use crate::comm::World;
use crate::device::recording::Recorder;
use crate::graph::{Bindings, Class, HostIo, Op, Result, TensorType};
use crate::reference::Scalar;
use crate::twin;

/// Updates x: x of rank 0 / ranks + x of rank 1 / ranks + ..., equal on every rank. Gradients, running statistics.
///
/// Every product is rounded before it is added, as [`Accumulate`](super::accumulate::Accumulate) does over
/// micro-batches: for losses that are means over images, ranks give the bits of as many micro-batches.
#[derive(Clone, Debug)]
pub struct MeanOfRanks {
    /// This rank among the others.
    pub world: World,
    /// What is averaged, in words.
    pub what: &'static str,
    /// Factor on each rank's numbers: 1 / ranks, as the step rounds it.
    pub share: f64,
}

impl Op for MeanOfRanks {
    fn name(&self) -> &'static str {
        "mean_of_ranks"
    }
    fn class(&self) -> Class {
        Class::Exchange
    }
    fn on_host(&self) -> bool {
        true
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        match inputs {
            [_] => Ok(Vec::new()),
            _ => Err("needs one state".into()),
        }
    }
    fn record(&self, _rec: &mut Recorder<'_>, _io: &Bindings) -> Result<()> {
        super::hosts_alone(self.name())
    }
    twin!();
}

impl MeanOfRanks {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let x = io.updates[0].float();
        super::exchanged(self.world.sum(self.what, x, self.share), x);
    }
}
