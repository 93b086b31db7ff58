//! The streamed loss: the same numbers as with matrices of all pairs, and memory that grows with the batch.

use amcl_wgpu::device::{Choice, Device, Options};
use amcl_wgpu::graph::gpu::GpuExecutor;
use amcl_wgpu::graph::host::HostExecutor;
use amcl_wgpu::graph::plan::{Plan, PlanOptions};
use amcl_wgpu::graph::{Executor, Graph, GraphError, HostData, StepScalars, TensorId, TensorType};
use amcl_wgpu::methods::loss::contrastive::amcl;
use amcl_wgpu::methods::loss::macl::Macl;
use amcl_wgpu::methods::loss::{Adaptive, Amcl, Negatives, Parametrisation, Path, Plain, Scorer};
use amcl_wgpu::ops;
use amcl_wgpu::ops::gemm::Gemm;
use amcl_wgpu::reference::philox::{Purpose, Stream};

/// The loss of z, with a linear phi of weights w; the tensors [loss, dz, dw].
fn graph(dims: [usize; 3], a: &Amcl, path: Path) -> (Graph, [TensorId; 2], Vec<TensorId>) {
    let mut g = Graph::new();
    let z = g.input("z", TensorType::f32(dims));
    let w = g.input("w", TensorType::f32([dims[2], dims[2]]));
    let mut phi = |g: &mut Graph, z: TensorId| g.push1(Gemm::default(), &[z, w]);
    let scorer = Scorer {
        phi: &mut phi,
        gain: None,
    };
    let loss = amcl(&mut g, z, a, scorer, path).unwrap().loss;
    let grads = ops::backward(&mut g, loss, &[z, w]).unwrap();
    let results = std::iter::once(loss)
        .chain(grads.into_iter().flatten())
        .collect();
    (g, [z, w], results)
}

fn random(n: usize, seed: u64) -> HostData {
    let mut s = Stream::new(seed, 0, 0, Purpose::Init);
    HostData::F64((0..n).map(|_| f64::from(s.normal())).collect())
}

fn run(exec: &mut dyn Executor, dims: [usize; 3], a: &Amcl, path: Path) -> Vec<Vec<f64>> {
    let (g, [z, w], results) = graph(dims, a, path);
    let program = exec.compile(&g, &results).unwrap();
    exec.upload(program, z, &random(dims.iter().product(), 1))
        .unwrap();
    exec.upload(program, w, &random(dims[2] * dims[2], 2))
        .unwrap();
    exec.run(program, &StepScalars::default()).unwrap();
    let fetch = |t: &TensorId| exec.fetch(program, *t).map(|d| d.to_f64());
    results
        .iter()
        .map(fetch)
        .collect::<Result<_, GraphError>>()
        .unwrap()
}

#[test]
fn both_paths_give_the_same_loss_and_gradients() {
    let name = std::env::var("AMCL_TEST_DEVICE").unwrap_or_else(|_| "llvmpipe".into());
    let choice: Choice = name.parse().unwrap();
    let device = Device::open(&choice, Options::default())
        .unwrap_or_else(|e| panic!("this test needs a Vulkan adapter: {e}"));
    let kinds = [
        Adaptive::Full,
        Adaptive::None,
        Adaptive::PositiveOnly,
        Adaptive::NegativeOnly,
        Adaptive::FirstHead,
    ];
    for (adaptive, include_positive) in kinds.into_iter().flat_map(|k| [(k, true), (k, false)]) {
        let a = Amcl {
            adaptive,
            include_positive,
            ..Amcl::default()
        };
        let dims = [3, 70, 12];
        let want = run(&mut HostExecutor::<f64>::new(), dims, &a, Path::Matrix);
        let weights = usize::from(adaptive != Adaptive::None);
        assert_eq!(want.len(), 2 + weights, "{adaptive:?}: loss, dz, dw");
        // f64: rounding of sums of 70 terms. f32: the same, of terms up to 20 times the result, through 4 ops each way.
        let mut executors: [(&str, f64, Box<dyn Executor>); 3] = [
            ("f64", 1e-12, Box::new(HostExecutor::<f64>::new())),
            ("f32", 1e-4, Box::new(HostExecutor::<f32>::new())),
            ("gpu", 1e-4, Box::new(GpuExecutor::new(device.clone()))),
        ];
        for (kind, bound, exec) in &mut executors {
            let got = run(exec.as_mut(), dims, &a, Path::Stream);
            for (k, (x, y)) in got.iter().zip(&want).enumerate() {
                let scale = y.iter().fold(0f64, |m, v| m.max(v.abs()));
                let worst = x.iter().zip(y).fold(0f64, |m, (x, y)| m.max((x - y).abs()));
                assert!(
                    worst <= *bound * scale,
                    "{adaptive:?} {include_positive} {kind} result {k}: {worst:.2e} of {scale:.2e}"
                );
            }
        }
    }
}

#[test]
fn memory_grows_with_the_batch_and_not_with_its_square() {
    let planned = |views: usize, path| {
        let (g, _, results) = graph([3, views, 128], &Amcl::default(), path);
        let plan = Plan::new(&g, &results, None, &PlanOptions::default()).unwrap();
        plan.peak_bytes()
    };
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
    for a in [
        Amcl {
            negatives: Negatives::Max,
            ..Amcl::default()
        },
        Amcl {
            parametrisation: Parametrisation::Centred,
            ..Amcl::default()
        },
    ] {
        let large = [3, 65_536, 128];
        let e = Path::Stream.streams(a.streamable(), &large).unwrap_err();
        assert!(e.contains("loss.path"), "{e}");
        assert_eq!(Path::Auto.streams(a.streamable(), &large), Ok(false));
    }
}
