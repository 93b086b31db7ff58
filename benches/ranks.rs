//! Ranks that are threads of this machine, on CPU executors: `cargo bench --bench ranks`. Two figures, each a ratio of
//! medians of turns within one call:
//!
//! - gradients over a slow link (each step's take 200 ms in all) beside a step's computing: a step should take little
//!   more than the longer of the two;
//! - two ranks with half of the cores each beside one rank with all of them and two micro-batches.

use amcl_wgpu::comm::{Call, Comm, CommError, World, threads};
use amcl_wgpu::config::{Config, method};
use amcl_wgpu::data::{Dataset, shapes};
use amcl_wgpu::graph::StepScalars;
use amcl_wgpu::graph::host::HostExecutor;
use amcl_wgpu::train::session::Session;
use std::time::{Duration, Instant};

const TURNS: usize = 9;

/// A link on which a byte takes so long.
struct Slow(threads::Threads, f64);

impl Comm for Slow {
    fn rank(&self) -> usize {
        self.0.rank()
    }
    fn ranks(&self) -> usize {
        self.0.ranks()
    }
    fn exchange(
        &mut self,
        call: Call,
        out: &[&[u8]],
        into: &mut [&mut [u8]],
    ) -> Result<(), CommError> {
        let bytes: usize = out.iter().map(|p| p.len()).sum();
        std::thread::sleep(Duration::from_secs_f64(self.1 * bytes as f64));
        self.0.exchange(call, out, into)
    }
    fn leave(&mut self, why: &str) {
        self.0.leave(why);
    }
}

fn config(ranks: usize, parts: usize, width: usize, bucket: f64) -> Config {
    let set = [
        "method.name=simsiam".to_string(),
        "heads.layers=2".into(),
        format!("model.width={width}"),
        "optim.batch_size=32".into(),
        format!("optim.micro_batches={parts}"),
        format!("dist.ranks={ranks}"),
        format!("dist.bucket_mib={bucket}"),
    ];
    Config::parse("", &set).expect("a configuration")
}

/// Seconds of steps, and how long one step's exchanges took, of one rank.
fn steps(c: &Config, world: &World, data: &Dataset) -> (Vec<f64>, f64) {
    let method = method::method(c).expect("a method");
    let exec = Box::new(HostExecutor::<f32>::new());
    let mut s = Session::of_rank(c, (method.as_ref(), world), exec, data).expect("a session");
    let own = c.share(0).len() as u32;
    let first = world.rank() as u32 * own;
    let ids: Vec<u32> = (first..first + own).collect();
    let (mut times, before) = (Vec::new(), world.times()[1]);
    for step in 0..=TURNS {
        let scalars = StepScalars {
            step: step as u32,
            ..StepScalars::default()
        };
        let begin = Instant::now();
        let pending = s.start(data, &ids, &scalars).expect("a step");
        s.finish(&pending).expect("a step");
        // The first one fills caches.
        if step > 0 {
            times.push(begin.elapsed().as_secs_f64());
        }
    }
    let exchanged = (world.times()[1] - before).as_secs_f64() / (TURNS + 1) as f64;
    (times, exchanged)
}

/// As many ranks, each with so many threads, over a link on which a byte takes `each` seconds.
fn ranks(c: &Config, each: f64, pool: usize, data: &Dataset) -> (f64, f64) {
    let worlds = threads::ranks(c.dist.ranks).into_iter().map(|t| {
        let engine = move || Ok(Box::new(Slow(t, each)) as Box<dyn Comm>);
        World::new(Duration::from_secs(60), engine).expect("a rank")
    });
    let worlds: Vec<World> = worlds.collect();
    let mut made = std::thread::scope(|s| {
        let own = |world| {
            s.spawn(move || {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(pool).build();
                pool.expect("threads").install(|| steps(c, world, data))
            })
        };
        let all: Vec<_> = worlds.iter().map(own).collect();
        let ended = all.into_iter().map(|t| t.join().expect("a rank"));
        ended.collect::<Vec<_>>()
    });
    let (times, exchanged) = made.swap_remove(0);
    (median(times), exchanged)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() {
    let data = shapes::generate(3, 64, 4).train;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let half = (cores / 2).max(1);
    // The bytes of a step's gradients, by a link on which each takes a nanosecond.
    for width in [8, 32] {
        let c = config(2, 1, width, 0.25);
        let compute = ranks(&c, 0.0, half, &data).0;
        let bytes = ranks(&c, 1e-9, half, &data).1 / 1e-9;
        let each = 0.2 / bytes;
        let (step, transport) = ranks(&c, each, half, &data);
        let (at_the_end, _) = ranks(&config(2, 1, width, 1024.0), each, half, &data);
        println!(
            "width {width:2}: computing {:4.0} ms, exchanges {:4.0} ms, step {:4.0} ms, {:.2} of the longer; in one bucket {:4.0} ms",
            1e3 * compute,
            1e3 * transport,
            1e3 * step,
            step / compute.max(transport),
            1e3 * at_the_end
        );
    }
    let (mut together, mut alone) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let one = config(1, 2, 32, 16.0);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(cores).build();
        let of_one = pool
            .expect("threads")
            .install(|| steps(&one, &World::default(), &data));
        alone.push(median(of_one.0));
        together.push(ranks(&config(2, 1, 32, 16.0), 0.0, half, &data).0);
    }
    let (alone, together) = (median(alone), median(together));
    println!(
        "one rank of {cores} cores {:.1} ms, two ranks of {half} {:.1} ms: speed {:.2} of one rank's",
        1e3 * alone,
        1e3 * together,
        alone / together
    );
}
