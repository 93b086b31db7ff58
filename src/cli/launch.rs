//! Ranks that a launcher (`mpirun`, `srun`) has started.

use amcl_wgpu::comm::World;

/// What launchers say of how many processes they started: Open MPI, MPICH and its kin, Slurm. A lone process in an
/// allocation of Slurm is none of several.
const SIZES: [&str; 3] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"];

/// How many processes a launcher started, this one among them, and the variable that says so.
fn launched(var: impl Fn(&str) -> Option<String>) -> Option<(usize, &'static str)> {
    let size = |name: &'static str| Some((var(name)?.trim().parse().ok()?, name));
    SIZES.into_iter().filter_map(size).find(|(n, _)| *n > 1)
}

/// As [`launched`], of this process.
fn here() -> Option<(usize, &'static str)> {
    launched(|name| std::env::var(name).ok())
}

/// Why a verb that writes a run must not go on, in words: a launcher started it several times, and the processes would
/// each write the same folder, knowing nothing of each other. `ranks`: the verb trains as one rank of several.
pub fn refused(ranks: bool) -> Option<String> {
    let (n, name) = here()?;
    match (ranks, cfg!(feature = "mpi")) {
        (true, true) => None,
        (true, false) => Some(format!(
            "a launcher started {n} of this program ({name}), and this one was built without MPI: they would train {n} \
             times alone. For several machines: cargo install amcl-wgpu --features mpi; for several devices of this one, \
             without a launcher: --devices gpu:0,gpu:1"
        )),
        (false, _) => Some(format!(
            "a launcher started {n} of this program ({name}): this verb is of one process; only `train` shares its work \
             among several"
        )),
    }
}

/// This process among those that a launcher started.
#[derive(Default)]
pub struct Rank {
    /// All ranks; alone without a launcher.
    pub world: World,
    #[cfg(feature = "mpi")]
    local: Option<amcl_wgpu::comm::mpi::Local>,
}

#[cfg(feature = "mpi")]
mod started {
    use super::Rank;
    use amcl_wgpu::device::{Choice, list_adapters};
    use anyhow::bail;
    use std::time::Duration;

    impl Rank {
        /// Joins the other ranks, where a launcher started several.
        ///
        /// # Errors
        /// MPI; no threads.
        pub fn join() -> anyhow::Result<Self> {
            if super::here().is_none() {
                return Ok(Self::default());
            }
            let (world, local) = amcl_wgpu::comm::mpi::start(Duration::from_secs(300))?;
            Ok(Self {
                world,
                local: Some(local),
            })
        }

        /// The device of this rank: of several on a machine, each has an adapter of its own. And what is to be said
        /// of it.
        ///
        /// # Errors
        /// More ranks than adapters.
        pub fn device(&self, asked: &Choice, share: bool) -> anyhow::Result<(Choice, Vec<String>)> {
            let Some(local) = self.local.as_ref().filter(|l| l.ranks > 1) else {
                return Ok((asked.clone(), Vec::new()));
            };
            let notes = self.threads(local.ranks)?;
            let hardware: Vec<usize> = list_adapters()?
                .iter()
                .filter(|a| a.kind != "cpu" && a.usable)
                .map(|a| a.index)
                .collect();
            let (n, host) = (local.ranks, &local.host);
            let own = match asked {
                Choice::Auto if hardware.is_empty() => Choice::Cpu,
                Choice::Auto | Choice::Gpu if n > hardware.len() && !share => bail!(
                    "{n} ranks on {host}, which has {} GPUs: start as many ranks a machine as it has GPUs, or let them \
                     share with --share-device",
                    hardware.len()
                ),
                Choice::Auto | Choice::Gpu if hardware.is_empty() => asked.clone(),
                Choice::Auto | Choice::Gpu => Choice::Index(hardware[local.rank % hardware.len()]),
                Choice::Index(_) if !share => bail!(
                    "{n} ranks on {host} with one device, {asked}: leave out --device, so that each has an adapter of \
                     its own, or let them share with --share-device"
                ),
                Choice::Index(_) | Choice::Name(_) | Choice::Cpu => asked.clone(),
            };
            Ok((own, notes))
        }

        /// Shares the machine's cores among its ranks, and says so where the launcher keeps this one to fewer.
        fn threads(&self, ranks: usize) -> anyhow::Result<Vec<String>> {
            let allowed = std::thread::available_parallelism().map_or(1, usize::from);
            let cores = sysinfo::System::new().map_or(allowed, |mut system| {
                system.refresh_cpu_list(sysinfo::CpuRefreshKind::nothing());
                system.cpus().len()
            });
            let share = (cores / ranks).max(1);
            if std::env::var_os("RAYON_NUM_THREADS").is_none() {
                rayon::ThreadPoolBuilder::new()
                    .num_threads(share.min(allowed))
                    .build_global()?;
            }
            Ok((allowed < share).then(|| {
                format!(
                    "the launcher keeps each rank to {allowed} of the {share} cores that it could have: start it with \
                     mpirun --bind-to none"
                )
            }).into_iter().collect())
        }
    }
}

#[cfg(not(feature = "mpi"))]
impl Rank {
    /// Alone: this program was built without MPI.
    ///
    /// # Errors
    /// None.
    pub fn join() -> anyhow::Result<Self> {
        Ok(Self::default())
    }

    /// The device that was asked for.
    ///
    /// # Errors
    /// None.
    pub fn device(
        &self,
        asked: &amcl_wgpu::device::Choice,
        _share: bool,
    ) -> anyhow::Result<(amcl_wgpu::device::Choice, Vec<String>)> {
        Ok((asked.clone(), Vec::new()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn launchers_are_known_by_their_variables() {
        let with = |set: &[(&str, &str)]| {
            launched(|name| {
                let found = set.iter().find(|(n, _)| *n == name);
                found.map(|(_, v)| v.to_string())
            })
        };
        assert_eq!(with(&[("OMPI_COMM_WORLD_SIZE", "4")]), Some((4, SIZES[0])));
        assert_eq!(with(&[("PMI_SIZE", "2")]), Some((2, SIZES[1])));
        assert_eq!(with(&[("SLURM_STEP_NUM_TASKS", "8")]), Some((8, SIZES[2])));
        // One process, in an allocation for many or not, is no launch of several.
        for lone in [
            &[("OMPI_COMM_WORLD_SIZE", "1")][..],
            &[("SLURM_STEP_NUM_TASKS", "1"), ("SLURM_NTASKS", "8")],
            &[("PMI_SIZE", "many")],
            &[],
        ] {
            assert_eq!(with(lone), None);
        }
    }
}
