//! Ranks share a batch: loss, gradient and step are those of one rank with as many micro-batches.

use crate::common;

use amcl_wgpu::comm::{Call, Comm, CommError, World, threads};
use amcl_wgpu::config::{Config, method};
use amcl_wgpu::data::{Dataset, shapes};
use amcl_wgpu::device::{Choice, Device, Options};
use amcl_wgpu::graph::gpu::GpuExecutor;
use amcl_wgpu::graph::host::HostExecutor;
use amcl_wgpu::graph::{Executor, StepScalars};
use amcl_wgpu::methods::METHODS;
use amcl_wgpu::train::optimizer::GRADS;
use amcl_wgpu::train::session::Session;
use common::{relative, settings_of};
use std::time::Duration;

pub(crate) const BATCH: usize = 12;

fn config(method: &str, amcl: bool, of: (usize, usize)) -> Config {
    config_with(method, amcl, of, &[])
}

pub(crate) fn config_with(
    method: &str,
    amcl: bool,
    (ranks, parts): (usize, usize),
    more: &[&str],
) -> Config {
    let mut set = vec![
        "model.encoder=tiny".to_string(),
        "model.width=4".into(),
        "model.stem_stride=2".into(),
        "model.image_size=16".into(),
        format!("method.name={method}"),
        "method.bn_splits=1".into(),
        "method.queue=64".into(),
        // So that a wrong contrast shows beside the other terms.
        "method.w_contrast=1".into(),
        format!("heads.count={}", if amcl { 2 } else { 1 }),
        "heads.hidden=8".into(),
        "heads.out=6".into(),
        format!("amcl.enabled={amcl}"),
        "amcl.phi_hidden=8".into(),
        format!("optim.batch_size={BATCH}"),
        format!("optim.micro_batches={parts}"),
        format!("dist.ranks={ranks}"),
    ];
    set.extend(more.iter().map(ToString::to_string));
    Config::parse("", &settings_of(&set)).unwrap_or_else(|e| panic!("{method}: {e}"))
}

/// What a rank has after a few steps.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) losses: Vec<f64>,
    /// The last step's gradient and the parameters behind it, tensor by tensor.
    pub(crate) tensors: Vec<(String, Vec<f64>)>,
}

/// Two steps of a rank.
fn steps(c: &Config, world: &World, exec: Box<dyn Executor>, data: &Dataset) -> Seen {
    steps_to(c, world, exec, (data, &["queue", "key_params"]))
}

/// As [`steps`]; the groups of states that are looked at too.
pub(crate) fn steps_to(
    c: &Config,
    world: &World,
    exec: Box<dyn Executor>,
    (data, groups): (&Dataset, &[&str]),
) -> Seen {
    let method = method::method(c).unwrap();
    let world = match c.dist.shares.is_empty() {
        true => world.clone(),
        false => world.clone().with_shares(&c.dist.shares).unwrap(),
    };
    let world = &world;
    let mut s = Session::of_rank(c, (method.as_ref(), world), exec, data).unwrap();
    let rank = world.rank();
    let places = method.draws().places(c.share(rank), BATCH, rank);
    let mut losses = Vec::new();
    for step in 0..2 {
        let ids: Vec<u32> = places.iter().map(|p| (step * BATCH + p) as u32).collect();
        let scalars = StepScalars {
            step: step as u32,
            lr: 0.05,
            ema: 0.9,
            ..StepScalars::default()
        };
        let pending = s.start(data, &ids, &scalars).unwrap();
        losses.push(f64::from(s.finish(&pending).unwrap().loss));
    }
    let mut tensors = Vec::new();
    let states = s.model.states.clone();
    for p in &s.model.params {
        let grad = states.counterpart(p.id, GRADS).unwrap();
        for (kind, id) in [("gradient", grad), ("value", p.id)] {
            let values = s.exec.read_state(&states, id).unwrap().to_f64();
            tensors.push((format!("{kind} of {}", p.name), values));
        }
    }
    for group in states.groups() {
        if groups.contains(&group.group.name().as_str()) {
            let id = states.whole(group.group).unwrap();
            let values = s.exec.read_state(&states, id).unwrap().to_f64();
            tensors.push((group.group.name(), values));
        }
    }
    Seen { losses, tensors }
}

/// How an engine of several ranks is wrong: the mistakes of others' programs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    None,
    /// Gathering gives a rank its own rows, as often as there are ranks.
    Echo,
    /// The gradient of gathering is the local slice alone.
    LocalSlice,
    /// The gradient of gathering is a mean over ranks in place of a sum.
    Mean,
    /// What other ranks have of the gradient is lost.
    OwnGradient,
}

/// An engine behind whose exchanges `change` alters what came: with the call, this rank's number, what it sent to each
/// rank, and what came from each.
pub(super) struct Changed<F>(pub(super) threads::Threads, pub(super) F);

impl<F> Comm for Changed<F>
where
    F: FnMut(Call, usize, &[&[u8]], &mut [&mut [u8]]) + Send,
{
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
        self.0.exchange(call, out, into)?;
        self.1(call, self.0.rank(), out, into);
        Ok(())
    }
    fn leave(&mut self, why: &str) {
        self.0.leave(why);
    }
}

/// An engine with a fault.
fn faulty(engine: threads::Threads, fault: Fault) -> Box<dyn Comm> {
    let ranks = engine.ranks();
    let change = move |call: Call, own: usize, out: &[&[u8]], into: &mut [&mut [u8]]| {
        let of = |f, what| fault == f && call.what == what;
        for (rank, to) in into.iter_mut().enumerate() {
            if of(Fault::Echo, "embeddings") {
                to.copy_from_slice(out[own]);
            }
            let lost =
                of(Fault::LocalSlice, "embeddings' gradient") || of(Fault::OwnGradient, "gradient");
            if lost && rank != own {
                to.fill(0);
            }
            if of(Fault::Mean, "embeddings' gradient") {
                for x in to.chunks_exact_mut(8) {
                    let value = f64::from_ne_bytes(x.try_into().unwrap()) / ranks as f64;
                    x.copy_from_slice(&value.to_ne_bytes());
                }
            }
        }
    };
    Box::new(Changed(engine, change))
}

/// Runs `act` as each of so many ranks.
pub(crate) fn on_ranks<R: Send>(
    ranks: usize,
    fault: Fault,
    act: impl Fn(&World) -> R + Sync,
) -> Vec<R> {
    on_engines(ranks, |c| faulty(c, fault), act)
}

/// Runs `act` as each of so many ranks, which talk through what `engine` makes of theirs.
pub(crate) fn on_engines<R: Send>(
    ranks: usize,
    engine: impl Fn(threads::Threads) -> Box<dyn Comm>,
    act: impl Fn(&World) -> R + Sync,
) -> Vec<R> {
    let worlds = threads::ranks(ranks).into_iter().map(|c| {
        let engine = engine(c);
        World::new(Duration::from_secs(60), move || Ok(engine)).unwrap()
    });
    let worlds: Vec<World> = worlds.collect();
    std::thread::scope(|s| {
        let own = |world| {
            let act = &act;
            s.spawn(move || {
                // A rank waits for others inside its pool, so it has one of its own: a shared one could begin another
                // rank's work on top of what waits for that.
                let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
                pool.unwrap().install(|| act(world))
            })
        };
        let all: Vec<_> = worlds.iter().map(own).collect();
        all.into_iter().map(|t| t.join().unwrap()).collect()
    })
}

/// The largest difference of a tensor, relative to its norm; one that is next to nothing is judged beside the whole.
pub(crate) fn apart(a: &Seen, b: &Seen) -> (f64, String) {
    let norm = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
    let whole = |s: &Seen| {
        let gradients = s.tensors.iter().filter(|t| t.0.starts_with("gradient"));
        gradients.map(|t| norm(&t.1).powi(2)).sum::<f64>().sqrt()
    };
    let floor = 1e-3 * whole(b);
    let mut worst = (0.0, String::new());
    for ((name, x), (_, y)) in a.tensors.iter().zip(&b.tensors) {
        let e = relative(x, y) * norm(y) / norm(y).max(floor);
        if e > worst.0 || e.is_nan() {
            worst = (e, name.clone());
        }
    }
    for (x, y) in a.losses.iter().zip(&b.losses) {
        let e = (x - y).abs() / y.abs();
        if e > worst.0 || e.is_nan() {
            worst = (e, "loss".into());
        }
    }
    worst
}

pub(crate) fn f64s() -> Box<dyn Executor> {
    Box::new(HostExecutor::<f64>::new())
}

pub(crate) fn f32s() -> Box<dyn Executor> {
    Box::new(HostExecutor::<f32>::new())
}

/// Every method, plain and with AMCL where it has it.
fn all_methods() -> Vec<(&'static str, bool)> {
    let of = |plain_or_amcl: bool| {
        let has = METHODS.iter().filter(move |m| m.amcl || !plain_or_amcl);
        has.map(move |m| (m.name, plain_or_amcl))
    };
    of(false).chain(of(true)).collect()
}

pub(crate) fn data() -> Dataset {
    shapes::generate(3, 2 * BATCH, 4).train
}

/// In f64 only the order of sums differs, some 1e4 of them of 1e-16 each.
pub(crate) const BOUND: f64 = 1e-12;

#[test]
fn ranks_make_the_step_of_as_many_micro_batches() {
    let data = data();
    for (name, amcl) in all_methods() {
        for ranks in [2, 3, 4] {
            let of_ranks = config(name, amcl, (ranks, 1));
            let of_parts = config(name, amcl, (1, ranks));
            let [exact, rounded] = [f64s as fn() -> Box<dyn Executor>, f32s].map(|exec| {
                let alone = steps(&of_parts, &World::default(), exec(), &data);
                let all = on_ranks(ranks, Fault::None, |w| steps(&of_ranks, w, exec(), &data));
                for other in &all {
                    assert_eq!(other.losses, all[0].losses, "{name}: ranks see one loss");
                    assert!(
                        other.tensors == all[0].tensors,
                        "{name}: ranks hold the same"
                    );
                }
                // Sums have one order, of ranks as of micro-batches. But each rank has all of phi's gradient, where one
                // rank has it once, and three thirds are not quite one.
                let equal = all[0].tensors == alone.tensors;
                let thirds = amcl && ranks == 3;
                assert!(equal || thirds, "{name}, {ranks} ranks: other bits");
                (all.into_iter().next().unwrap(), alone)
            });
            let (e, what) = apart(&exact.0, &exact.1);
            assert!(
                e < BOUND,
                "{name}, AMCL {amcl}, {ranks} ranks: {what} {e:.1e}"
            );
            // The same sums, whose numbers are as much coarser.
            let bound = BOUND * f64::from(f32::EPSILON) / f64::EPSILON;
            let (e, what) = apart(&rounded.0, &rounded.1);
            assert!(
                e < bound,
                "{name}, AMCL {amcl}, {ranks} ranks in f32: {what} {e:.1e}"
            );
        }
    }
}

/// Micro-batches of ranks: two of each of two ranks are four of one.
#[test]
fn ranks_have_micro_batches_of_their_own() {
    let data = data();
    for (name, amcl) in [("simclr", true), ("moco", false), ("can", false)] {
        let alone = steps(
            &config(name, amcl, (1, 4)),
            &World::default(),
            f64s(),
            &data,
        );
        let c = config(name, amcl, (2, 2));
        let all = on_ranks(2, Fault::None, |world| steps(&c, world, f64s(), &data));
        let (e, what) = apart(&all[1], &alone);
        assert!(e < BOUND, "{name}: {what} {e:.1e}");
    }
}

/// Ranks of unlike speed: shares of three parts and one are four micro-batches of one rank, one and two are three.
#[test]
fn unequal_shares_make_the_step_of_as_many_micro_batches() {
    let data = data();
    for (name, amcl) in all_methods() {
        for shares in [&[3, 1][..], &[1, 2], &[1, 2, 1]] {
            let parts = shares.iter().sum();
            let of_parts = config(name, amcl, (1, parts));
            let alone = steps(&of_parts, &World::default(), f64s(), &data);
            let set = format!("dist.shares={shares:?}");
            let c = config_with(name, amcl, (shares.len(), 1), &[&set]);
            let all = on_ranks(shares.len(), Fault::None, |w| steps(&c, w, f64s(), &data));
            for other in &all {
                assert!(other == &all[0], "{name}: ranks hold the same");
            }
            // A rank adds up its parts before the ranks are added up: the sums of four parts have another order too.
            let (e, what) = apart(&all[0], &alone);
            assert!(
                e < 4.0 * BOUND,
                "{name}, AMCL {amcl}, {shares:?}: {what} {e:.1e}"
            );
        }
    }
    // The control: the same shares of a batch that is cut into other groups.
    let alone = steps(
        &config("simclr", false, (1, 2)),
        &World::default(),
        f64s(),
        &data,
    );
    let c = config_with("simclr", false, (2, 1), &["dist.shares=[3,1]"]);
    let all = on_ranks(2, Fault::None, |w| steps(&c, w, f64s(), &data));
    let (e, what) = apart(&all[0], &alone);
    assert!(e > 1e-3, "{what} {e:.1e}");
}

/// Unlike devices: a CPU and a software GPU, which round an update differently. Each updates a piece of the parameters
/// and of the momentum encoder's.
#[test]
fn unlike_devices_hold_the_same_where_each_owns_a_piece() {
    let data = data();
    let name = std::env::var("AMCL_TEST_DEVICE").unwrap_or_else(|_| "llvmpipe".into());
    let choice: Choice = name.parse().unwrap();
    let sides = |owners: bool, optimiser: &str| {
        let more = [
            format!("dist.owners={owners}"),
            format!("optim.name={optimiser}"),
        ];
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        let c = config_with("byol", false, (2, 1), &more);
        let mut all = on_ranks(2, Fault::None, |world| {
            let exec: Box<dyn Executor> = match world.is_first() {
                true => f32s(),
                false => {
                    let device = Device::open(&choice, Options::default());
                    Box::new(GpuExecutor::new(device.expect("a Vulkan adapter")))
                }
            };
            steps(&c, world, exec, &data)
        });
        all.iter_mut().for_each(|s| {
            s.tensors.retain(|t| !t.0.starts_with("gradient"));
        });
        all
    };
    let mut drifted = false;
    for optimiser in ["sgd", "adamw", "lars"] {
        let owned = sides(true, optimiser);
        assert!(owned[0] == owned[1], "{optimiser}");
        // And they are what they are without: to roundings.
        let own = sides(false, optimiser);
        let (e, what) = apart(&owned[1], &own[0]);
        assert!(e < 1e-4, "{optimiser}: {what} {e:.1e}");
        drifted |= own[0] != own[1];
    }
    // The control: without owners some update was rounded differently.
    assert!(drifted);
}

/// Features and votes are shared among the ranks, and give the same accuracy to the digit.
#[test]
fn accuracy_does_not_depend_on_the_ranks() {
    let split = shapes::generate(5, 2 * BATCH, 11);
    let knn = |c: &Config, world: &World| {
        let method = method::method(c).unwrap();
        let mut s = Session::of_rank(c, (method.as_ref(), world), f32s(), &split.train).unwrap();
        s.knn(&split, &mut |_, _| ()).unwrap()
    };
    let alone = knn(&config("simclr", false, (1, 1)), &World::default());
    for ranks in [2, 4] {
        let c = config("simclr", false, (ranks, 1));
        let all = on_ranks(ranks, Fault::None, |world| knn(&c, world));
        assert!(all.iter().all(|made| *made == all[0]), "{ranks} ranks");
        assert_eq!(all[0].0, alone.0, "{ranks} ranks");
        // A rank's batches of features are smaller, and sums of f32 in another order.
        let [a, b] =
            [&all[0].1, &alone.1].map(|f| f.iter().map(|x| f64::from(*x)).collect::<Vec<_>>());
        assert!(
            relative(&a, &b) < 1e-5,
            "{ranks} ranks: {}",
            relative(&a, &b)
        );
    }
    assert!(alone.0 > 0.0 && alone.1.len() > 100);
}

/// The controls: mistakes that other programs made are seen.
#[test]
fn an_engine_that_mixes_up_rows_or_sums_is_seen() {
    let data = data();
    let faults = [
        Fault::Echo,
        Fault::LocalSlice,
        Fault::Mean,
        Fault::OwnGradient,
    ];
    for fault in faults {
        for (name, amcl) in [("simclr", false), ("simclr", true), ("barlow_twins", false)] {
            let alone = steps(
                &config(name, amcl, (1, 2)),
                &World::default(),
                f64s(),
                &data,
            );
            let c = config(name, amcl, (2, 1));
            let all = on_ranks(2, fault, |world| steps(&c, world, f64s(), &data));
            let (e, what) = apart(&all[0], &alone);
            assert!(e > 1e-3, "{fault:?} of {name}: {what} {e:.1e}");
        }
    }
}

/// The gradient of gathering by central differences of the mean of the ranks' losses.
#[test]
fn the_mean_of_losses_falls_as_the_gradient_says() {
    use amcl_wgpu::graph::{Graph, HostData, TensorType};
    use amcl_wgpu::ops;
    use amcl_wgpu::ops::all_gather_rows::AllGatherRows;
    use amcl_wgpu::ops::mul::Mul;
    use amcl_wgpu::ops::sum_all::SumAll;
    use amcl_wgpu::ops::sum_of_ranks::SumOfRanks;
    const RANKS: usize = 3;
    let x: Vec<f64> = (0..RANKS * 2).map(|i| 0.3 + 0.4 * i as f64).collect();
    // A rank's loss: the sum of w_r (all rows)^2 and of the square of all ranks' sum, w_r its own.
    let run = |x: &[f64]| {
        on_ranks(RANKS, Fault::None, |world| {
            let (mut g, at) = (Graph::new(), world.rank());
            let own = g.input("x", TensorType::f32([1, 2]));
            let weights = g.input("w", TensorType::f32([RANKS, 2]));
            let world = world.clone();
            let gather = AllGatherRows {
                world: world.clone(),
            };
            let rows = g.push1(gather, &[own]).unwrap();
            let squares = g.push1(Mul, &[rows, rows]).unwrap();
            let weighed = g.push1(Mul, &[squares, weights]).unwrap();
            let sum = g.push1(SumOfRanks { world }, &[own]).unwrap();
            let of_sum = g.push1(Mul, &[sum, sum]).unwrap();
            let [a, b] = [weighed, of_sum].map(|t| g.push1(SumAll, &[t]).unwrap());
            let loss = g.add(a, b).unwrap();
            let d = ops::backward(&mut g, loss, &[own]).unwrap()[0].unwrap();
            let w: Vec<f64> = (0..RANKS * 2)
                .map(|i| 0.1 + (at * 5 + i) as f64 * 0.2)
                .collect();
            let inputs = [
                (own, HostData::F64(x[at * 2..at * 2 + 2].to_vec())),
                (weights, HostData::F64(w)),
            ];
            let out = HostExecutor::<f64>::new()
                .evaluate(&g, &inputs, &[loss, d])
                .unwrap();
            (out[0].to_f64()[0], out[1].to_f64())
        })
    };
    let mean = |x: &[f64]| run(x).iter().map(|r| r.0).sum::<f64>() / RANKS as f64;
    let gradient: Vec<f64> = run(&x).into_iter().flat_map(|r| r.1).collect();
    for (i, d) in gradient.iter().enumerate() {
        let at = |h: f64| {
            let mut moved = x.clone();
            moved[i] += h;
            mean(&moved)
        };
        let want = (at(1e-5) - at(-1e-5)) / 2e-5;
        // The objective is the ranks' mean, a rank's program gives ranks times its share of it.
        let got = d / RANKS as f64;
        assert!((got - want).abs() < 1e-8 * want.abs(), "{i}: {got} {want}");
    }
}

/// An executor's run and the exchanges of gradients, in the order in which they happened.
#[derive(Clone, Default)]
struct Order(std::sync::Arc<std::sync::Mutex<Vec<&'static str>>>);

/// An engine that notes exchanges of gradients.
struct Noted(threads::Threads, Order);

impl Comm for Noted {
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
        if call.what == "gradient" {
            self.1.0.lock().unwrap().push("exchange");
        }
        self.0.exchange(call, out, into)
    }
    fn leave(&mut self, why: &str) {
        self.0.leave(why);
    }
}

/// Gradients leave while the backward pass goes on: exchanges begin before the program has ended. The control:
/// micro-batches are summed first.
#[test]
fn gradients_travel_while_the_backward_pass_goes_on() {
    let data = data();
    let exchanges_before_the_end = |parts: usize| {
        // Large enough for a backward pass of many milliseconds.
        let large = [
            "model.width=32",
            "model.image_size=32",
            "dist.bucket_mib=0.01",
        ];
        let c = config_with("simsiam", false, (2, parts), &large);
        let order = Order::default();
        let engine = |engine: threads::Threads| -> Box<dyn Comm> {
            // One rank's are enough.
            let order = match engine.rank() {
                0 => order.clone(),
                _ => Order::default(),
            };
            Box::new(Noted(engine, order))
        };
        on_engines(2, engine, |world| {
            let method = method::method(&c).unwrap();
            let of_rank = (method.as_ref(), world);
            let mut s = Session::of_rank(&c, of_rank, f32s(), &data).unwrap();
            let own: Vec<u32> = (0..c.share(0).len() as u32).collect();
            let scalars = StepScalars::default();
            let batch = (&data as &dyn amcl_wgpu::data::packed::Images, &own[..]);
            let exec = s.exec.as_mut();
            s.gradient.start(exec, &c, batch, &scalars).unwrap();
            if world.is_first() {
                order.0.lock().unwrap().push("backward pass ended");
            }
            // The optimiser's side takes what was begun.
            s.update(&scalars).unwrap();
        });
        let order = order.0.lock().unwrap();
        order.iter().take_while(|o| **o == "exchange").count()
    };
    // Where a rank is kept from its core the other waits for its first bucket until its own pass has ended: some turn
    // of several is without that.
    assert!((0..20).any(|_| exchanges_before_the_end(1) > 2));
    assert!((0..3).all(|_| exchanges_before_the_end(2) == 0));
}
