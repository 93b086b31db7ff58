//! Mixed precision: gradients in halves, dynamic loss scaling, what a run keeps of it.

use crate::common;

use amcl_wgpu::check::self_test;
use amcl_wgpu::config::Config;
use amcl_wgpu::data::shapes;
use amcl_wgpu::device::{Choice, Device, Options};
use amcl_wgpu::graph::gpu::GpuExecutor;
use amcl_wgpu::graph::host::HostExecutor;
use amcl_wgpu::graph::{Executor, HostData, StepScalars};
use amcl_wgpu::methods::{METHODS, Spec};
use amcl_wgpu::nn::model::{MOMENTUM_COPY, PARAMS};
use amcl_wgpu::ops::tiles::TILES;
use amcl_wgpu::train::optimizer::{GRADS, MOMENTUM, SCALING};
use amcl_wgpu::train::session::Session;
use assert_cmd::Command;
use common::{relative, settings_of};
use std::path::Path;

const BATCH: usize = 16;

fn choice() -> Choice {
    let name = std::env::var("AMCL_TEST_DEVICE").unwrap_or_else(|_| "llvmpipe".into());
    name.parse().unwrap()
}

fn gpu() -> Box<dyn Executor> {
    let device = Device::open(&choice(), Options::default())
        .unwrap_or_else(|e| panic!("this test needs a Vulkan adapter: {e}"));
    assert!(device.limits.f16, "this test needs f16 in shaders");
    Box::new(GpuExecutor::new(device))
}

/// The two stems: a small one, and ImageNet's with its pooling.
const SMALL: [&str; 2] = ["model.encoder=tiny", "model.stem_stride=2"];
const LARGE: [&str; 2] = ["model.encoder=tiny", "model.stem=imagenet"];
/// A Vision Transformer.
const VIT: [&str; 2] = ["model.encoder=vit_tiny", "model.pool=mean"];

fn config(method: &str, amcl: bool, model: [&str; 2], precision: &str) -> Config {
    let heads = if amcl { 2 } else { 1 };
    let own = [
        format!("method.name={method}"),
        format!("heads.count={heads}"),
        format!("amcl.enabled={amcl}"),
        format!("optim.batch_size={BATCH}"),
        format!("optim.precision={precision}"),
    ];
    let small = [
        "model.width=8",
        "model.dim=24",
        "model.depth=3",
        "model.heads=2",
        "model.image_size=32",
        "method.decoder_dim=24",
        "method.decoder_heads=2",
        "method.decoder_depth=1",
        "method.level_dim=16",
        "method.predictor_hidden=16",
        "method.queue=32",
        "method.bn_splits=2",
        "heads.hidden=16",
        "heads.out=8",
        "amcl.phi_hidden=8",
        "run.seed=3",
    ];
    let mut set: Vec<&str> = own.iter().map(String::as_str).collect();
    set.extend(small.iter().chain(&model));
    Config::parse("", &settings_of(&set)).unwrap()
}

/// Loss and gradient of the first step on generated images, under a loss scale that suits so small a network.
/// `rounded`: with parameters rounded to halves.
fn gradient(c: &Config, exec: Box<dyn Executor>, rounded: bool) -> (f64, Vec<f64>) {
    let data = shapes::generate(3, BATCH, 4).train;
    let ids: Vec<u32> = (0..BATCH as u32).collect();
    let mut s = Session::new(c, exec, &data).unwrap();
    if let Some(id) = s.model.states.find(SCALING, "scale") {
        let value = HostData::F32(vec![1024.0]);
        s.exec.write_state(&s.model.states, id, &value).unwrap();
    }
    // A momentum encoder's weights are rounded too.
    let groups = [PARAMS, MOMENTUM_COPY].map(|group| s.model.states.whole(group));
    for params in groups.into_iter().flatten().filter(|_| rounded) {
        let exact = s.exec.read_state(&s.model.states, params).unwrap();
        let values = exact.to_f32().into_iter();
        let halves = HostData::F32(values.map(|v| half::f16::from_f32(v).to_f32()).collect());
        s.exec
            .write_state(&s.model.states, params, &halves)
            .unwrap();
    }
    let step = s.start(&data, &ids, &StepScalars::default()).unwrap();
    let done = s.finish(&step).unwrap();
    assert!(!done.failed && !done.skipped());
    let grads = s.model.states.whole(GRADS).unwrap();
    let values = s.exec.read_state(&s.model.states, grads).unwrap().to_f64();
    (f64::from(done.loss), values)
}

/// How much a rounding of 2^-11 moves a gradient depends on the network (batch norm over few pixels, embeddings that
/// hardly differ yet): it is measured, in f64 with weights rounded to halves. Mixed precision rounds activations and
/// their gradients as well, at three places for each weight tensor's one: a random walk of twice that, with twice as
/// much for chance. The control is a gradient under other weights.
#[test]
fn gradients_are_those_of_f32() {
    let mut cases = vec![
        ("simclr", true, SMALL),
        ("simclr", false, LARGE),
        ("moco", true, SMALL),
    ];
    // Weights that are rounded move all images alike, and activations each image by itself. Where images differ little,
    // as an untrained Transformer leaves them, what compares images sees the second more than the first: a factor of
    // its own, four times as large. MoCo v3, with three batch norms behind each other, shows it most: it comes to 11
    // times the weights' effect on the mean of patches, and to 15 on class tokens, which differ less.
    let model = |m: &Spec| match m.needs_vit || m.name == "mocov3" || m.name == "lgp" {
        true => VIT,
        false => SMALL,
    };
    cases.extend(METHODS.iter().map(|m| (m.name, false, model(m))));
    cases.extend([("simclr", true, VIT), ("can", true, VIT)]);
    for (method, amcl, model) in cases {
        let exact = gradient(
            &config(method, amcl, model, "f32"),
            Box::new(HostExecutor::<f64>::new()),
            false,
        );
        let factor = if model == VIT { 16.0 } else { 4.0 };
        let bound = factor * {
            let c = config(method, amcl, model, "f32");
            let by_weights = gradient(&c, Box::new(HostExecutor::<f64>::new()), true);
            relative(&by_weights.1, &exact.1)
        };
        let c = config(method, amcl, model, "mixed");
        let mut executors: Vec<Box<dyn Executor>> = vec![Box::new(HostExecutor::<f32>::new())];
        // The kernels are the same for all methods.
        if amcl || model == LARGE {
            executors.push(gpu());
        }
        for exec in executors {
            let name = format!("{method} {}", exec.name());
            let mixed = gradient(&c, exec, false);
            let e = (mixed.0 - exact.0).abs() / exact.0.abs();
            assert!(e < bound, "{name}: loss {} {}", mixed.0, exact.0);
            let e = relative(&mixed.1, &exact.1);
            println!("{name}: gradient off by {e:.1e}, bound {bound:.1e}");
            assert!(e < bound, "{name}: gradient off by {e}");
            assert!(e > 1e-6, "{name}: nothing was rounded");
        }
        let mut other = config(method, amcl, model, "f32");
        other.run.seed = 4;
        let other = gradient(&other, Box::new(HostExecutor::<f64>::new()), false);
        assert!(relative(&other.1, &exact.1) > 2.0 * bound, "{method}");
    }
}

/// From a scale far too large: steps are skipped, which leaves parameters and momentum as they are, until the
/// gradient fits; then training goes on. In f32 the same gradient is finite. Where the loss itself is not finite the
/// run ends instead.
#[test]
fn overflow_lowers_the_scale() {
    let data = shapes::generate(3, BATCH, 4).train;
    let ids: Vec<u32> = (0..BATCH as u32).collect();
    let c = config("simclr", true, SMALL, "mixed");
    for exec in [Box::new(HostExecutor::<f32>::new()), gpu()] {
        let exec: Box<dyn Executor> = exec;
        let mut s = Session::new(&c, exec, &data).unwrap();
        let find = |s: &Session, name: &str| s.model.states.find(SCALING, name).unwrap();
        let [scale, skipped] = ["scale", "skipped"].map(|n| find(&s, n));
        let params = s.model.states.whole(PARAMS).unwrap();
        let momentum = s.model.states.whole(MOMENTUM).unwrap();
        let read = |s: &mut Session, id| s.exec.read_state(&s.model.states, id).unwrap();
        assert_eq!(read(&mut s, scale).to_f32(), [65536.0]);
        let huge = 2f32.powi(36);
        let value = HostData::F32(vec![huge]);
        s.exec.write_state(&s.model.states, scale, &value).unwrap();
        let before = (read(&mut s, params), read(&mut s, momentum));
        let mut bad = 0;
        loop {
            let at = StepScalars {
                step: bad,
                lr: 0.1,
                ..StepScalars::default()
            };
            let step = s.start(&data, &ids, &at).unwrap();
            let done = s.finish(&step).unwrap();
            assert!(!done.failed && done.loss.is_finite());
            if !done.skipped() {
                break;
            }
            bad += 1;
            assert_eq!(done.scale, Some(huge / 2f32.powi(bad as i32)));
            let now = (read(&mut s, params), read(&mut s, momentum));
            assert!(now == before, "a skipped step changed something");
            assert!(bad < 36);
        }
        assert!(bad > 3, "only {bad} steps were skipped");
        assert_eq!(read(&mut s, skipped).to_f32(), [bad as f32]);
        assert!(read(&mut s, params) != before.0);
        // Not finite whatever the scale, since the loss is not: nothing is skipped, the step has failed.
        let now = read(&mut s, scale).to_f32();
        let nan = HostData::F32(vec![f32::NAN; before.0.len()]);
        s.exec.write_state(&s.model.states, params, &nan).unwrap();
        let at = StepScalars {
            step: 100,
            ..StepScalars::default()
        };
        let pending = s.start(&data, &ids, &at).unwrap();
        let done = s.finish(&pending).unwrap();
        assert!(done.failed && !done.skipped());
        assert_eq!(done.scale, Some(now[0]));
    }
}

fn program(args: &[&str]) -> std::process::Output {
    let mut c = Command::new(assert_cmd::cargo::cargo_bin!("amcl-wgpu"));
    c.args(args).output().unwrap()
}

/// A run that goes on from a checkpoint ends with the bits of one that was not interrupted, loss scale and all; the
/// metrics tell the scale.
#[test]
fn a_run_keeps_its_scale() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let path = out.to_str().unwrap();
    let sizes = "data.shapes_train=128 data.shapes_test=40 optim.batch_size=32 run.epochs=2 run.knn_every=0 \
        heads.hidden=16 heads.out=8 model.width=8";
    let mut args = vec![
        "train",
        "--device",
        "cpu",
        "--precision",
        "mixed",
        "--no-report",
        "--out",
        path,
    ];
    args.extend(sizes.split(' ').flat_map(|s| ["--set", s]));
    let ran = program(&args);
    assert!(
        ran.status.success(),
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    let read = |name: &str| std::fs::read_to_string(out.join(name)).unwrap();
    let hash = |text: &str| {
        let v: serde_json::Value = serde_json::from_str(text).unwrap();
        v["weights_sha256"].as_str().unwrap().to_string()
    };
    let metrics = read("metrics.jsonl");
    assert!(metrics.contains("\"loss_scale\":65536.0"));
    assert!(read("config.toml").contains("precision = \"mixed\""));
    let whole = hash(&read("summary.json"));
    // As after a kill in the second epoch: its checkpoint is not there.
    let newest = newest(&out.join("checkpoints"));
    std::fs::remove_file(newest).unwrap();
    std::fs::remove_file(out.join("summary.json")).unwrap();
    let ran = program(&["train", "--resume", path, "--no-report", "--device", "cpu"]);
    assert!(
        ran.status.success(),
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    assert_eq!(hash(&read("summary.json")), whole);
    let count = |m: &str| m.lines().filter(|l| l.contains("loss_scale")).count();
    assert_eq!(count(&read("metrics.jsonl")), count(&metrics));
}

fn newest(folder: &Path) -> std::path::PathBuf {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|f| f.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() > 1, "{files:?}");
    files.pop().unwrap()
}

/// A device whose cooperative matrices multiply wrongly is opened without them. (A deliberate fault in the kernel
/// stands for the driver's.)
#[test]
fn wrong_cooperative_matrices_are_not_used() {
    let sound = Device::open(&choice(), Options::default()).unwrap();
    if sound.limits.cooperative.is_empty() {
        println!(
            "{} has no cooperative matrices: their self-test is not tried",
            sound.report.name
        );
        return;
    }
    let mut told = Vec::new();
    let device = self_test::open(&choice(), Options::default(), true, &mut |l| told.push(l));
    assert!(!device.unwrap().limits.cooperative.is_empty() && told.is_empty());
    let fault = (
        "gemm".to_string(),
        "coopMultiplyAdd(fourth, right, s.d1)".to_string(),
        "coopMultiplyAdd(third, right, s.d1)".to_string(),
    );
    let options = Options {
        mutations: vec![fault],
        ..Options::default()
    };
    let device = self_test::open(&choice(), options, true, &mut |l| told.push(l)).unwrap();
    assert!(device.limits.cooperative.is_empty());
    assert!(told.len() == 1 && told[0].contains("gemm"), "{told:?}");
    // A fault of tiles with two buffers leaves the others.
    told.clear();
    let fault = (
        "gemm".to_string(),
        "buffer = 1u - buffer;".to_string(),
        String::new(),
    );
    let options = Options {
        mutations: vec![fault],
        ..Options::default()
    };
    let device = self_test::open(&choice(), options, true, &mut |l| told.push(l)).unwrap();
    assert!(!device.limits.cooperative.is_empty());
    let faulty = &device.limits.faulty_tiles;
    assert!(!faulty.is_empty() && faulty.iter().all(|t| TILES[*t].has_two_buffers()));
    assert!(told.len() == 1 && told[0].contains(" tiles by cooperative matrices fail"));
}
