//! Memory that tensors and programs share on a GPU: side by side in a buffer, and one program in what another left.

use amcl_wgpu::device::{Choice, Device, Options};
use amcl_wgpu::graph::gpu::GpuExecutor;
use amcl_wgpu::graph::{Executor, Graph, HostData, StepScalars, TensorId, TensorType};
use amcl_wgpu::ops::{self, conv2d::Conv2d, relu::Relu, sum_all::SumAll};

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

#[test]
fn tensors_and_programs_share_buffers_without_touching_each_other() {
    let name = std::env::var("AMCL_TEST_DEVICE").unwrap_or_else(|_| "llvmpipe".into());
    let choice: Choice = name.parse().unwrap();
    let device = Device::open(&choice, Options::default())
        .unwrap_or_else(|e| panic!("this test needs a Vulkan adapter: {e}"));
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
