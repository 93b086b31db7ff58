//! Streamed losses of which each rank computes its own anchors (`loss.share_rows`): the whole loss and its gradient,
//! for a share of the work.

use crate::ranks::{BOUND, Changed, Fault, Seen, apart, config_with, data, f32s, f64s, on_engines};
use crate::ranks::{on_ranks, steps_to};

use amcl_wgpu::comm::{Call, Comm, World};
use amcl_wgpu::config::{Config, method};
use amcl_wgpu::device::{Choice, Device, Options};
use amcl_wgpu::graph::gpu::GpuExecutor;
use amcl_wgpu::graph::{Class, Executor, Graph, TensorType};
use amcl_wgpu::nn::Model;
use amcl_wgpu::train::gradient::Gradient;

const STREAM: &str = "loss.path=stream";
const SHARED: &str = "loss.share_rows=4";

/// Methods and forms of the loss: all candidates, the nearest, some; one head's features for all; constant heads.
const FORMS: [(&str, bool, &[&str]); 11] = [
    ("simclr", false, &[]),
    ("simclr", true, DOT),
    (
        "simclr",
        true,
        &["amcl.negatives=max", "amcl.include_positive=false"],
    ),
    ("simclr", true, &["amcl.negatives=topk", "amcl.kappa=3"]),
    ("simclr", true, &[DOT[0], "amcl.adaptive=first_head"]),
    (
        "simclr",
        true,
        &["amcl.adaptive=none", "amcl.negatives=topk", "amcl.kappa=2"],
    ),
    ("can", false, &[]),
    ("can", true, &[]),
    ("simclr", true, CENTRED),
    (
        "simclr",
        true,
        &[CENTRED[0], "amcl.adaptive=first_head", "amcl.negatives=max"],
    ),
    ("can", true, CENTRED),
];

const DOT: &[&str] = &["amcl.parametrisation=dot"];
const CENTRED: &[&str] = &["amcl.parametrisation=centred"];

fn config((name, amcl, form): (&str, bool, &[&str]), of: (usize, usize), more: &[&str]) -> Config {
    config_with(name, amcl, of, &[form, &[STREAM], more].concat())
}

fn steps(c: &Config, world: &World, exec: Box<dyn Executor>) -> Seen {
    steps_to(c, world, exec, (&data(), &[]))
}

fn alone(form: (&str, bool, &[&str]), parts: usize, exec: Box<dyn Executor>) -> Seen {
    steps(&config(form, (1, parts), &[]), &World::default(), exec)
}

#[test]
fn shares_of_rows_make_the_whole_loss() {
    for form in FORMS {
        for (ranks, parts) in [(2, 1), (3, 1), (4, 1), (2, 2)] {
            let whole = alone(form, ranks * parts, f64s());
            let c = config(form, (ranks, parts), &[SHARED]);
            let all = on_ranks(ranks, Fault::None, |w| steps(&c, w, f64s()));
            assert!(
                all.iter().all(|s| *s == all[0]),
                "{form:?}: ranks hold the same"
            );
            let (e, what) = apart(&all[0], &whole);
            assert!(
                e < BOUND,
                "{form:?}, {ranks} ranks of {parts}: {what} {e:.1e}"
            );
        }
    }
}

/// Ranks with unequal shares of a batch compute the whole loss each.
#[test]
fn unequal_shares_have_the_whole_loss() {
    let form = FORMS[1];
    let whole = alone(form, 3, f64s());
    let c = config(form, (2, 1), &[SHARED, "dist.shares=[1,2]"]);
    let all = on_ranks(2, Fault::None, |w| steps(&c, w, f64s()));
    let (e, what) = apart(&all[0], &whole);
    assert!(e < 4.0 * BOUND, "{what} {e:.1e}");
}

/// The mean of the scores is that of all ranks' pairs: one of a rank's own makes another gradient.
#[test]
fn a_mean_of_own_scores_is_seen() {
    let form = FORMS[8];
    let whole = alone(form, 2, f64s());
    let c = config(form, (2, 1), &[SHARED]);
    // Rows of a mean feature come as embeddings do, and those of the batch in another exchange.
    let own = |call: Call, own: usize, out: &[&[u8]], into: &mut [&mut [u8]]| {
        if call.what == "embeddings" {
            let others = into.iter_mut().enumerate().filter(|(r, _)| *r != own);
            others.for_each(|(_, to)| to.copy_from_slice(out[own]));
        }
    };
    let engine = |c| Box::new(Changed(c, own)) as Box<dyn Comm>;
    let all = on_engines(2, engine, |w| steps(&c, w, f64s()));
    let (e, what) = apart(&all[0], &whole);
    assert!(e > 1e-6, "{what} {e:.1e}");
}

#[test]
fn a_gradient_without_columns_is_seen() {
    let form = FORMS[1];
    let whole = alone(form, 2, f64s());
    let c = config(form, (2, 1), &[SHARED]);
    // What a rank's rows do as columns of other ranks' anchors is left out: these have no upstream gradient here.
    let without = |call: Call, own: usize, _: &[&[u8]], into: &mut [&mut [u8]]| {
        if call.what == "anchors" {
            let others = into.iter_mut().enumerate().filter(|(r, _)| *r != own);
            others.for_each(|(_, to)| to.fill(0));
        }
    };
    let engine = |c| Box::new(Changed(c, without)) as Box<dyn Comm>;
    let all = on_engines(2, engine, |w| steps(&c, w, f64s()));
    let (e, what) = apart(&all[0], &whole);
    assert!(e > 1e-3, "{what} {e:.1e}");
    // What the ranks see as their loss is not concerned.
    assert!((all[0].losses[0] - whole.losses[0]).abs() < BOUND * whole.losses[0].abs());
}

/// Operations of the streamed loss in a rank's step.
fn work(c: &Config, world: &World) -> f64 {
    let method = method::method(c).unwrap();
    let mut model = Model::default();
    let of = (method.as_ref(), &mut model);
    let mut gradient = Gradient::of_rank(c, of.0, of.1, (16, 16), None, world.clone()).unwrap();
    let flops = |g: &Graph| -> f64 {
        let nodes = g.nodes().iter();
        let streamed = nodes.filter(|n| n.op.class() == Class::FusedProduct);
        let types = |ts: &[_]| ts.iter().map(|t| g.ty(*t)).collect::<Vec<&TensorType>>();
        streamed
            .map(|n| n.op.cost(&types(&n.inputs), &types(&n.outputs)).flops)
            .sum()
    };
    gradient.graphs().into_iter().map(flops).sum()
}

#[test]
fn a_rank_does_its_share_of_the_work() {
    for form in [FORMS[0], FORMS[1], FORMS[3]] {
        let whole = work(&config(form, (1, 1), &[]), &World::default());
        assert!(whole > 0.0);
        for ranks in [2, 3, 4] {
            let c = config(form, (ranks, 1), &[SHARED]);
            let own = on_ranks(ranks, Fault::None, |w| work(&c, w));
            assert_eq!(own, vec![whole / ranks as f64; ranks], "{form:?}");
            // The control: below the number of rows that is set each rank does all of it.
            let c = config(form, (ranks, 1), &["loss.share_rows=25"]);
            assert_eq!(
                on_ranks(ranks, Fault::None, |w| work(&c, w)),
                vec![whole; ranks]
            );
        }
    }
}

/// By the kernels, which write a share's rows and no others.
#[test]
fn shares_of_rows_on_a_gpu_make_the_whole_loss() {
    let name = std::env::var("AMCL_TEST_DEVICE").unwrap_or_else(|_| "llvmpipe".into());
    let choice: Choice = name.parse().unwrap();
    let gpu = || -> Box<dyn Executor> {
        let device = Device::open(&choice, Options::default());
        Box::new(GpuExecutor::new(device.expect("a Vulkan adapter")))
    };
    for form in [FORMS[1], FORMS[3], FORMS[8]] {
        let exact = alone(form, 2, f64s());
        let rounded = alone(form, 2, f32s());
        let c = config(form, (2, 1), &[SHARED]);
        let all = on_ranks(2, Fault::None, |w| steps(&c, w, gpu()));
        assert!(all[0] == all[1], "{form:?}: ranks hold the same");
        // The kernels round as often as the f32 twins do, in another order: eight times, for the worst tensor of one
        // is not that of the other.
        let bound = (8.0 * apart(&rounded, &exact).0).max(1e-6);
        let (e, what) = apart(&all[0], &exact);
        assert!(e < bound, "{form:?}: {what} {e:.1e}, {bound:.1e}");
    }
}
