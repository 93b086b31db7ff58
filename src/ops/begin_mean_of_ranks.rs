//! `begin_mean_of_ranks`: begins to average gradients over the ranks, while the backward pass goes on. It has no
//! kernel: numbers go through the host.

use crate::comm::{Underway, World};
use crate::device::recording::Recorder;
use crate::graph::{Bindings, Class, HostIo, Op, Result, TensorType};
use crate::reference::Scalar;
use crate::twin;

/// Inputs: a bucket of gradients. Their mean over the ranks goes to [`EndMeanOfRanks`], which waits for it. The node
/// runs when its last input is there, wherever it stands in the graph.
///
/// [`EndMeanOfRanks`]: super::end_mean_of_ranks::EndMeanOfRanks
#[derive(Clone, Debug)]
pub struct BeginMeanOfRanks {
    /// This rank among the others.
    pub world: World,
    /// What is under way.
    pub underway: Underway,
    /// Where each input lies in the group of gradients, elements.
    pub places: Vec<usize>,
    /// Factor on each rank's numbers, as in [`MeanOfRanks`](super::mean_of_ranks::MeanOfRanks).
    pub share: f64,
}

impl Op for BeginMeanOfRanks {
    fn name(&self) -> &'static str {
        "begin_mean_of_ranks"
    }
    fn class(&self) -> Class {
        Class::Exchange
    }
    fn on_host(&self) -> bool {
        true
    }
    fn acts(&self) -> bool {
        true
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        match inputs.len() == self.places.len() {
            true => Ok(Vec::new()),
            false => Err("needs a place for each gradient".into()),
        }
    }
    fn record(&self, _rec: &mut Recorder<'_>, _io: &Bindings) -> Result<()> {
        super::hosts_alone(self.name())
    }
    twin!();
}

impl BeginMeanOfRanks {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let inputs = io.inputs.iter().map(|x| x.float());
        let pieces: Vec<(usize, &[T])> = self.places.iter().copied().zip(inputs).collect();
        // A fault is the world's: whoever runs the graph asks it.
        let of = ("gradient", self.share);
        let _ = self.underway.begin(&self.world, of, &pieces);
    }
}
