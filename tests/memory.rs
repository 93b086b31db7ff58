//! Memory that tensors and programs share: side by side in a buffer, one program in what another left, a gradient in
//! the optimiser's state.

use amcl_wgpu::device::{Choice, Device, Options};
use amcl_wgpu::graph::gpu::GpuExecutor;
use amcl_wgpu::graph::host::HostExecutor;
use amcl_wgpu::graph::{
    Executor, Graph, HostData, StateId, States, StepScalars, TensorId, TensorType,
};
use amcl_wgpu::nn::model::PARAMS;
use amcl_wgpu::ops::accumulate::Accumulate;
use amcl_wgpu::ops::add::Add;
use amcl_wgpu::ops::batch_norm::BatchNorm;
use amcl_wgpu::ops::scale::Scale;
use amcl_wgpu::ops::{self, conv2d::Conv2d, relu::Relu, sum_all::SumAll};
use amcl_wgpu::train::optimizer::GRADS;
use std::sync::Arc;

/// Layers that halve their images, and the gradient by the first weights.
fn network(side: usize) -> (Graph, Vec<TensorId>, Vec<TensorId>) {
    let mut g = Graph::new();
    let x = g.input("x", TensorType::f32([2, side, side, 8]));
    let w = g.input("w", TensorType::f32([8, 3, 3, 8]));
    let mut y = x;
    for stride in [1, 2, 1, 2, 1] {
        let conv = Conv2d { stride, padding: 1 };
        y = g.push1(conv, &[y, w]).unwrap();
        y = g.push1(Relu, &[y]).unwrap();
    }
    let loss = g.push1(SumAll, &[y]).unwrap();
    let dw = ops::backward(&mut g, loss, &[w]).unwrap()[0].unwrap();
    (g, vec![x, w], vec![loss, dw])
}

fn values(seed: usize, n: usize) -> HostData {
    let value = |i: usize| ((i * 7919 + seed * 31) % 1009) as f32 / 2018.0 - 0.24;
    HostData::F32((0..n).map(value).collect())
}

fn adapter() -> Arc<Device> {
    let name = std::env::var("AMCL_TEST_DEVICE").unwrap_or_else(|_| "llvmpipe".into());
    let choice: Choice = name.parse().unwrap();
    Device::open(&choice, Options::default())
        .unwrap_or_else(|e| panic!("this test needs a Vulkan adapter: {e}"))
}

#[test]
fn tensors_and_programs_share_buffers_without_touching_each_other() {
    let device = adapter();
    let graphs = [network(32), network(16)];
    let mut shared = GpuExecutor::new(device.clone());
    // Memory of its own for every tensor: what must come out.
    let mut own = GpuExecutor::new(device).guarded();
    let compile =
        |exec: &mut GpuExecutor| [0, 1].map(|i| exec.compile(&graphs[i].0, &graphs[i].2).unwrap());
    let (ours, theirs) = (compile(&mut shared), compile(&mut own));
    let first = shared.plan(ours[0]);
    let beside = first.placement.values().any(|s| s.offset > 0);
    assert!(beside, "nothing lies behind another tensor");
    let second = shared.plan(ours[1]);
    assert!(second.slots.iter().any(|s| s.pool.is_some()));
    assert!(second.peak_bytes() < second.bytes());
    assert!(own.plan(theirs[1]).slots.iter().all(|s| s.pool.is_none()));

    let run = |exec: &mut GpuExecutor, programs: [_; 2]| {
        let mut tickets = Vec::new();
        // In turns, and not waited for in between.
        for round in 0..3 {
            for (p, (g, inputs, results)) in programs.into_iter().zip(&graphs) {
                for (i, t) in inputs.iter().enumerate() {
                    let data = values(round + i, g.ty(*t).elements());
                    exec.upload(p, *t, &data).unwrap();
                }
                exec.run(p, &StepScalars::default()).unwrap();
                tickets.push(exec.fetch_later(p, results).unwrap());
            }
        }
        let collect = |t| exec.collect(&t, true).unwrap().unwrap();
        let all = tickets.into_iter().map(collect);
        all.map(|r| r.iter().map(HostData::to_f64).collect::<Vec<_>>())
            .collect::<Vec<_>>()
    };
    let (got, want) = (run(&mut shared, ours), run(&mut own, theirs));
    assert_eq!(got, want, "the same kernels on the same values");
    // Rounds differ, so results left over from another would show.
    assert_ne!(got[0], got[2]);
    assert!(got.iter().all(|r| r[0][0] > 0.0));
}

/// Weights and a norm's two parameters, and a group like theirs for their gradients.
fn parameters() -> (States, [StateId; 3]) {
    let mut states = States::new();
    let shapes: [(&str, &[usize]); 3] = [("w", &[8, 3, 3, 8]), ("gamma", &[8]), ("beta", &[8])];
    let ids = shapes.map(|(name, shape)| states.add(PARAMS, name, TensorType::f32(shape)));
    states.mirror(PARAMS, GRADS);
    (states, ids)
}

/// A convolution with batch norm, and the gradients by the parameters.
fn normed(states: &States, params: [StateId; 3]) -> (Graph, TensorId, TensorId, [TensorId; 3]) {
    let mut g = Graph::new();
    let x = g.input("x", TensorType::f32([2, 8, 8, 8]));
    let [w, gamma, beta] = params.map(|id| g.state(states, id));
    let conv = Conv2d {
        stride: 1,
        padding: 1,
    };
    let norm = BatchNorm {
        eps: 1e-5,
        relu: true,
        residual: false,
    };
    let y = g.push1(conv, &[x, w]).unwrap();
    let y = g.push1(norm, &[y, gamma, beta]).unwrap();
    let loss = g.push1(SumAll, &[y]).unwrap();
    let grads = ops::backward(&mut g, loss, &[w, gamma, beta]).unwrap();
    let grads = [0, 1, 2].map(|i| grads[i].unwrap());
    (g, x, loss, grads)
}

/// What three runs leave in the gradients' group.
fn left_by(exec: &mut dyn Executor, copied: bool) -> (Vec<Vec<f64>>, usize) {
    let (states, params) = parameters();
    let (mut g, x, loss, grads) = normed(&states, params);
    for (d, p) in grads.iter().zip(params) {
        let id = states.counterpart(p, GRADS).unwrap();
        if copied {
            let acc = g.state(&states, id);
            g.push_updating(Accumulate, &[*d], &[acc]).unwrap();
        } else {
            // Two of them are results of one node, in one buffer.
            assert!(g.write_into(*d, &states, id));
        }
    }
    exec.allocate_states(&states).unwrap();
    for (i, id) in params.into_iter().enumerate() {
        let n = states.entry(id).ty.elements();
        exec.write_state(&states, id, &values(i, n)).unwrap();
    }
    let program = exec.compile(&g, &[loss]).unwrap();
    let all = states.whole(GRADS).unwrap();
    let run = |round: usize| {
        exec.upload(program, x, &values(10 + round, 2 * 8 * 8 * 8))
            .unwrap();
        exec.run(program, &StepScalars::default()).unwrap();
        exec.read_state(&states, all).unwrap().to_f64()
    };
    let left = (0..3).map(run).collect();
    (left, exec.plan(program).peak_bytes())
}

#[test]
fn gradients_written_into_states_are_those_that_were_copied() {
    let gpu = || GpuExecutor::new(adapter());
    let host = || HostExecutor::<f32>::new().poisoned();
    let pairs: [[Box<dyn Executor>; 2]; 3] = [
        [Box::new(host()), Box::new(host())],
        [Box::new(gpu().guarded()), Box::new(gpu().guarded())],
        [Box::new(gpu()), Box::new(gpu())],
    ];
    for (own, [mut here, mut there]) in [true, true, false].into_iter().zip(pairs) {
        let (got, bytes) = left_by(here.as_mut(), false);
        let (want, copied) = left_by(there.as_mut(), true);
        assert_eq!(got, want, "the same kernels on the same values");
        assert!(got.iter().all(|g| g.iter().any(|v| *v != 0.0)));
        assert_ne!(got[0], got[2], "a run leaves its own");
        // Where every tensor has memory of its own, the three gradients have none.
        let grads = 4 * (8 * 3 * 3 * 8 + 8 + 8);
        assert!(!own || bytes + grads == copied, "{bytes} bytes, {copied}");
        assert!(bytes <= copied, "{bytes} bytes, {copied}");
    }
}

#[test]
fn a_tensor_is_written_into_a_state_only_where_nothing_else_needs_it_elsewhere() {
    let (states, params) = parameters();
    let grad = |i: usize| states.counterpart(params[i], GRADS).unwrap();
    let fresh = || normed(&states, params);
    let (mut g, x, _, [dw, dgamma, dbeta]) = fresh();
    // No node's result; another type; then once, and not a second time, nor another tensor in its place.
    assert!(!g.write_into(x, &states, grad(0)));
    assert!(!g.write_into(dw, &states, grad(1)));
    assert!(g.write_into(dgamma, &states, grad(1)));
    assert!(!g.write_into(dgamma, &states, grad(2)));
    assert!(!g.write_into(dbeta, &states, grad(1)));
    assert!(g.write_into(dbeta, &states, grad(2)));
    // A tensor that is read.
    let (mut g, .., [dw, _, _]) = fresh();
    g.push1(Scale { factor: 2.0 }, &[dw]).unwrap();
    assert!(!g.write_into(dw, &states, grad(0)));
    // A state that the graph reads or updates itself.
    let (mut g, .., [dw, _, _]) = fresh();
    g.state(&states, grad(0));
    assert!(!g.write_into(dw, &states, grad(0)));
    // One whose group the graph has as a whole.
    let (mut g, .., [dw, _, _]) = fresh();
    g.state(&states, states.whole(GRADS).unwrap());
    assert!(!g.write_into(dw, &states, grad(0)));
    // A node that reads the group.
    let (mut g, .., [_, dgamma, _]) = fresh();
    let beside = g.state(&states, grad(2));
    let sum = g.push1(Add, &[beside, dgamma]).unwrap();
    assert!(!g.write_into(sum, &states, grad(1)));
}
