//! Optimisers against PyTorch's AdamW and MAE's LARS, and learning rates by layer against the tables of MAE's
//! fine-tuning and of layer-grafted pre-training (tests/golden/optim; the files say how they were made).

use amcl_wgpu::config::{Config, Decays, Optim, TrustNorm};
use amcl_wgpu::device::{Choice, Device, Options};
use amcl_wgpu::graph::gpu::GpuExecutor;
use amcl_wgpu::graph::host::HostExecutor;
use amcl_wgpu::graph::{Executor, Graph, HostData, StepScalars};
use amcl_wgpu::nn::model::{Init, Layout};
use amcl_wgpu::nn::{Mode, Model, Net};
use amcl_wgpu::train::optimizer::{GRADS, Optimizer};
use safetensors::SafeTensors;
use serde_json::Value;
use std::collections::BTreeMap;

/// The tensors of a file, and what its header says.
fn read(name: &str) -> (BTreeMap<String, Vec<f64>>, Value) {
    let path = format!(
        "{}/tests/golden/optim/{name}.safetensors",
        env!("CARGO_MANIFEST_DIR")
    );
    let bytes = std::fs::read(path).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let meta = header.metadata().as_ref().unwrap()["meta"].clone();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let of = |t: &safetensors::tensor::TensorView<'_>| match t.dtype() {
        safetensors::Dtype::F64 => bytemuck::pod_collect_to_vec::<u8, f64>(t.data()),
        _ => bytemuck::pod_collect_to_vec::<u8, f32>(t.data())
            .into_iter()
            .map(f64::from)
            .collect(),
    };
    let all = file.tensors().into_iter();
    let all = all.map(|(name, t)| (name, of(&t)));
    (all.collect(), serde_json::from_str(&meta).unwrap())
}

/// Parameters of the file and their dimensions.
const PARAMS: [(&str, &[usize]); 3] = [
    ("weight", &[5, 7]),
    ("bias", &[5]),
    ("zero_weight", &[3, 4]),
];

/// Four steps from the file's start with its gradients; the parameters after them, in the order of [`PARAMS`].
fn after(o: &Optim, exec: &mut dyn Executor) -> Vec<f64> {
    let (file, _) = read("optimizer");
    let (mut unused, mut model) = (Graph::new(), Model::default());
    let mut net = Net::new(&mut unused, &mut model, Mode::Train);
    for (name, dims) in PARAMS {
        net.param(name, dims, Init::Constant(0.0), Layout::Plain);
    }
    let (g, optimizer) = Optimizer::graph(o, &mut model).unwrap();
    exec.allocate_states(&model.states).unwrap();
    let optimizer = optimizer.compile(&g, o, &[], &model, exec).unwrap();
    let write = |id, values: &[f64], exec: &mut dyn Executor| {
        let values = HostData::F64(values.to_vec());
        exec.write_state(&model.states, id, &values).unwrap();
    };
    for p in &model.params {
        write(p.id, &file[&format!("param.{}", p.name)], exec);
    }
    for step in 0..4 {
        for p in &model.params {
            let all = &file[&format!("grads.{}", p.name)];
            let each = all.len() / 4;
            let grad = model.states.counterpart(p.id, GRADS).unwrap();
            write(grad, &all[step * each..(step + 1) * each], exec);
        }
        let scalars = StepScalars {
            step: step as u32,
            lr: o.rate(),
            ..StepScalars::default()
        };
        exec.run(optimizer.program, &scalars).unwrap();
    }
    let read = |id| exec.read_state(&model.states, id).unwrap().to_f64();
    let mut read = read;
    model.params.iter().flat_map(|p| read(p.id)).collect()
}

fn relative(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let square = |x: f64| x * x;
    let distance: f64 = a.iter().zip(b).map(|(a, b)| square(a - b)).sum();
    (distance / b.iter().map(|b| b * b).sum::<f64>()).sqrt()
}

fn adamw() -> Optim {
    Optim {
        name: "adamw".into(),
        lr: 0.01,
        betas: [0.9, 0.95],
        weight_decay: 0.05,
        decay: Decays::NoVectors,
        clip: 0.0,
        ..Optim::default()
    }
}

fn lars() -> Optim {
    Optim {
        name: "lars".into(),
        lr: 0.4,
        weight_decay: 0.01,
        trust: 1e-3,
        trust_norm: TrustNorm::Step,
        clip: 0.0,
        ..Optim::default()
    }
}

/// The files hold f32, so f64 is held to their rounding, 2e-7. An f32 run rounds a parameter twice in each of four
/// steps, to 6e-8 of it: 5e-7.
#[test]
fn four_steps_of_adamw_and_lars() {
    let (file, meta) = read("optimizer");
    assert_eq!(meta["config"]["adamw"]["weight_decay"], 0.05);
    let lavapipe = || {
        let device = Device::open(&Choice::Name("llvmpipe".into()), Options::default());
        GpuExecutor::new(device.expect("lavapipe"))
    };
    for (kind, o, wrong) in [
        (
            "adamw",
            adamw(),
            vec![
                Optim {
                    decay: Decays::All,
                    ..adamw()
                },
                Optim {
                    clip: 1.0,
                    ..adamw()
                },
            ],
        ),
        (
            "lars",
            lars(),
            vec![
                Optim {
                    trust_norm: TrustNorm::Sum,
                    ..lars()
                },
                Optim {
                    momentum: 0.8,
                    ..lars()
                },
            ],
        ),
    ] {
        let want: Vec<f64> = PARAMS
            .iter()
            .flat_map(|(name, _)| file[&format!("{kind}.{name}")].clone())
            .collect();
        let exact = after(&o, &mut HostExecutor::<f64>::new());
        assert!(relative(&exact, &want) < 2e-7, "{kind} in f64");
        for got in [
            after(&o, &mut HostExecutor::<f32>::new()),
            after(&o, &mut lavapipe()),
        ] {
            let off = relative(&got, &want);
            assert!(off < 5e-7, "{kind} in f32: {off}");
        }
        // The controls: another rule is seen.
        for o in wrong {
            let off = relative(&after(&o, &mut HostExecutor::<f64>::new()), &want);
            assert!(off > 1e-6, "{o:?}: {off}");
        }
    }
}

/// Rates by layer of a network of 12 blocks, and which layer a parameter belongs to.
#[test]
fn rates_by_layer_of_twelve_blocks() {
    let (file, meta) = read("lr_table_12");
    let of = |set: &[&str]| {
        let mut all = vec!["model.encoder=vit_tiny".to_string()];
        all.push("optim.batch_size=4096".into());
        all.extend(set.iter().map(ToString::to_string));
        let c = Config::parse("", &all).unwrap();
        let encoder = c.backbone().unwrap();
        let scales = c.optim.layer_scales(encoder.as_ref()).unwrap();
        (scales, f64::from(c.optim.rate()), encoder)
    };
    let lgp = [
        "optim.layer_rates=[1.5e-5, 1.5e-5, 1.5e-4]",
        "optim.blr=1.0",
    ];
    let decay = ["optim.layer_decay=0.65", "optim.blr=5e-4"];
    for (kind, set) in [("lgp", lgp), ("layer_decay", decay)] {
        let (scales, rate, encoder) = of(&set);
        assert!(
            relative(&scales, &file[&format!("{kind}_scale")]) < 1e-10,
            "{kind}"
        );
        // The rate is an f32.
        let peak: Vec<f64> = scales.iter().map(|s| s * rate).collect();
        assert!(
            relative(&peak, &file[&format!("{kind}_peak_lr")]) < 1e-7,
            "{kind}"
        );
        let (mut g, mut m) = (Graph::new(), Model::default());
        encoder.layers(&mut Net::new(&mut g, &mut m, Mode::Train));
        let mut met = 0;
        for p in &m.params {
            if let Some(id) = meta["layer_ids"][&p.file_name].as_u64() {
                assert_eq!(p.layer as u64, id, "{}", p.name);
                met += 1;
            }
        }
        assert!(met >= 15, "{met} names of the file are the encoder's");
    }
    // The control.
    let (other, ..) = of(&["optim.layer_decay=0.651"]);
    assert!(relative(&other, &file["layer_decay_scale"]) > 1e-4);
}
