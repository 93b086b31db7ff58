//! A recording is data: it is made without a device, its file has all that a replay needs, and two can be compared.

use crate::common::relative;
use amcl_wgpu::config::{Config, method};
use amcl_wgpu::device::{Choice, Device, Limits, Options};
use amcl_wgpu::eval::features::{Features, Shape};
use amcl_wgpu::graph::gpu::GpuExecutor;
use amcl_wgpu::graph::gpu::player::Player;
use amcl_wgpu::graph::planner::Planner;
use amcl_wgpu::graph::portable::Portable;
use amcl_wgpu::graph::{Executor, HostData, StepScalars};
use amcl_wgpu::nn::Model;
use amcl_wgpu::reference::philox::{Purpose, Stream};
use amcl_wgpu::train::session::Session;
use std::sync::Arc;

const BATCH: usize = 5;

fn config(set: &[&str]) -> Config {
    let set: Vec<String> = set.iter().map(|s| (*s).into()).collect();
    Config::parse(Config::preset("quickstart").unwrap(), &set).unwrap()
}

/// The encoder of a configuration with drawn weights, as a program of an executor.
fn encoder(exec: &mut dyn Executor, c: &Config) -> Features {
    let mut model = Model::default();
    let shape = Shape {
        side: (32, 32),
        size: c.model.image_size,
        batch: BATCH,
    };
    let backbone = c.backbone().unwrap();
    let (g, f) = Features::graph(backbone.as_ref(), &mut model, &c.augment, shape, &[]).unwrap();
    exec.allocate_states(&model.states).unwrap();
    let f = f.compile(&g, exec).unwrap();
    model.initialise(exec, 3).unwrap();
    f
}

fn pixels() -> Vec<u8> {
    let mut s = Stream::new(5, 0, 0, Purpose::Init);
    (0..BATCH * 32 * 32 * 3).map(|_| s.word() as u8).collect()
}

fn words(bytes: &[u8]) -> HostData {
    let words = bytes
        .chunks(4)
        .map(|w| u32::from_le_bytes(w.try_into().unwrap()));
    HostData::U32(words.collect())
}

fn device() -> Arc<Device> {
    Device::open(&Choice::Name("llvmpipe".into()), Options::default()).unwrap()
}

/// The file of the encoder, recorded for limits, and its contents.
fn file(limits: &Limits, c: &Config) -> (Portable, Vec<u8>) {
    let mut planner = Planner::recording(limits);
    encoder(&mut planner, c);
    let (plan, contents) = planner.tape().unwrap().portable(&["embed"]).unwrap();
    (
        Portable::parse(&serde_json::to_string(&plan).unwrap()).unwrap(),
        contents,
    )
}

fn played(plan: Portable, contents: &[u8]) -> Vec<f32> {
    let player = Player::new(device(), plan, contents).unwrap();
    let inputs = [("images", words(&pixels()))];
    let out = player
        .run("embed", &inputs, &StepScalars::default())
        .unwrap();
    out[0].1.to_f32()
}

/// Of the same limits the file replays to the executor's bits; of WebGPU's default limits, with other kernels, to
/// within the rounding of sums of a few hundred terms. Other weights give other features.
#[test]
fn a_file_replays_to_what_the_executor_computes() {
    let c = config(&[]);
    let device = device();
    let mut exec = GpuExecutor::new(device.clone());
    let f = encoder(&mut exec, &c);
    let mut data = amcl_wgpu::data::Dataset::empty(32, 32);
    data.images = pixels();
    let want = f.of(&mut exec, &data, &mut |_, _| ()).unwrap();
    assert!(want.iter().any(|v| *v > 0.1), "the control of the control");

    let (plan, contents) = file(&device.limits, &c);
    let same = played(plan.clone(), &contents);
    assert_eq!(same, want);
    let (web, web_contents) = file(&Limits::web(), &c);
    assert!(
        !web.diff(&plan).is_empty(),
        "a CPU driver has kernels of its own"
    );
    let wide = |x: &[f32]| -> Vec<f64> { x.iter().map(|v| f64::from(*v)).collect() };
    let got = played(web.clone(), &web_contents);
    assert!(relative(&wide(&got), &wide(&want)) < 1e-5);

    let span = web.buffers.iter().find_map(|b| b.from).unwrap();
    let mut other = web_contents;
    other[span.offset as usize..(span.offset + span.bytes) as usize].fill(0);
    let got = played(web, &other);
    assert!(
        relative(&wide(&got), &wide(&want)) > 0.1,
        "weights that are zero are noticed"
    );
}

#[test]
fn plans_that_contradict_themselves_are_refused() {
    let (plan, contents) = file(&Limits::web(), &config(&[]));
    let start = |plan: Portable, contents: &[u8]| Player::new(device(), plan, contents).map(|_| ());
    start(plan.clone(), &contents).unwrap();
    let short = start(plan.clone(), &contents[..contents.len() / 2]).unwrap_err();
    assert!(short.to_string().contains("contents end before"), "{short}");
    let mut wrong = plan.clone();
    wrong.programs[0].dispatches[0].shader = 1000;
    assert!(
        start(wrong, &contents)
            .unwrap_err()
            .to_string()
            .contains("not there")
    );
    let mut wrong = plan.clone();
    wrong.version = 99;
    let text = serde_json::to_string(&wrong).unwrap();
    assert!(Portable::parse(&text).unwrap_err().contains("version 99"));
    let player = Player::new(device(), plan, &contents).unwrap();
    let step = StepScalars::default();
    for (program, input, words) in [
        ("embd", "images", "no program `embd`"),
        ("embed", "image", "no input `image`"),
        ("embed", "images", "`images` holds"),
    ] {
        let e = player
            .run(program, &[(input, HostData::U32(vec![1]))], &step)
            .unwrap_err();
        assert!(e.to_string().contains(words), "{e}");
    }
}

/// A training step of every method is recorded for every maker's limits, within them, and twice alike.
#[test]
fn training_steps_are_recorded_without_a_device() {
    let of = |c: &Config, name: &str| {
        let method = method::method(c).unwrap();
        let data = amcl_wgpu::data::shapes::generate(1, 64, 8).train;
        Session::recorded(
            c,
            method.as_ref(),
            &Limits::of(name).unwrap(),
            (&data, None),
        )
        .unwrap()
    };
    let batch = "optim.batch_size=16";
    for name in [
        "simclr",
        "moco",
        "byol",
        "barlow_twins",
        "vicreg",
        "simsiam",
    ] {
        let method = format!("method.name={name}");
        let plain = ["amcl.enabled=false", "heads.count=1"];
        let mut set = vec![batch, &method];
        set.extend(plain.iter().filter(|_| ["byol", "vicreg"].contains(&name)));
        let c = config(&set);
        let (planned, plan) = of(&c, "web");
        assert!(planned.memory.planned > 0);
        assert!(plan.dispatches() > 100, "{name}: {}", plan.dispatches());
        let web = Limits::web();
        for d in plan.programs.iter().flat_map(|p| &p.dispatches) {
            assert!(
                d.bind.len() <= 8,
                "{name}: {} binds {}",
                d.label,
                d.bind.len()
            );
            assert!(
                d.bind
                    .iter()
                    .all(|b| b.2 <= web.max_binding as u64 && b.1 % 256 == 0)
            );
            assert!(d.grid.0 <= 65_535 && d.grid.1 <= 65_535);
        }
        for s in &plan.shaders {
            let calls = s.wgsl.split("subgroup").skip(1);
            let called = calls
                .filter(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))
                .count();
            assert!(
                called == 0 && !s.wgsl.contains("enable "),
                "{name}: {}",
                s.key
            );
        }
        assert!(
            of(&c, "web").1.diff(&plan).is_empty(),
            "{name}: twice alike"
        );
        set[0] = "optim.batch_size=32";
        let larger = config(&set);
        let lines = of(&larger, "web").1.diff(&plan);
        assert!(
            lines.iter().any(|l| l.starts_with("memory")),
            "{name}: {lines:?}"
        );
    }
}

/// The verb: 0 where two recordings do the same, 1 where they differ, with what does; a file that is none is an error.
#[test]
fn the_verb_s_exit_code_tells_whether_two_recordings_differ() {
    let dir = tempfile::tempdir().unwrap();
    let plan = |args: &[&str]| {
        let mut c = assert_cmd::Command::new(assert_cmd::cargo::cargo_bin!("amcl-wgpu"));
        let out = c.arg("plan").args(args).output().unwrap();
        (
            out.status.code(),
            String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned(),
        )
    };
    let file = |name: &str, batch: &str| {
        let path = dir.path().join(name).display().to_string();
        let set = format!("optim.batch_size={batch}");
        let (code, said) = plan(&["--limits", "web", "--set", &set, "--out", &path]);
        assert!(code == Some(0) && said.contains("dispatches"), "{said}");
        path
    };
    let (a, same, larger) = (file("a", "16"), file("same", "16"), file("larger", "32"));
    let (code, said) = plan(&["--diff", &a, &same]);
    assert!(code == Some(0) && said.contains("the same work"), "{said}");
    let (code, said) = plan(&["--diff", &a, &larger]);
    assert!(code == Some(1) && said.contains("memory: "), "{said}");
    std::fs::write(&larger, "{}").unwrap();
    let (code, said) = plan(&["--diff", &a, &larger]);
    assert!(
        code != Some(0) && said.contains("larger") && !said.contains("memory: "),
        "{said}"
    );
}
