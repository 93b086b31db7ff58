//! `end_mean_of_ranks`: takes the averaged gradients that were begun before. It has no kernel: numbers go through the
//! host.

use crate::comm::{Underway, World};
use crate::device::recording::Recorder;
use crate::graph::{Bindings, Class, HostIo, Op, Result, TensorType};
use crate::reference::Scalar;
use crate::twin;

/// Updates the group of gradients: means that [`BeginMeanOfRanks`] began take their places. Others stay as they are.
///
/// [`BeginMeanOfRanks`]: super::begin_mean_of_ranks::BeginMeanOfRanks
#[derive(Clone, Debug)]
pub struct EndMeanOfRanks {
    /// This rank among the others.
    pub world: World,
    /// What is under way.
    pub underway: Underway,
}

impl Op for EndMeanOfRanks {
    fn name(&self) -> &'static str {
        "end_mean_of_ranks"
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

impl EndMeanOfRanks {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let into = io.updates[0].float();
        if self.underway.end(&self.world, into).is_err() {
            into.fill(T::nan());
        }
    }
}
