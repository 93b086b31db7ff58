//! The momentum encoder of MoCo, MoCo v3 and BYOL, and MoCo's batch norm, as seen from outside their own graphs: where
//! keys come from, what gets a gradient, who is normalised with whom, in what order results come back. Every check has
//! a control: the same check on a graph that lacks what is checked fails.

use crate::common;

use amcl_wgpu::data::shapes;
use amcl_wgpu::graph::host::HostExecutor;
use amcl_wgpu::graph::state::Group;
use amcl_wgpu::graph::{Executor, Graph, HostData, Result, StepScalars, TensorId, TensorType};
use amcl_wgpu::methods::byol::Byol;
use amcl_wgpu::methods::loss::{Amcl, LossOutput, Plain, Scorer, contrastive, simsiam};
use amcl_wgpu::methods::moco::Moco;
use amcl_wgpu::methods::mocov3::MocoV3;
use amcl_wgpu::methods::{Batch, Method};
use amcl_wgpu::nn::heads::{Last, Mlp, Phi};
use amcl_wgpu::nn::model::{MOMENTUM_COPY, PARAMS, STATISTICS};
use amcl_wgpu::nn::{Backbone, Mode, Model, Net, Norm, Part};
use amcl_wgpu::ops;
use amcl_wgpu::ops::add::Add;
use amcl_wgpu::ops::l2_normalize::L2Normalize;
use amcl_wgpu::ops::scale::Scale;
use amcl_wgpu::ops::stop_gradient::StopGradient;
use amcl_wgpu::train::Config;
use amcl_wgpu::train::session::Session;
use common::{B, Run, SIDE, net, normal, relative, view};

const QUEUE: usize = 20;

fn moco(amcl: bool) -> Moco {
    Moco {
        regrouped: None,
        encoder: net(),
        projector: Mlp::plain(if amcl { 2 } else { 1 }, 8, 6),
        amcl: amcl.then(Amcl::default),
        temperature: Plain::constant(0.1),
        momentum: [0.99, -1.0],
        queue: QUEUE,
        symmetric: true,
        splits: 2,
        shuffle: true,
        micro_batches: 1,
    }
}

fn byol() -> Byol {
    let mlp = |hidden| Mlp {
        heads: 1,
        layers: 2,
        hidden,
        out: 6,
        norm: true,
        last: Last::Plain,
        ..Mlp::plain(1, hidden, 6)
    };
    Byol {
        encoder: net(),
        projector: mlp(8),
        predictor: mlp(5),
        momentum: [0.99, -1.0],
    }
}

fn mocov3(amcl: bool) -> MocoV3 {
    let mlp = |hidden, layers| Mlp {
        heads: if amcl { 2 } else { 1 },
        layers,
        hidden,
        out: 6,
        norm: true,
        last: Last::BareNorm,
        ..Mlp::plain(1, hidden, 6)
    };
    MocoV3 {
        encoder: net(),
        projector: mlp(8, 3),
        predictor: mlp(5, 2),
        amcl: amcl.then(Amcl::default),
        scale: 0.5,
        temperature: Plain::constant(0.2),
        momentum: [0.99, 1.0],
    }
}

/// What BYOL would be if the branch did not switch: its targets come from the trained parameters.
struct Unbranched(Byol);

impl Method for Unbranched {
    fn encoder(&self) -> &dyn Backbone {
        self.0.encoder()
    }

    fn build(&self, net: &mut Net<'_>, batch: &Batch) -> Result<LossOutput> {
        let encoder = self.encoder().layers(net);
        let heads = self.0.projector.layers(net, Part::Projector, 8);
        let predictor = self.0.predictor.layers(net, Part::Predictor, 6);
        let (mut sides, mut features) = (Vec::new(), Vec::new());
        for v in &batch.views {
            let f = encoder.call(net, *v)?.pooled;
            let z = heads.call(net, f)?;
            let p = predictor.call(net, z)?;
            sides.push((p, net.push1(StopGradient, &[z])?));
            features.push(f);
        }
        net.model.make_momentum_copy();
        let out = simsiam::simsiam(net, sides[0], sides[1])?;
        Ok(LossOutput {
            features,
            embedding: Some(sides[0].1),
            ..out
        })
    }
}

/// What changes when a group of states does: loss, queries' features, keys.
fn moved(method: &dyn Method, group: Group) -> [bool; 3] {
    let mut run = Run::new(method, B);
    let views = [view(B, 5, 0), view(B, 5, 1)];
    let before = run.on([&views[0], &views[1]]);
    assert_eq!(before, run.on([&views[0], &views[1]]), "runs repeat");
    run.shake(group, 9);
    let after = run.on([&views[0], &views[1]]);
    assert!(!before.keys.is_empty() && before.features.len() == 2);
    [
        before.loss != after.loss,
        before.features != after.features,
        before.keys != after.keys,
    ]
}

#[test]
fn keys_come_from_the_momentum_branch_and_queries_do_not() {
    let methods: [(&str, Box<dyn Method>); 5] = [
        ("moco", Box::new(moco(false))),
        ("moco + amcl", Box::new(moco(true))),
        ("mocov3", Box::new(mocov3(false))),
        ("mocov3 + amcl", Box::new(mocov3(true))),
        ("byol", Box::new(byol())),
    ];
    for (name, method) in &methods {
        let [by_keys, by_params] =
            [MOMENTUM_COPY, PARAMS].map(|group| moved(method.as_ref(), group));
        assert_eq!(by_keys, [true, false, true], "{name}: loss, queries, keys");
        assert_eq!(
            by_params,
            [true, true, false],
            "{name}: loss, queries, keys"
        );
    }
    // The control: a branch that does not switch.
    let control = Unbranched(byol());
    assert_eq!(moved(&control, MOMENTUM_COPY), [false; 3]);
    assert_eq!(moved(&control, PARAMS), [true; 3]);
}

/// MoCo v3's keys are of the momentum copy's encoder and projector; its copy of the predictor is read by nobody. The
/// control: the projector's copy.
#[test]
fn keys_of_mocov3_pass_no_predictor() {
    let mut run = Run::new(&mocov3(true), B);
    let views = [view(B, 5, 0), view(B, 5, 1)];
    let before = run.on([&views[0], &views[1]]);
    for (part, read) in [("predictor.", false), ("head.", true)] {
        let states = &run.b.m.states;
        let entries = states.entries(MOMENTUM_COPY).into_iter();
        let of_part = entries.filter(|(_, e)| e.name.contains(&format!(".{part}")));
        let ids: Vec<_> = of_part.map(|(id, _)| id).collect();
        assert!(ids.len() >= 4, "{part}: {} tensors", ids.len());
        for id in ids {
            let n = run.b.m.states.entry(id).ty.elements();
            let data = HostData::F64(normal(n, 7));
            run.exec.write_state(&run.b.m.states, id, &data).unwrap();
        }
        let after = run.on([&views[0], &views[1]]);
        assert_eq!(before != after, read, "{part}");
        assert_eq!(before.keys != after.keys, read, "{part}");
    }
}

/// Where the keys of [`given_keys`] come from.
#[derive(Clone, Copy, PartialEq)]
enum Keys<'a> {
    /// Numbers.
    Given(&'a [Vec<f64>]),
    /// The trained parameters: what MoCo must not do.
    Trained,
}

/// MoCo's gradients in a graph of its queries alone, at the states of `run`, and the gradients of given keys.
fn given_keys(
    method: &Moco,
    run: &mut Run,
    views: [&[f64]; 2],
    keys: Keys<'_>,
) -> (Vec<Vec<f64>>, Vec<f64>) {
    let (mut g, mut m) = (Graph::new(), Model::default());
    let x = [(); 2].map(|()| g.input("view", TensorType::f32([B, SIDE, SIDE, 3])));
    let (c, d) = (method.projector.heads, method.projector.out);
    let queue = g.input("queue", TensorType::f32([c, QUEUE, d]));
    let norm = Norm {
        groups: method.splits,
        ..Norm::default()
    };
    let (mut losses, mut given) = (Vec::new(), Vec::new());
    let mut net = Net::new(&mut g, &mut m, Mode::Train);
    let encoder = method.encoder.layers(&mut net);
    let heads = method.projector.layers(&mut net, Part::Projector, 8);
    let embed = |net: &mut Net<'_>, view| {
        net.with_norm(norm, |net| {
            let f = encoder.call(net, view).unwrap().pooled;
            heads.call(net, f).unwrap()
        })
    };
    for (query, key) in [(0, 1), (1, 0)] {
        let q = embed(&mut net, x[query]);
        let k = match keys {
            Keys::Given(_) => {
                given.push(net.input("k", TensorType::f32([c, B, d])));
                given[given.len() - 1]
            }
            Keys::Trained => {
                let z = embed(&mut net, x[key]);
                net.push1(L2Normalize { eps: 1e-12 }, &[z]).unwrap()
            }
        };
        let built = match &method.amcl {
            None => contrastive::moco(&mut net, q, k, queue, &method.temperature),
            Some(a) => {
                let values = Phi::new(&mut net, d, a.phi_hidden, false).values(&mut net);
                let mut phi = |g: &mut Graph, z| values.call(g, z);
                let scorer = Scorer {
                    phi: &mut phi,
                    gain: None,
                };
                contrastive::amcl_moco(&mut net, q, k, queue, a, scorer)
            }
        };
        losses.push(built.unwrap().loss);
    }
    let sum = g.push1(Add, &[losses[0], losses[1]]).unwrap();
    let loss = g.push1(Scale { factor: 0.5 }, &[sum]).unwrap();
    let mut wrt: Vec<TensorId> = m.params.iter().map(|p| g.state(&m.states, p.id)).collect();
    wrt.extend(&given);
    let grads = ops::backward(&mut g, loss, &wrt).unwrap();
    let grads: Vec<TensorId> = grads.into_iter().map(Option::unwrap).collect();
    let mut exec = HostExecutor::<f64>::new();
    exec.allocate_states(&m.states).unwrap();
    let program = exec.compile(&g, &grads).unwrap();
    let values = run.named(PARAMS);
    for p in &m.params {
        let data = HostData::F64(values[&p.name].clone());
        exec.write_state(&m.states, p.id, &data).unwrap();
    }
    let mut send = |t, v: &[f64]| exec.upload(program, t, &HostData::F64(v.to_vec())).unwrap();
    send(queue, &run.queue.as_ref().unwrap().1);
    for (t, v) in x.into_iter().zip(views) {
        send(t, v);
    }
    if let Keys::Given(keys) = keys {
        given.iter().zip(keys).for_each(|(t, k)| send(*t, k));
    }
    exec.run(program, &StepScalars::default()).unwrap();
    let fetched = grads.iter().map(|t| exec.fetch(program, *t).unwrap());
    let mut fetched: Vec<Vec<f64>> = fetched.map(|d| d.to_f64()).collect();
    let of_keys = fetched.split_off(m.params.len()).concat();
    let by_name = |name: &str| m.params.iter().position(|p| p.name == name).unwrap();
    let order = run.b.m.params.iter().map(|p| by_name(&p.name));
    (order.map(|i| fetched[i].clone()).collect(), of_keys)
}

/// The query's gradient is the one it has when the same keys are numbers. f64: sums of some 1e3 terms in another
/// order, through 20 layers: 1e-10 at most.
#[test]
fn keys_are_constants_to_the_gradient() {
    for amcl in [false, true] {
        let method = moco(amcl);
        let mut run = Run::new(&method, B);
        run.shake(MOMENTUM_COPY, 9);
        let views = [view(B, 5, 0), view(B, 5, 1)];
        let views = [&views[0][..], &views[1]];
        let seen = run.on(views);
        assert_eq!(seen.grads.len(), run.b.m.params.len());
        let (want, of_keys) = given_keys(&method, &mut run, views, Keys::Given(&seen.keys));
        let e = relative(&seen.grads.concat(), &want.concat());
        assert!(e < 1e-10, "amcl {amcl}: {e}");
        // The loss does depend on the keys: that they get no gradient is the method's doing.
        assert!(of_keys.iter().any(|v| v.abs() > 1e-3));
        // The control: keys that are trained.
        let (other, _) = given_keys(&method, &mut run, views, Keys::Trained);
        let e = relative(&seen.grads.concat(), &other.concat());
        assert!(e > 1e-2, "amcl {amcl}: {e}");
    }
}

#[test]
fn a_keys_gradient_is_zero() {
    let methods: [Box<dyn Method>; 5] = [
        Box::new(moco(false)),
        Box::new(moco(true)),
        Box::new(mocov3(false)),
        Box::new(mocov3(true)),
        Box::new(byol()),
    ];
    for method in &methods {
        let mut b = common::build(method.as_ref());
        let ids: Vec<_> = b.m.states.entries(MOMENTUM_COPY);
        let ids: Vec<_> = ids.iter().map(|(id, _)| *id).collect();
        assert!(ids.len() == b.m.params.len());
        let keys: Vec<TensorId> = ids.iter().map(|id| b.g.state(&b.m.states, *id)).collect();
        let grads = ops::backward(&mut b.g, b.out.loss, &keys).unwrap();
        assert!(grads.iter().all(Option::is_none));
        // The control: what is trained has one.
        assert!(b.grads.iter().all(Option::is_some));
    }
}

/// An optimiser's step moves the parameters, and the branch by its decay alone: key = m key + (1 - m) parameter, in
/// f32 (two products and a sum: 3 roundings of 6e-8 of the larger).
#[test]
fn the_branch_follows_the_optimiser_by_its_decay() {
    let split = shapes::generate(1, 32, 20);
    let ids: Vec<u32> = (0..16).collect();
    for (method, own) in [
        ("moco", "method.queue=24"),
        ("byol", "method.predictor_hidden=8"),
        ("mocov3", "method.predictor_hidden=8"),
    ] {
        let set = [
            "heads.hidden=8",
            "heads.out=16",
            "model.width=4",
            "model.image_size=16",
            "optim.batch_size=16",
        ];
        let mut set: Vec<String> = set.map(String::from).to_vec();
        set.extend([format!("method.name={method}"), own.to_string()]);
        let config = Config::parse("", &set).unwrap();
        let exec = Box::new(HostExecutor::<f32>::new());
        let mut s = Session::new(&config, exec, &split.train).unwrap();
        let read = |s: &mut Session| {
            [PARAMS, MOMENTUM_COPY].map(|name| {
                let id = s.model.states.whole(name).unwrap();
                common::read(s.exec.as_mut(), &s.model, id)
            })
        };
        let [start, level] = read(&mut s);
        assert_eq!(start, level, "{method}: a run starts with the branch level");
        let mut before = [start, level];
        for m in [1.0f32, 0.75, 0.0] {
            let scalars = StepScalars {
                lr: 0.1,
                ema: m,
                ..StepScalars::default()
            };
            let step = s.start(&split.train, &ids, &scalars).unwrap();
            assert!(!s.finish(&step).unwrap().failed);
            let after = read(&mut s);
            assert!(relative(&after[0], &before[0]) > 1e-4, "{method}: a step");
            let m = f64::from(m);
            for ((k, before), p) in after[1].iter().zip(&before[1]).zip(&after[0]) {
                let want = m * before + (1.0 - m) * p;
                let bound = 3.0 * 6e-8 * before.abs().max(p.abs());
                assert!((k - want).abs() <= bound, "{method} {m}: {k} {want}");
            }
            before = after;
        }
        // After a decay of 0 it is level with the parameters, as `level_copies` makes it.
        assert_eq!(before[0], before[1]);
        let id = s.model.states.whole(MOMENTUM_COPY).unwrap();
        let zeros = HostData::F32(vec![0.0; before[0].len()]);
        s.exec.write_state(&s.model.states, id, &zeros).unwrap();
        s.model.level_copies(s.exec.as_mut()).unwrap();
        assert_eq!(read(&mut s)[1], before[0]);
    }
}

const WIDE: usize = 8;

/// The images of a batch whose queries, and whose keys, change with the first image of a view.
fn batch_mates(splits: usize, shuffle: bool) -> [Vec<usize>; 2] {
    let method = Moco {
        splits,
        shuffle,
        ..moco(true)
    };
    let mut run = Run::new(&method, WIDE);
    let mut views = [view(WIDE, 5, 0), view(WIDE, 5, 1)];
    let before = run.on([&views[0], &views[1]]);
    let other = normal(SIDE * SIDE * 3, 77);
    views[0][..other.len()].copy_from_slice(&other);
    let after = run.on([&views[0], &views[1]]);
    // The first view is the query of the first direction and the key of the second.
    let changed = |a: &[f64], b: &[f64]| -> Vec<usize> {
        let (a, b) = (a.chunks(a.len() / WIDE), b.chunks(b.len() / WIDE));
        let pairs = a.zip(b).enumerate();
        pairs.filter(|(_, (a, b))| a != b).map(|p| p.0).collect()
    };
    assert_eq!(before.keys[0], after.keys[0], "the other view's keys");
    let head = before.keys[1].len() / 2;
    [
        changed(&before.features[0], &after.features[0]),
        changed(&before.keys[1][..head], &after.keys[1][..head]),
    ]
}

#[test]
fn queries_and_keys_are_normalised_in_groups_that_differ() {
    assert_eq!(batch_mates(4, true), [vec![0, 1], vec![0, 4]]);
    assert_eq!(batch_mates(2, true), [vec![0, 1, 2, 3], vec![0, 2, 4, 6]]);
    // The controls: without shuffling the groups are the same, with one group they are the batch.
    assert_eq!(batch_mates(4, false), [vec![0, 1], vec![0, 1]]);
    let all: Vec<usize> = (0..WIDE).collect();
    assert_eq!(batch_mates(1, true), [all.clone(), all]);
}

/// Each group of images alone through a network without groups: its statistics, and the place of every image, are
/// those of MoCo's own graph. In f64 the same sums, of 2 x 64 values: 1e-12 of the values, which division by a
/// deviation of a few hundredths makes a hundredfold.
#[test]
fn each_group_has_its_own_statistics_and_every_result_its_place() {
    for (shuffle, splits) in [(true, 4), (false, 4), (true, 2)] {
        let method = Moco {
            splits,
            shuffle,
            ..moco(false)
        };
        let mut run = Run::new(&method, WIDE);
        run.shake(MOMENTUM_COPY, 9);
        let views = [view(WIDE, 6, 0), view(WIDE, 6, 1)];
        let seen = run.on([&views[0], &views[1]]);
        let [params, keys] = [PARAMS, MOMENTUM_COPY].map(|group| run.named(group));
        let size = WIDE / splits;
        let group = |k: usize, interleaved: bool| -> Vec<usize> {
            let at = |i| {
                if interleaved {
                    i * splits + k
                } else {
                    k * size + i
                }
            };
            (0..size).map(at).collect()
        };
        // The largest difference of a branch's results from those of groups alone.
        let mut off = |view: &[f64], branch: bool, interleaved: bool, got: &[f64]| {
            let weights = if branch { &keys } else { &params };
            let width = got.len() / WIDE;
            let mut largest = 0f64;
            for k in 0..splits {
                let ids = group(k, interleaved);
                let features = run.features(view, &ids, branch);
                let d = features.len() / size;
                for (i, f) in ids.iter().zip(features.chunks(d)) {
                    let want = match branch {
                        false => f.to_vec(),
                        true => head_of(weights, f),
                    };
                    let got = &got[i * width..(i + 1) * width];
                    assert_eq!(got.len(), want.len());
                    let each = got.iter().zip(&want).map(|(a, b)| (a - b).abs());
                    largest = each.fold(largest, f64::max);
                }
            }
            largest
        };
        for i in 0..2 {
            let e = off(&views[i], false, false, &seen.features[i]);
            assert!(e < 1e-10, "queries of {splits} groups: {e}");
            let e = off(&views[1 - i], true, shuffle, &seen.keys[i]);
            assert!(e < 1e-10, "keys of {splits} groups, shuffle {shuffle}: {e}");
            // The control: groups made the other way.
            let e = off(&views[i], false, true, &seen.features[i]);
            assert!(e > 1e-3, "{e}");
            let e = off(&views[1 - i], true, !shuffle, &seen.keys[i]);
            assert!(e > 1e-3, "{e}");
        }
    }
}

/// The unit embedding of a feature by the plain head.
fn head_of(p: &std::collections::BTreeMap<String, Vec<f64>>, f: &[f64]) -> Vec<f64> {
    use common::plain::{linear, unit};
    let of = |name: &str| &p[&format!("head.{name}")][..];
    let hidden = linear(f, of("0.weight"), Some(of("0.bias")));
    let hidden: Vec<f64> = hidden.iter().map(|v| v.max(0.0)).collect();
    unit(&linear(&hidden, of("2.weight"), Some(of("2.bias"))))
}

/// Running statistics after a step, of a method's graph or of one that `build` makes.
fn statistics(build: impl FnOnce(&mut Net<'_>, [TensorId; 2]) -> TensorId) -> Vec<f64> {
    let (mut g, mut m) = (Graph::new(), Model::default());
    let x = [(); 2].map(|()| g.input("view", TensorType::f32([B, SIDE, SIDE, 3])));
    let result = build(&mut Net::new(&mut g, &mut m, Mode::Train), x);
    let mut exec = HostExecutor::<f64>::new();
    exec.allocate_states(&m.states).unwrap();
    let program = exec.compile(&g, &[result]).unwrap();
    m.initialise(&mut exec, 3).unwrap();
    for (i, t) in x.into_iter().enumerate() {
        let data = HostData::F64(view(B, 5, i));
        // A graph that does not read a view has no place for it.
        let _ = exec.upload(program, t, &data);
    }
    exec.run(program, &StepScalars::default()).unwrap();
    let id = m.states.whole(STATISTICS).unwrap();
    common::read(&mut exec, &m, id)
}

#[test]
fn running_statistics_are_the_queries_alone() {
    let method = Moco {
        symmetric: false,
        ..moco(false)
    };
    let got = statistics(|net, x| {
        let batch = Batch::of_views(B, x.to_vec());
        method.build(net, &batch).unwrap().loss
    });
    let queries = |norms: &[Norm]| {
        statistics(|net, x| {
            let encoder = method.encoder.layers(net);
            let mut last = x[0];
            for (norm, view) in norms.iter().zip(x) {
                let f = net.with_norm(*norm, |net| encoder.call(net, view));
                last = f.unwrap().pooled;
            }
            last
        })
    };
    let norm = Norm {
        groups: method.splits,
        ..Norm::default()
    };
    assert_eq!(got, queries(&[norm]));
    // The control: keys that are tracked too.
    let keys = Norm {
        interleaved: true,
        ..norm
    };
    assert!(relative(&got, &queries(&[norm, keys])) > 1e-3);

    // BYOL: both views, by the online network alone.
    let method = byol();
    let got = statistics(|net, x| {
        let batch = Batch::of_views(B, x.to_vec());
        method.build(net, &batch).unwrap().loss
    });
    let online = |times: usize| {
        statistics(|net, x| {
            let encoder = method.encoder.layers(net);
            let heads = method.projector.layers(net, Part::Projector, 8);
            let predictor = method.predictor.layers(net, Part::Predictor, 6);
            let mut last = x[0];
            for view in (0..times).flat_map(|_| x) {
                let f = encoder.call(net, view).unwrap().pooled;
                let z = heads.call(net, f).unwrap();
                last = predictor.call(net, z).unwrap();
            }
            last
        })
    };
    assert_eq!(got, online(1));
    assert!(relative(&got, &online(2)) > 1e-3, "targets tracked too");
}
