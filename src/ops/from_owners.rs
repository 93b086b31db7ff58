//! `from_owners`: each rank's piece of a state, on every rank. It has no kernel: numbers go through the host.

use crate::comm::World;
use crate::device::recording::Recorder;
use crate::graph::{Bindings, Class, HostIo, Op, Result, TensorType};
use crate::reference::Scalar;
use crate::twin;

/// Updates x: of its equal pieces, one a rank, rank r's is taken from rank r, on every rank.
///
/// Unlike devices may round the same update differently. Each then owns the update of a piece, and all hold the same
/// bits. Devices that round alike need it not, and have nothing to exchange.
#[derive(Clone, Debug)]
pub struct FromOwners {
    /// This rank among the others.
    pub world: World,
    /// What is owned, in words.
    pub what: &'static str,
}

impl Op for FromOwners {
    fn name(&self) -> &'static str {
        "from_owners"
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

impl FromOwners {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let x = io.updates[0].float();
        super::exchanged(self.world.from_owners(self.what, x), x);
    }
}
