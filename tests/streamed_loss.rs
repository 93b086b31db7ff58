//! The streamed loss: the same numbers as with matrices of all pairs, and memory that grows with the batch.

use amcl_wgpu::config::{Config, method};
use amcl_wgpu::device::{Choice, Device, Options};
use amcl_wgpu::graph::gpu::GpuExecutor;
use amcl_wgpu::graph::host::HostExecutor;
use amcl_wgpu::graph::plan::{Plan, PlanOptions};
use amcl_wgpu::graph::{Executor, Graph, GraphError, HostData, StepScalars, TensorId, TensorType};
use amcl_wgpu::methods::loss::barlow_twins::{Redundancy, amcl_barlow_twins, barlow_twins};
use amcl_wgpu::methods::loss::contrastive::amcl;
use amcl_wgpu::methods::loss::macl::Macl;
use amcl_wgpu::methods::loss::{
    Adaptive, Amcl, NegOmega, Negatives, Parametrisation, Path, Plain, Scorer,
};
use amcl_wgpu::ops;
use amcl_wgpu::ops::amcl_form::AmclForm;
use amcl_wgpu::ops::amcl_stream::{AmclStream, Share};
use amcl_wgpu::ops::centre_scores::CentreScores;
use amcl_wgpu::ops::gemm::Gemm;
use amcl_wgpu::ops::standardize_columns::Deviation;
use amcl_wgpu::ops::swap_axes::SwapAxes;
use amcl_wgpu::reference::philox::{Purpose, Stream};
use std::sync::Arc;

/// The loss of z, with a linear phi of weights w and a gain; the tensors [loss, dz, dw, dgain] as far as there are.
fn graph(dims: [usize; 3], a: &Amcl, path: Path) -> (Graph, [TensorId; 3], Vec<TensorId>) {
    let mut g = Graph::new();
    let z = g.input("z", TensorType::f32(dims));
    let w = g.input("w", TensorType::f32([dims[2], dims[2]]));
    let gain = g.input("gain", TensorType::f32([1]));
    let mut phi = |g: &mut Graph, z: TensorId| g.push1(Gemm::default(), &[z, w]);
    let scorer = Scorer {
        phi: &mut phi,
        gain: (a.parametrisation == Parametrisation::Centred).then_some(gain),
    };
    let loss = amcl(&mut g, z, a, scorer, path).unwrap().loss;
    let grads = ops::backward(&mut g, loss, &[z, w, gain]).unwrap();
    let results = std::iter::once(loss)
        .chain(grads.into_iter().flatten())
        .collect();
    (g, [z, w, gain], results)
}

/// The gain that tests take.
fn gain_of(t: TensorId) -> (TensorId, HostData) {
    (t, HostData::F64(vec![1.3]))
}

fn random(n: usize, seed: u64) -> HostData {
    let mut s = Stream::new(seed, 0, 0, Purpose::Init);
    HostData::F64((0..n).map(|_| f64::from(s.normal())).collect())
}

/// The results of a graph with these inputs.
fn values(
    exec: &mut dyn Executor,
    g: &Graph,
    inputs: &[(TensorId, HostData)],
    results: &[TensorId],
) -> Vec<Vec<f64>> {
    let program = exec.compile(g, results).unwrap();
    for (t, data) in inputs {
        exec.upload(program, *t, data).unwrap();
    }
    exec.run(program, &StepScalars::default()).unwrap();
    let fetch = |t: &TensorId| exec.fetch(program, *t).map(|d| d.to_f64());
    results
        .iter()
        .map(fetch)
        .collect::<Result<_, GraphError>>()
        .unwrap()
}

fn run(exec: &mut dyn Executor, dims: [usize; 3], a: &Amcl, path: Path) -> Vec<Vec<f64>> {
    run_of(exec, random(dims.iter().product(), 1), dims, a, path)
}

fn run_of(
    exec: &mut dyn Executor,
    views: HostData,
    dims: [usize; 3],
    a: &Amcl,
    path: Path,
) -> Vec<Vec<f64>> {
    let (g, [z, w, gain], results) = graph(dims, a, path);
    let mut inputs = vec![(z, views), (w, random(dims[2] * dims[2], 2))];
    if a.parametrisation == Parametrisation::Centred && a.roles() != (false, false) {
        inputs.push(gain_of(gain));
    }
    values(exec, &g, &inputs, &results)
}

fn device() -> Arc<Device> {
    let name = std::env::var("AMCL_TEST_DEVICE").unwrap_or_else(|_| "llvmpipe".into());
    let choice: Choice = name.parse().unwrap();
    Device::open(&choice, Options::default())
        .unwrap_or_else(|e| panic!("this test needs a Vulkan adapter: {e}"))
}

/// The largest difference from `want`, over its largest value.
fn apart(got: &[f64], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let largest = |v: &mut dyn Iterator<Item = f64>| v.fold(0f64, |m, v| m.max(v.abs()));
    largest(&mut got.iter().zip(want).map(|(x, y)| x - y)) / largest(&mut want.iter().copied())
}

#[test]
fn both_paths_give_the_same_loss_and_gradients() {
    let device = device();
    let kinds = [
        Adaptive::Full,
        Adaptive::None,
        Adaptive::PositiveOnly,
        Adaptive::NegativeOnly,
        Adaptive::FirstHead,
    ];
    let cases = kinds.into_iter().flat_map(|k| [(k, true), (k, false)]);
    let cases = cases.flat_map(|c| {
        let (dot, centred) = (Parametrisation::Dot, Parametrisation::Centred);
        forms()
            .into_iter()
            .flat_map(move |f| [(c, f, dot), (c, f, centred)])
    });
    for ((adaptive, include_positive), form, parametrisation) in cases {
        let a = Amcl {
            adaptive,
            include_positive,
            parametrisation,
            tau0: 0.3,
            ..form
        };
        let dims = [3, 70, 12];
        let want = run(&mut HostExecutor::<f64>::new(), dims, &a, Path::Matrix);
        let weights = match (adaptive, parametrisation) {
            (Adaptive::None, _) => 0,
            (_, Parametrisation::Dot) => 1,
            (_, Parametrisation::Centred) => 2,
        };
        assert_eq!(want.len(), 2 + weights, "{adaptive:?}: loss, dz, dw, dgain");
        // f64: rounding of sums of 70 terms. f32: the same, of terms up to 20 times the result, through 4 ops each way.
        let mut executors: [(&str, f64, Box<dyn Executor>); 3] = [
            ("f64", 1e-12, Box::new(HostExecutor::<f64>::new())),
            ("f32", 1e-4, Box::new(HostExecutor::<f32>::new())),
            ("gpu", 1e-4, Box::new(GpuExecutor::new(device.clone()))),
        ];
        for (kind, bound, exec) in &mut executors {
            let got = run(exec.as_mut(), dims, &a, Path::Stream);
            for (k, (x, y)) in got.iter().zip(&want).enumerate() {
                let worst = apart(x, y);
                assert!(worst <= *bound, "{a:?} {kind} result {k}: {worst:.2e}");
            }
        }
    }
}

/// The mean score depends on every feature. A gradient that takes it for a constant is told from the right one by the
/// bounds above, at the same loss; in f64 and on a device.
#[test]
fn a_gradient_without_the_means_part_is_noticed() {
    let dims = [3, 70, 12];
    let a = Amcl {
        parametrisation: Parametrisation::Centred,
        tau0: 0.3,
        ..Amcl::default()
    };
    let control = || {
        let mut g = Graph::new();
        let z = g.input("z", TensorType::f32(dims));
        let w = g.input("w", TensorType::f32([dims[2], dims[2]]));
        let gain = g.input("gain", TensorType::f32([1]));
        let unit = g.l2_normalize(z).unwrap();
        let features = g.push1(Gemm::default(), &[unit, w]).unwrap();
        let p = g.l2_normalize(features).unwrap();
        let products = g.matmul_nt(p, p).unwrap();
        let offset = a.score_at_mean();
        let square = true;
        let scores = g.push(CentreScores { square, offset }, &[products, gain]);
        // No gradient passes through the mean that this op gives beside the scores.
        let mean = scores.unwrap()[1];
        let op = AmclStream {
            form: AmclForm {
                top_k: false,
                warmup: false,
                official_sum: false,
                adaptive_pos: true,
                adaptive_neg: true,
                include_positive: true,
                beta: a.beta,
                eta: a.tau_min,
                iota: a.range(),
                tau_const: a.tau_const,
            },
            centre: Some(offset),
            share: Share::WHOLE,
        };
        let each = g.push(op, &[unit, p, gain, mean]).unwrap()[0];
        let loss = g.scaled_sum(each, 1.0 / dims[1] as f64).unwrap();
        let grads = ops::backward(&mut g, loss, &[z, w, gain]).unwrap();
        let grads = grads.into_iter().flatten();
        let results: Vec<TensorId> = std::iter::once(loss).chain(grads).collect();
        (g, [z, w, gain], results)
    };
    let device = device();
    let executors: [(f64, Box<dyn Executor>); 2] = [
        (1e-12, Box::new(HostExecutor::<f64>::new())),
        (1e-4, Box::new(GpuExecutor::new(device))),
    ];
    for (bound, mut exec) in executors {
        let want = run(exec.as_mut(), dims, &a, Path::Matrix);
        let (g, [z, w, gain], results) = control();
        let views = random(dims.iter().product(), 1);
        let inputs = [(z, views), (w, random(144, 2)), gain_of(gain)];
        let got = values(exec.as_mut(), &g, &inputs, &results);
        assert_eq!(got.len(), 4);
        // The loss is right, and the gradients that the mean has no part in: the gain's.
        assert!(apart(&got[0], &want[0]) <= bound && apart(&got[3], &want[3]) <= bound);
        for k in [1, 2] {
            let worst = apart(&got[k], &want[k]);
            assert!(worst > 10.0 * bound, "result {k}: {worst:.2e}");
        }
    }
}

/// The softmax form, and selections: one, some, more than there are.
fn forms() -> [Amcl; 5] {
    let form = |negatives, kappa, neg_omega| Amcl {
        negatives,
        kappa,
        neg_omega,
        ..Amcl::default()
    };
    [
        Amcl::default(),
        form(Negatives::Max, 100, NegOmega::Mean),
        form(Negatives::TopK, 7, NegOmega::Mean),
        form(Negatives::TopK, 7, NegOmega::OfficialSum),
        form(Negatives::TopK, 1000, NegOmega::Mean),
    ]
}

/// Where rows are alike, so are similarities, and which of them count must be the same ones in the selection, the
/// loss and its gradient.
#[test]
fn ties_are_told_apart_alike_by_both_paths() {
    let device = device();
    let dims = [2, 134, 8];
    let HostData::F64(few) = random(2 * 9 * 8, 5) else {
        unreachable!()
    };
    // Nine rows a head, over and over: an anchor has 14 or 15 columns of each similarity.
    let views: Vec<f64> = (0..dims.iter().product::<usize>())
        .map(|i| few[i / (134 * 8) * 72 + i / 8 % 134 % 9 * 8 + i % 8])
        .collect();
    for a in &forms()[1..4] {
        let run = |exec: &mut dyn Executor, path| {
            run_of(exec, HostData::F64(views.clone()), dims, a, path)
        };
        let want = run(&mut HostExecutor::<f64>::new(), Path::Matrix);
        let mut executors: [(&str, f64, Box<dyn Executor>); 3] = [
            ("f64", 1e-12, Box::new(HostExecutor::<f64>::new())),
            ("f32", 1e-4, Box::new(HostExecutor::<f32>::new())),
            ("gpu", 1e-4, Box::new(GpuExecutor::new(device.clone()))),
        ];
        for (kind, bound, exec) in &mut executors {
            for (k, (x, y)) in run(exec.as_mut(), Path::Stream)
                .iter()
                .zip(&want)
                .enumerate()
            {
                let worst = apart(x, y);
                assert!(worst <= *bound, "{a:?} {kind} result {k}: {worst:.2e}");
            }
        }
    }
}

/// Warm-up takes the softmax form, and ends.
#[test]
fn warm_up_is_streamed_too() {
    let dims = [2, 66, 8];
    let [softmax, _, top_k, ..] = forms();
    let warm = Amcl {
        warmup_epochs: 3,
        ..top_k
    };
    let run = |a: &Amcl, flags: u32| {
        let (g, [z, w, _], results) = graph(dims, a, Path::Stream);
        let mut exec = GpuExecutor::new(device());
        let program = exec.compile(&g, &results).unwrap();
        for (t, n) in [(z, dims.iter().product()), (w, 64)] {
            exec.upload(program, t, &random(n, 1)).unwrap();
        }
        let step = StepScalars {
            flags,
            ..StepScalars::default()
        };
        exec.run(program, &step).unwrap();
        let fetch = |t: &TensorId| exec.fetch(program, *t).unwrap().to_f64();
        results.iter().map(fetch).collect::<Vec<_>>()
    };
    let worst = |x: &[Vec<f64>], y: &[Vec<f64>]| {
        let each = x.iter().zip(y).map(|(x, y)| apart(x, y));
        each.fold(0f64, f64::max)
    };
    let (on, off) = (run(&warm, StepScalars::WARMUP), run(&warm, 0));
    assert!(worst(&on, &run(&softmax, 0)) < 1e-5);
    assert!(worst(&off, &run(&top_k, 0)) < 1e-5);
    assert!(worst(&on, &off) > 0.1, "they differ");
}

#[test]
fn memory_grows_with_the_batch_and_not_with_its_square() {
    let [softmax, _, top_k, ..] = forms();
    let selecting = |views: usize| {
        let (g, _, results) = graph([3, views, 128], &top_k, Path::Stream);
        let plan = Plan::new(&g, &results, None, &PlanOptions::default()).unwrap();
        plan.peak_bytes()
    };
    let (small, large) = (selecting(4096), selecting(65_536));
    println!("planned for 65,536 views and a selection: {large} bytes");
    assert!(large <= 16 * small && large < 12 * 3 * 65_536 * 128 * 4);
    let of_form = |a: &Amcl, views: usize, path| {
        let (g, _, results) = graph([3, views, 128], a, path);
        let plan = Plan::new(&g, &results, None, &PlanOptions::default()).unwrap();
        plan.peak_bytes()
    };
    let planned = |views, path| of_form(&softmax, views, path);
    let centred = Amcl {
        parametrisation: Parametrisation::Centred,
        ..softmax
    };
    for a in [
        &centred,
        &Amcl {
            negatives: Negatives::TopK,
            ..centred
        },
    ] {
        let [small, large] = [4096, 65_536].map(|n| of_form(a, n, Path::Auto));
        println!("planned for 65,536 views and centred scores: {large} bytes");
        assert!(large <= 16 * small && large < 12 * 3 * 65_536 * 128 * 4);
    }
    let (small, large) = (planned(4096, Path::Stream), planned(65_536, Path::Stream));
    let linear = 16 * small;
    assert!(
        large <= linear,
        "{large} bytes for 16 times the rows of {small}"
    );
    println!("planned for 65,536 views: {large} bytes");
    // Embeddings of 100 MB and what is made of them, where four matrices of all pairs would take 206 GB.
    let embeddings = 3 * 65_536 * 128 * 4;
    assert!(large < 12 * embeddings, "{large} bytes");
    assert!(planned(65_536, Path::Auto) == large);
    let small = [Path::Auto, Path::Matrix].map(|p| planned(512, p));
    assert_eq!(
        small[0], small[1],
        "a small batch keeps its matrices by default"
    );
    assert!(planned(16_384, Path::Matrix) > 12 * planned(8192, Path::Matrix) / 4);
}

#[test]
fn what_cannot_be_streamed_says_so() {
    let macl = Plain {
        tau: 0.1,
        macl: Some(Macl {
            alpha: 0.5,
            a0: 0.0,
        }),
    };
    assert!(!macl.streamable() && Plain::constant(0.1).streamable());
    let large = [3, 65_536, 128];
    let e = Path::Stream.streams(macl.streamable(), &large).unwrap_err();
    assert!(e.contains("loss.path"), "{e}");
    assert_eq!(Path::Auto.streams(macl.streamable(), &large), Ok(false));
}

/// Barlow Twins' loss and gradients.
struct Barlow {
    graph: Graph,
    /// z1, z2, w, and the gain where scores are centred.
    inputs: Vec<TensorId>,
    /// The loss, its gradients by both views and by phi's weights.
    results: Vec<TensorId>,
    /// Similarities and scores.
    looked_at: Vec<TensorId>,
}

/// Barlow Twins' loss of z1, z2 [c,b,d'], with a linear phi of weights w.
fn barlow([c, b, d]: [usize; 3], a: Option<&Amcl>, of: &Redundancy) -> Barlow {
    let mut g = Graph::new();
    let [z1, z2] = ["z1", "z2"].map(|n| g.input(n, TensorType::f32([c, b, d])));
    let w = g.input("w", TensorType::f32([b, b]));
    let centred = a.is_some_and(|a| a.parametrisation == Parametrisation::Centred);
    let gain = centred.then(|| g.input("gain", TensorType::f32([1])));
    let mut phi = |g: &mut Graph, z: TensorId| {
        let axes = [g.dims(z)[0], b, d, 1];
        let out = [axes[0], d, b].into();
        let channels = g.push1(SwapAxes { axes, out }, &[z])?;
        g.push1(Gemm::default(), &[channels, w])
    };
    let built = match a {
        None => barlow_twins(&mut g, z1, z2, of),
        Some(a) => {
            let scorer = Scorer {
                phi: &mut phi,
                gain,
            };
            amcl_barlow_twins(&mut g, z1, z2, of, a, scorer)
        }
    }
    .unwrap();
    let inputs: Vec<TensorId> = [z1, z2, w].into_iter().chain(gain).collect();
    let grads = ops::backward(&mut g, built.loss, &inputs).unwrap();
    let loss = std::iter::once(built.loss);
    let results = loss.chain(grads.into_iter().flatten()).collect();
    let looked_at = built.pairs.into_iter();
    let looked_at = looked_at.flat_map(|p| std::iter::once(p.similarity).chain(p.score));
    Barlow {
        inputs,
        results,
        looked_at: looked_at.collect(),
        graph: g,
    }
}

impl Barlow {
    /// Of random views and weights; weights such that scores are of order one.
    fn run(&self, exec: &mut dyn Executor) -> (Vec<Vec<f64>>, Vec<Vec<f64>>) {
        let of = |k: usize, size: f64| {
            let t = self.inputs[k];
            let HostData::F64(v) = random(self.graph.ty(t).elements(), 3 + k as u64) else {
                unreachable!()
            };
            (t, HostData::F64(v.into_iter().map(|x| size * x).collect()))
        };
        let mut inputs = vec![of(0, 1.0), of(1, 1.0), of(2, 0.1)];
        inputs.extend(self.inputs.get(3).map(|gain| gain_of(*gain)));
        let all = [&self.results[..], &self.looked_at].concat();
        let mut values = values(exec, &self.graph, &inputs, &all);
        let looked_at = values.split_off(self.results.len());
        (values, looked_at)
    }
}

/// No AMCL, and every pair of roles.
fn barlow_forms() -> Vec<Option<Amcl>> {
    let kinds = [
        Adaptive::Full,
        Adaptive::PositiveOnly,
        Adaptive::NegativeOnly,
        Adaptive::FirstHead,
    ];
    let form = |adaptive| {
        Some(Amcl {
            adaptive,
            beta: 0.01,
            ..Amcl::default()
        })
    };
    let dot = kinds.map(form);
    let centred = dot.map(|a| {
        a.map(|a| Amcl {
            parametrisation: Parametrisation::Centred,
            tau0: 0.5,
            ..a
        })
    });
    std::iter::once(None).chain(dot).chain(centred).collect()
}

fn redundancy(lambda: f64, path: Path) -> Redundancy {
    Redundancy {
        lambda,
        constant: [0.8, 1.5],
        standardize: Deviation::BatchNorm,
        path,
    }
}

#[test]
fn barlow_twins_has_the_same_loss_and_gradients_both_ways() {
    let device = device();
    let dims = [3, 20, 134];
    let exact = || HostExecutor::<f64>::new();
    for a in barlow_forms() {
        let of = |lambda, path| barlow(dims, a.as_ref(), &redundancy(lambda, path));
        let (want, pairs) = of(0.5, Path::Matrix).run(&mut exact());
        assert_eq!(
            want.len(),
            3 + a.map_or(0, |a| 1 + usize::from(
                a.parametrisation == Parametrisation::Centred
            )),
            "loss, dz1, dz2, dw, dgain"
        );
        // Rounding of sums of K = 134 terms, eps sqrt(K), of which 1/tau <= 20 makes up to 20^2 times as much in a
        // gradient by the temperature: 1e-12 in f64, 6e-4 in f32. The temperatures here (scores of order one) stay
        // over 0.2, so that 1/tau^2 is below 25 and f32 comes to 3.5e-5; three ops and as many sums behind it: 1e-4.
        let mut executors: [(&str, f64, Box<dyn Executor>); 3] = [
            ("f64", 1e-10, Box::new(exact())),
            ("f32", 1e-4, Box::new(HostExecutor::<f32>::new())),
            ("gpu", 1e-4, Box::new(GpuExecutor::new(device.clone()))),
        ];
        for (kind, bound, exec) in &mut executors {
            let (got, first) = of(0.5, Path::Stream).run(exec.as_mut());
            for (k, (x, y)) in got.iter().zip(&want).enumerate() {
                let worst = apart(x, y);
                assert!(worst <= *bound, "{a:?} {kind} result {k}: {worst:.2e}");
            }
            // What is looked at are the pairs of the first 128 channels.
            assert_eq!(first.len(), pairs.len());
            for (x, y) in first.iter().zip(&pairs) {
                let d = dims[2];
                let block: Vec<f64> = (0..3 * 128 * 128)
                    .map(|i| y[(i / (128 * 128) * d + i / 128 % 128) * d + i % 128])
                    .collect();
                assert!(apart(x, &block) <= *bound, "{a:?} {kind}: pairs");
            }
            // The bounds tell a loss whose lambda is a tenth off from the right one.
            let (off, _) = of(0.55, Path::Stream).run(exec.as_mut());
            assert!(
                apart(&off[0], &want[0]) > 4.0 * *bound,
                "{a:?} {kind}: loss"
            );
            assert!(apart(&off[1], &want[1]) > 4.0 * *bound, "{a:?} {kind}: dz1");
        }
    }
}

#[test]
fn barlow_twins_memory_grows_with_the_channels_and_not_with_their_square() {
    let amcl = Amcl::default();
    for a in [None, Some(&amcl)] {
        let planned = |d: usize, path| {
            let b = barlow([3, 256, d], a, &redundancy(5e-3, path));
            let all = [&b.results[..], &b.looked_at].concat();
            let plan = Plan::new(&b.graph, &all, None, &PlanOptions::default()).unwrap();
            plan.peak_bytes()
        };
        for d in [2048, 4096, 8192] {
            let [matrix, stream] = [Path::Matrix, Path::Stream].map(|p| planned(d, p));
            println!(
                "AMCL {}, d' = {d}: {matrix} bytes with matrices, {stream} streamed",
                a.is_some()
            );
        }
        let stream = [2048, 4096, 8192].map(|d| planned(d, Path::Stream));
        assert!(
            stream[1] <= 2 * stream[0] && stream[2] <= 2 * stream[1],
            "{stream:?}"
        );
        // Matrices of 3 x 4096 x 4096 take 201 MB each.
        let matrix = [2048, 4096].map(|d| planned(d, Path::Matrix));
        assert!(
            matrix[1] > 3 * matrix[0] && matrix[1] > 2 * stream[1],
            "{matrix:?} {stream:?}"
        );
        // 3 x 2048 x 2048 numbers are 50 MB, below the threshold of 128 MiB.
        assert_eq!(planned(2048, Path::Auto), matrix[0]);
        assert_eq!(planned(4096, Path::Auto), stream[1]);
    }
}

#[test]
fn the_configuration_knows_which_losses_stream() {
    let config = |name: &str, parametrisation, adaptive| {
        let mut c = Config::default();
        c.method.name = name.into();
        (c.loss.path, c.heads.out, c.amcl.enabled) = (Path::Stream, 4096, true);
        c.amcl.switches.parametrisation = parametrisation;
        c.amcl.switches.adaptive = adaptive;
        c
    };
    let (dot, centred) = (Parametrisation::Dot, Parametrisation::Centred);
    let images = config("simclr", centred, Adaptive::Full);
    method::method(&images).unwrap();
    assert!(method::streams(&images));
    let barlow = config("barlow_twins", dot, Adaptive::Full);
    method::method(&barlow).unwrap();
    assert!(method::streams(&barlow));
    let mut small = barlow;
    (small.loss.path, small.heads.count) = (Path::Auto, 3);
    assert!(method::streams(&small));
    small.heads.out = 512;
    assert!(!method::streams(&small));
    for adaptive in [Adaptive::None, Adaptive::Full] {
        let c = config("barlow_twins", centred, adaptive);
        method::method(&c).unwrap();
        assert!(method::streams(&c));
    }
    let e = method::method(&config("moco", dot, Adaptive::Full));
    let e = e.err().unwrap().to_string();
    assert!(e.contains("loss.path"), "{e}");
}
