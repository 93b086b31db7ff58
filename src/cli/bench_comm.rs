//! `amcl-wgpu bench comm`: what exchanges between ranks take, and what that leaves of more devices.

use super::console::OutputOptions;
use super::launch::{Rank, refused};
use super::number::within;
use amcl_wgpu::bench::comm::{Expected, Measured, expected, measure};
use amcl_wgpu::comm::{Comm, World, threads};
use amcl_wgpu::settings::above;
use serde_json::json;
use std::time::Duration;

/// Times means of gradients over ranks, and forecasts the efficiency of more devices: under mpirun over its ranks, else
/// over threads of this process
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Ranks of this process, where no launcher has started several.
    #[arg(long, default_value_t = 2, value_parser = within::<usize>(above(1.0).to(1024.0)))]
    ranks: usize,
    /// Milliseconds of a training step on one device (`bench` measures them): what exchanges are compared with.
    #[arg(long, default_value_t = 60.0, value_parser = within::<f64>(above(0.0).to(1e7)))]
    step_ms: f64,
    /// MB of the gradients. ResNet-18 has 45 with its heads, ResNet-50 110, ViT-B 350.
    #[arg(long, default_value_t = 45.0, value_parser = within::<f64>(above(0.0).to(1e5)))]
    gradient_mb: f64,
}

/// Turns of each size.
const TURNS: usize = 7;

/// Runs the verb.
///
/// # Errors
/// A rank that ends; a launcher and no MPI.
pub fn run(args: &Args, output: OutputOptions) -> anyhow::Result<()> {
    if let Some(why) = refused(true) {
        anyhow::bail!(why);
    }
    let bytes = args.gradient_mb * 1e6;
    let sizes = [1 << 20, 8 << 20, (bytes as usize).next_multiple_of(4)];
    let rank = Rank::join()?;
    let measured = match rank.world.is_alone() {
        true => of_threads(args.ranks, &sizes)?,
        false => measure(&rank.world, &sizes, TURNS)?,
    };
    if rank.world.is_first() {
        tell(&measured, (bytes, args.step_ms / 1e3), output);
    }
    Ok(())
}

/// What ranks that are threads measure.
fn of_threads(ranks: usize, sizes: &[usize]) -> anyhow::Result<Measured> {
    let world = |c| {
        World::new(Duration::from_secs(60), move || {
            Ok(Box::new(c) as Box<dyn Comm>)
        })
    };
    let worlds = threads::ranks(ranks).into_iter().map(world);
    let worlds = worlds.collect::<Result<Vec<World>, _>>()?;
    let all = std::thread::scope(|s| {
        let started: Vec<_> = worlds
            .iter()
            .map(|w| s.spawn(move || measure(w, sizes, TURNS)))
            .collect();
        let ended = started.into_iter().map(|t| t.join().ok());
        ended.collect::<Vec<_>>()
    });
    let first = all.into_iter().next().flatten();
    Ok(first.ok_or_else(|| anyhow::anyhow!("a rank panicked"))??)
}

fn tell(m: &Measured, (bytes, step): (f64, f64), output: OutputOptions) {
    let rate = m.means.last().map_or(f64::NAN, |t| t.rate);
    let forecast: Vec<Expected> = [2, 8, 64]
        .map(|ranks| expected(ranks, bytes, step, (m.latency, rate)))
        .into();
    if output.json {
        outln!("{}", json!({ "measured": m, "expected": forecast }));
        return;
    }
    outln!("{} ranks: one number {:.3} ms", m.ranks, 1e3 * m.latency);
    for t in &m.means {
        outln!(
            "mean of {:6.1} MB {:8.2} ms   {:6.2} GB/s a rank",
            t.bytes as f64 / 1e6,
            1e3 * t.seconds,
            t.rate / 1e9
        );
    }
    outln!(
        "\nexpected of this link, with gradients of {:.0} MB and a step of {:.1} ms on one device (the copy from and to a \
         GPU comes on top):",
        bytes / 1e6,
        1e3 * step
    );
    outln!("devices  exchange ms  efficiency  overlapped");
    for e in forecast {
        outln!(
            "{:7}  {:11.2}  {:10.2}  {:10.2}",
            e.ranks,
            1e3 * e.exchange,
            e.plain,
            e.overlapped
        );
    }
}
