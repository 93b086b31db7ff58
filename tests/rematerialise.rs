//! What the backward pass recomputes is what the forward pass had, to the bit.

use crate::common;

use amcl_wgpu::config::Config;
use amcl_wgpu::data::shapes;
use amcl_wgpu::device::{Choice, Device, Options};
use amcl_wgpu::graph::gpu::GpuExecutor;
use amcl_wgpu::graph::host::HostExecutor;
use amcl_wgpu::graph::{Executor, Graph, HostData, StepScalars, TensorType};
use amcl_wgpu::ops::batch_norm::BatchNorm;
use amcl_wgpu::ops::{cast_f16::CastF16, cast_f32::CastF32};
use amcl_wgpu::reference::philox::{Purpose, Stream};
use amcl_wgpu::train::optimizer::GRADS;
use amcl_wgpu::train::session::Session;
use common::settings_of;

/// y of a batch norm with ReLU over [16,9,8,c], and y recomputed.
fn both(exec: &mut dyn Executor, c: usize, half: bool) -> [Vec<f64>; 2] {
    let mut g = Graph::new();
    let x = g.input("x", TensorType::f32([16, 9, 8, c]));
    let [gamma, beta] = ["gamma", "beta"].map(|n| g.input(n, TensorType::f32([c])));
    let of = match half {
        true => g.push1(CastF16, &[x]).unwrap(),
        false => x,
    };
    let norm = BatchNorm {
        eps: 1e-5,
        relu: true,
        residual: false,
    };
    let y = g.push1(norm, &[of, gamma, beta]).unwrap();
    let node = g.node(g.producer(y).unwrap());
    let (op, inputs) = node.op.rematerialise(node).unwrap();
    let copy = g.push_arc(op, &inputs, &[]).unwrap()[0];
    let results = [y, copy].map(|t| match half {
        true => g.push1(CastF32, &[t]).unwrap(),
        false => t,
    });
    let program = exec.compile(&g, &results).unwrap();
    let mut random = Stream::new(c as u64, 0, 0, Purpose::Init);
    for t in [x, gamma, beta] {
        let values = (0..g.ty(t).elements()).map(|_| random.normal()).collect();
        exec.upload(program, t, &HostData::F32(values)).unwrap();
    }
    exec.run(program, &StepScalars::default()).unwrap();
    results.map(|t| exec.fetch(program, t).unwrap().to_f64())
}

#[test]
fn a_recomputed_result_has_the_same_bits() {
    let name = std::env::var("AMCL_TEST_DEVICE").unwrap_or_else(|_| "llvmpipe".into());
    let choice: Choice = name.parse().unwrap();
    let open = |limits| {
        let options = Options {
            max_binding: limits,
            ..Options::default()
        };
        Device::open(&choice, options)
            .unwrap_or_else(|e| panic!("this test needs a Vulkan adapter: {e}"))
    };
    // As a whole, and in pieces of 256 KiB.
    let devices = [None, Some(1 << 18)].map(open);
    for half in [false, true] {
        for c in [5, 64, 260] {
            let mut executors: Vec<Box<dyn Executor>> = vec![Box::new(HostExecutor::<f32>::new())];
            for d in devices.iter().filter(|d| !half || d.limits.f16) {
                executors.push(Box::new(GpuExecutor::new(d.clone())));
            }
            for exec in &mut executors {
                let [y, copy] = both(exec.as_mut(), c, half);
                assert_eq!(y, copy, "{} {c} {half}", exec.name());
                let positive = y.iter().filter(|v| **v > 0.0).count();
                let share = positive as f64 / y.len() as f64;
                assert!((0.2..0.8).contains(&share), "{share}");
            }
        }
    }
}

#[test]
fn other_norms_are_kept() {
    for (relu, residual) in [(false, false), (true, true), (false, true)] {
        let mut g = Graph::new();
        let x = g.input("x", TensorType::f32([2, 3, 3, 4]));
        let v = g.input("v", TensorType::f32([4]));
        let norm = BatchNorm {
            eps: 1e-5,
            relu,
            residual,
        };
        let mut inputs = vec![x, v, v];
        inputs.extend(residual.then_some(x));
        let y = g.push1(norm, &inputs).unwrap();
        let node = g.node(g.producer(y).unwrap());
        assert!(
            node.op.rematerialise(node).is_none(),
            "relu {relu}, {residual}"
        );
    }
}

/// Gradient of a Vision Transformer's first step, and the bytes planned for it.
fn of_vit(
    recompute: &str,
    precision: &str,
    depth: usize,
    exec: Box<dyn Executor>,
) -> (Vec<f64>, usize) {
    let own = [
        format!("model.recompute={recompute}"),
        format!("model.depth={depth}"),
        format!("optim.precision={precision}"),
    ];
    let mut set: Vec<&str> = own.iter().map(String::as_str).collect();
    set.extend([
        "method.name=simclr",
        "model.encoder=vit_tiny",
        "model.dim=24",
        "model.heads=2",
        "model.image_size=16",
        "optim.batch_size=16",
        "heads.hidden=16",
        "heads.out=8",
    ]);
    let c = Config::parse("", &settings_of(&set)).unwrap();
    let data = shapes::generate(3, 16, 4).train;
    let ids: Vec<u32> = (0..16).collect();
    let mut s = Session::new(&c, exec, &data).unwrap();
    let planned = s.memory().training_step;
    let step = s.start(&data, &ids, &StepScalars::default()).unwrap();
    s.finish(&step).unwrap();
    let grads = s.model.states.whole(GRADS).unwrap();
    let values = s.exec.read_state(&s.model.states, grads).unwrap().to_f64();
    (values, planned)
}

#[test]
fn recomputing_changes_no_bit_of_a_gradient_and_needs_less_memory() {
    let name = std::env::var("AMCL_TEST_DEVICE").unwrap_or_else(|_| "llvmpipe".into());
    let choice: Choice = name.parse().unwrap();
    let device = Device::open(&choice, Options::default());
    let device = device.unwrap_or_else(|e| panic!("this test needs a Vulkan adapter: {e}"));
    for (gpu, precision) in [
        (false, "f32"),
        (false, "mixed"),
        (true, "f32"),
        (true, "mixed"),
    ] {
        let run = |recompute, depth| {
            let exec: Box<dyn Executor> = match gpu {
                true => Box::new(GpuExecutor::new(device.clone())),
                false => Box::new(HostExecutor::<f32>::new()),
            };
            of_vit(recompute, precision, depth, exec)
        };
        let modes = ["none", "pointwise", "blocks"];
        let [none, pointwise, blocks] = modes.map(|m| run(m, 2).0);
        assert!(none.iter().any(|v| *v != 0.0) && none.iter().all(|v| v.is_finite()));
        assert!(none == pointwise && none == blocks, "{precision}");
        // Widths of a token that a further block keeps, as f32: input, norm, queries with keys and values, attention's
        // result, its input to the MLP, norm, and the MLP's four and four are 16; without norms and GELU 10; the input
        // is 1. The log-sum-exps and the norms' rows are 6 numbers more, of 24 a width. In mixed precision all but the
        // two inputs are halves, and the result of attention is there in one form.
        let kept = |mode| {
            let of = |depth| run(mode, depth).1;
            (of(10) - of(6)) as f64 / 4.0 / (32 * 17 * 24 * 4) as f64
        };
        let widths = match precision {
            "f32" => [16.0, 10.0, 1.0],
            _ => [9.0, 6.0, 1.0],
        };
        for (mode, widths) in modes.into_iter().zip(widths) {
            let found = kept(mode);
            assert!(
                (found - widths).abs() < 0.6,
                "{precision} {mode}: {found} of {widths}"
            );
        }
    }
}
