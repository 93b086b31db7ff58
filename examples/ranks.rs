//! Ranks under MPI: what a program of one's own does to share numbers, by the engine that trainings use.
//!
//! ```sh
//! cargo build --features mpi --example ranks
//! mpirun -n 4 target/debug/examples/ranks
//! ```
//!
//! `mpirun -n 4 .../ranks panic` shows that a panic on one rank ends them all.

use amcl_wgpu::comm::mpi;
use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (world, local) = mpi::start(Duration::from_secs(60))?;
    let own = [world.rank() as f32 + 1.0, 0.5];
    // Rank after rank, in f32: the same bits on every rank, whatever moves them.
    let sum = world.sum("numbers", &own, 1.0)?;
    if world.rank() == 1 && std::env::args().any(|a| a == "panic") {
        panic!("on purpose");
    }
    let hosts = world.all_gather_bytes("hosts", local.host.into_bytes())?;
    if world.is_first() {
        let hosts: Vec<_> = hosts.iter().map(|h| String::from_utf8_lossy(h)).collect();
        println!(
            "{} ranks on {}: sum {sum:?}",
            world.ranks(),
            hosts.join(", ")
        );
    }
    Ok(())
}
