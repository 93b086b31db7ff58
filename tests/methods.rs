//! What each method must do beside its loss: the queue is first in first out, targets stop the gradient, groups of
//! batch norm have statistics of their own. The momentum branch: `momentum.rs`; losses against their formulas:
//! `formulas.rs`; settings: `switches.rs`.

use crate::common;

use amcl_wgpu::device::{Choice, Device, Options};
use amcl_wgpu::graph::gpu::GpuExecutor;
use amcl_wgpu::graph::host::HostExecutor;
use amcl_wgpu::graph::{Executor, Graph, HostData, StepScalars, TensorType};
use amcl_wgpu::methods::Method;
use amcl_wgpu::methods::loss::{Amcl, Plain};
use amcl_wgpu::methods::moco::{Moco, QUEUE};
use amcl_wgpu::methods::simsiam::SimSiam;
use amcl_wgpu::nn::heads::{Last, Mlp};
use amcl_wgpu::nn::layers::BatchNorm as Layer;
use amcl_wgpu::nn::model::{PARAMS, STATISTICS};
use amcl_wgpu::nn::{Mode, Model, Net, Norm};
use amcl_wgpu::ops::batch_norm::BatchNorm;
use common::{B, build, net, random, read, send};

/// f64, f32 and GPU executors.
fn executors() -> Vec<Box<dyn Executor>> {
    let name = std::env::var("AMCL_TEST_DEVICE").unwrap_or_else(|_| "llvmpipe".into());
    let choice: Choice = name.parse().unwrap();
    let device = Device::open(&choice, Options::default())
        .unwrap_or_else(|e| panic!("this test needs a Vulkan adapter: {e}"));
    vec![
        Box::new(HostExecutor::<f64>::new()),
        Box::new(HostExecutor::<f32>::new()),
        Box::new(GpuExecutor::new(device)),
    ]
}

fn moco() -> Moco {
    Moco {
        regrouped: None,
        encoder: net(),
        projector: Mlp::plain(2, 8, 6),
        amcl: Some(Amcl::default()),
        temperature: Plain::constant(0.1),
        momentum: [0.99, -1.0],
        queue: 10,
        symmetric: true,
        splits: 2,
        shuffle: true,
        micro_batches: 1,
    }
}

#[test]
fn moco_fills_its_queue_round_and_round_and_reads_it_first() {
    // Eight keys a step (two calls of four), which a queue of ten holds, and one of six does not.
    let lengths = [10, 6]
        .into_iter()
        .flat_map(|n| executors().into_iter().map(move |e| (n, e)));
    for (length, mut exec) in lengths {
        let exec = exec.as_mut();
        let method = Moco {
            queue: length,
            ..moco()
        };
        let mut b = build(&method);
        let mut after = Graph::new();
        method
            .after_step(&mut Net::new(&mut after, &mut b.m, Mode::Train))
            .unwrap();
        exec.allocate_states(&b.m.states).unwrap();
        let mut fetch = vec![b.out.loss];
        fetch.extend(&b.out.keys);
        let program = exec.compile(&b.g, &fetch).unwrap();
        let after = exec.compile(&after, &[]).unwrap();
        b.m.initialise(exec, 3).unwrap();
        let queue = b.m.states.find(QUEUE, "queue").unwrap();
        // What stands where, by the rule, from the keys themselves.
        let mut want = read(exec, &b.m, queue);
        for step in 0..4u32 {
            send(exec, &b, program, u64::from(step));
            let before = want.clone();
            let scalars = StepScalars {
                step,
                ..StepScalars::default()
            };
            exec.run(program, &scalars).unwrap();
            // Its micro-batches all meet the queue as it was.
            assert_eq!(read(exec, &b.m, queue), before);
            exec.run(after, &scalars).unwrap();
            for (index, k) in b.out.keys.iter().enumerate() {
                let k = exec.fetch(program, *k).unwrap().to_f64();
                for (head, i, j) in (0..2 * B * 6).map(|t| (t / (B * 6), t / 6 % B, t % 6)) {
                    let place = ((step as usize * 2 + index) * B + i) % length;
                    want[(head * length + place) * 6 + j] = k[(head * B + i) * 6 + j];
                }
            }
            assert_eq!(read(exec, &b.m, queue), want, "{} step {step}", exec.name());
            // Read before it is updated: the same step on the queue as it was gives the same loss, on the queue as it
            // is another.
            let loss = exec.fetch(program, b.out.loss).unwrap().to_f64()[0];
            for (content, same) in [(&before, true), (&want, false)] {
                exec.write_state(&b.m.states, queue, &HostData::F64(content.clone()))
                    .unwrap();
                exec.run(program, &scalars).unwrap();
                let again = exec.fetch(program, b.out.loss).unwrap().to_f64()[0];
                assert_eq!(again == loss, same, "{} {again} {loss}", exec.name());
            }
            exec.write_state(&b.m.states, queue, &HostData::F64(want.clone()))
                .unwrap();
        }
    }
}

fn simsiam(predictor: bool) -> SimSiam {
    let mlp = |hidden, last| Mlp {
        heads: 2,
        layers: 2,
        hidden,
        out: 6,
        norm: true,
        last,
        ..Mlp::plain(2, hidden, 6)
    };
    SimSiam {
        encoder: net(),
        projector: mlp(8, Last::Norm),
        predictor: predictor.then_some(mlp(5, Last::Plain)),
        amcl: None,
    }
}

/// Predictions made constant (the last layer's weights are zero, its bias is not): what gradient is left comes
/// through the targets, and there must be none.
#[test]
fn targets_stop_the_gradient() {
    for (predictor, name) in [(true, "predictor.3.weight"), (false, "none")] {
        let b = build(&simsiam(predictor));
        let mut exec = HostExecutor::<f64>::new();
        exec.allocate_states(&b.m.states).unwrap();
        let conv =
            b.m.params
                .iter()
                .position(|p| p.name == "conv1.weight")
                .unwrap();
        let grad = b.grads[conv].unwrap();
        let program = exec.compile(&b.g, &[grad]).unwrap();
        b.m.initialise(&mut exec, 1).unwrap();
        if let Some(id) = b.m.states.find(PARAMS, name) {
            let n = b.m.states.entry(id).ty.elements();
            exec.write_state(&b.m.states, id, &HostData::F64(vec![0.0; n]))
                .unwrap();
        }
        send(&mut exec, &b, program, 5);
        exec.run(program, &StepScalars::default()).unwrap();
        let norm: f64 = exec
            .fetch(program, grad)
            .unwrap()
            .to_f64()
            .iter()
            .map(|v| v * v)
            .sum();
        // The control: without a predictor a gradient comes, through the other side.
        assert_eq!(norm == 0.0, predictor, "{name}: {norm}");
    }
}

/// Split batch norm equals batch norm of each group by itself: output and running statistics (the gradient is that of
/// its parts, each checked in the case table).
#[test]
fn groups_of_batch_norm_are_normalised_by_themselves() {
    let (n, inner, c, groups) = (8, 3, 5, 4);
    for interleaved in [false, true] {
        let of_group = |k: usize| -> Vec<usize> {
            (0..n)
                .filter(|i| {
                    if interleaved {
                        i % groups == k
                    } else {
                        i / (n / groups) == k
                    }
                })
                .collect()
        };
        for mut exec in executors() {
            let exec = exec.as_mut();
            let x = random(n * inner * c, 9).to_f64();
            let (mut g, mut m) = (Graph::new(), Model::default());
            let norm = Norm {
                groups,
                interleaved,
                track: true,
            };
            let input = g.input("x", TensorType::f32([n, inner, c]));
            let mut net = Net::new(&mut g, &mut m, Mode::Train);
            let layer = Layer::new(&mut net, "bn", c);
            let y = net.with_norm(norm, |net| layer.call_add_relu(net, input, input));
            let y = y.unwrap();
            exec.allocate_states(&m.states).unwrap();
            let program = exec.compile(&g, &[y]).unwrap();
            m.initialise(exec, 0).unwrap();
            let scale = m.states.find(PARAMS, "bn.weight").unwrap();
            exec.write_state(&m.states, scale, &HostData::F64(vec![1.5; c]))
                .unwrap();
            exec.upload(program, input, &HostData::F64(x.clone()))
                .unwrap();
            exec.run(program, &StepScalars::default()).unwrap();
            let got = exec.fetch(program, y).unwrap().to_f64();
            let (mut mean, mut var) = (vec![0.0; c], vec![0.0; c]);
            for k in 0..groups {
                let ids = of_group(k);
                let rows: Vec<usize> = ids
                    .iter()
                    .flat_map(|i| i * inner..(i + 1) * inner)
                    .collect();
                for j in 0..c {
                    let v: Vec<f64> = rows.iter().map(|r| x[r * c + j]).collect();
                    let mu = v.iter().sum::<f64>() / v.len() as f64;
                    let s2 = v.iter().map(|v| (v - mu).powi(2)).sum::<f64>() / v.len() as f64;
                    mean[j] += mu / groups as f64;
                    var[j] += s2 / groups as f64 * v.len() as f64 / (v.len() - 1) as f64;
                    for (r, v) in rows.iter().zip(&v) {
                        let want = (1.5 * (v - mu) / (s2 + 1e-5).sqrt() + v).max(0.0);
                        let e = (got[r * c + j] - want).abs();
                        assert!(e < 2e-5, "{} group {k}: {e}", exec.name());
                    }
                }
            }
            for (name, start, batch) in [("running_mean", 0.0, &mean), ("running_var", 1.0, &var)] {
                let id = m.states.find(STATISTICS, &format!("bn.{name}")).unwrap();
                for (v, b) in read(exec, &m, id).iter().zip(batch) {
                    assert!((v - (0.9 * start + 0.1 * b)).abs() < 1e-5, "{name} {v} {b}");
                }
            }
        }
    }
    // The control: as one group the outputs are others.
    let (mut g, x) = (Graph::new(), random(n * inner * c, 9));
    let input = g.input("x", TensorType::f32([n, inner, c]));
    let vectors = ["gamma", "beta"].map(|v| g.input(v, TensorType::f32([c])));
    let op = BatchNorm {
        eps: 1e-5,
        relu: false,
        residual: false,
    };
    let y = g.push(op, &[input, vectors[0], vectors[1]]).unwrap()[0];
    let mut exec = HostExecutor::<f64>::new();
    let program = exec.compile(&g, &[y]).unwrap();
    exec.upload(program, input, &x).unwrap();
    exec.upload(program, vectors[0], &HostData::F64(vec![1.0; c]))
        .unwrap();
    exec.upload(program, vectors[1], &HostData::F64(vec![0.0; c]))
        .unwrap();
    exec.run(program, &StepScalars::default()).unwrap();
    let whole = exec.fetch(program, y).unwrap().to_f64();
    let first: f64 = (0..n / groups * inner).map(|r| whole[r * c]).sum();
    assert!(
        first.abs() > 1e-3,
        "the first group's mean is its own: {first}"
    );
}

/// Without its predictor SimSiam collapses, with a loss that only looks good; the alarm says so. With it, it does not.
/// Eight epochs are few: of seeds 0 to 2, seed 1 collapses within them.
#[test]
fn a_collapse_trips_the_alarm() {
    for (predictor, collapses) in [("false", true), ("true", false)] {
        let dir = tempfile::tempdir().unwrap();
        let mut c = assert_cmd::Command::new(assert_cmd::cargo::cargo_bin!("amcl-wgpu"));
        c.args([
            "train",
            "--device",
            "cpu",
            "--no-report",
            "--epochs",
            "8",
            "--seed",
            "1",
            "--method",
            "simsiam",
        ]);
        c.args(["--batch-size", "64", "--out"])
            .arg(dir.path().join("run"));
        for set in [
            "run.knn_every=0",
            "data.shapes_train=256",
            "data.shapes_test=50",
            "schedule.warmup_epochs=0",
            "model.width=8",
            "amcl.enabled=false",
            "heads.count=1",
            "heads.hidden=64",
            "heads.out=64",
            "method.predictor_hidden=16",
        ] {
            c.args(["--set", set]);
        }
        c.args(["--set", &format!("method.predictor={predictor}")]);
        let out = c.output().unwrap();
        let text = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success(), "{text}");
        assert_eq!(text.contains("ALARM collapse"), collapses, "{text}");
    }
}
