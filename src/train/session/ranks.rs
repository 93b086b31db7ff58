//! What a session exchanges with those of other ranks: states, digests of states, shares of features.

use super::Session;
use crate::comm::CommError;
use crate::data::Dataset;
use crate::graph::{HostData, StateId, States};
use crate::run::checkpoint;
use crate::train::Result;
use crate::train::optimizer::{MOMENTS, MOMENTUM};
use sha2::{Digest, Sha256};

/// The groups that checkpoints hold.
pub(super) fn saved(states: &States) -> Vec<StateId> {
    let groups = states.groups().iter().filter(|g| g.group.is_saved());
    groups.filter_map(|g| states.whole(g.group)).collect()
}

impl Session {
    /// What all ranks have, those of rank 0 first.
    pub(super) fn gathered<T: bytemuck::Pod>(
        &self,
        what: &'static str,
        own: Vec<T>,
    ) -> Result<Vec<T>> {
        if self.world.is_alone() {
            return Ok(own);
        }
        let bytes = bytemuck::cast_slice(&own).to_vec();
        let all = self.world.all_gather_bytes(what, bytes)?;
        let values = |b: &Vec<u8>| bytemuck::pod_collect_to_vec::<u8, T>(b);
        Ok(all.iter().flat_map(values).collect())
    }

    /// As [`Session::features`], each rank of its share of the images.
    pub(super) fn of_ranks(
        &mut self,
        data: &Dataset,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<f32>> {
        let own = (data, self.world.part(data.len()));
        let own = self.features.of_range(self.exec.as_mut(), own, progress)?;
        self.gathered("features", own)
    }

    /// Gives all ranks what rank 0 has in the states that checkpoints hold.
    ///
    /// # Errors
    /// Device loss; a rank that ends.
    pub fn share_states(&mut self) -> Result<()> {
        if self.world.is_alone() {
            return Ok(());
        }
        let (world, states) = (self.world.clone(), &self.model.states);
        for id in saved(states) {
            let own = self.exec.read_state(states, id)?;
            let bytes = world.from_first("states", || checkpoint::group_bytes(&own))?;
            let data = match own {
                HostData::U32(_) => HostData::U32(bytemuck::pod_collect_to_vec(&bytes)),
                _ => HostData::F32(bytemuck::pod_collect_to_vec(&bytes)),
            };
            self.exec.write_state(states, id, &data)?;
        }
        Ok(())
    }

    /// Where devices are unlike each rank has updated its own piece of the optimiser's moments only: all get the pieces
    /// of all.
    fn settle(&mut self) -> Result<()> {
        if !self.config.dist.owners {
            return Ok(());
        }
        let states = &self.model.states;
        for group in MOMENTS.into_iter().chain([MOMENTUM]) {
            let Some(id) = states.whole(group) else {
                continue;
            };
            let own = self.exec.read_state(states, id)?.to_f32();
            let all = self.world.from_owners("moments", &own)?;
            self.exec.write_state(states, id, &HostData::F32(all))?;
        }
        Ok(())
    }

    /// All ranks must hold the same, to the bit, in the states that checkpoints hold.
    ///
    /// # Errors
    /// They do not; device loss; a rank that ends.
    pub fn agree_on_states(&mut self) -> Result<()> {
        if self.world.is_alone() {
            return Ok(());
        }
        self.settle()?;
        let mut digest = Sha256::new();
        for id in saved(&self.model.states) {
            let own = self.exec.read_state(&self.model.states, id)?;
            digest.update(checkpoint::group_bytes(&own));
        }
        let all = self
            .world
            .all_gather_bytes("states' digest", digest.finalize().to_vec())?;
        match all.iter().position(|d| *d != all[0]) {
            None => Ok(()),
            Some(rank) => Err(CommError::Engine(format!(
                "rank {rank} holds other weights than rank 0: the devices round the same update differently (dist.owners \
                 is for these), or one of them is faulty. The last checkpoint is from before"
            ))
            .into()),
        }
    }
}
