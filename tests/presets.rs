//! Every preset builds its full graph, and trains: one epoch on `shapes` with a narrow network and a small batch, all else as the preset has it.

use amcl_wgpu::data::shapes;
use amcl_wgpu::graph::StepScalars;
use amcl_wgpu::graph::host::HostExecutor;
use amcl_wgpu::train::config::Config;
use amcl_wgpu::train::method::declare;
use amcl_wgpu::train::presets::PRESETS;
use amcl_wgpu::train::session::Session;
use assert_cmd::Command;

#[test]
fn every_preset_builds_its_full_model() {
    for (name, text) in PRESETS {
        let config = Config::parse(text, &[]).unwrap();
        let model = declare(&config).unwrap_or_else(|e| panic!("{name}: {e}"));
        let (_, count) = model.sizes();
        let narrow = config.model.width < 64;
        assert_eq!(count > 11_168_832, !narrow, "{name}: {count}");
    }
}

#[test]
fn every_preset_trains() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in PRESETS {
        let config = Config::parse(text, &[]).unwrap();
        let out = folder.path().join(name);
        let mut command = Command::cargo_bin("amcl-wgpu").unwrap();
        command.args([
            "train", "--preset", name, "--device", "cpu", "--epochs", "1",
        ]);
        command.args(["--data", "shapes", "--batch-size", "16", "--json", "--out"]);
        command.arg(&out);
        for set in [
            "data.shapes_train=32",
            "data.shapes_test=20",
            "model.width=4",
            "model.image_size=16",
            "schedule.warmup_epochs=0",
            "method.predictor_hidden=16",
            "method.queue=40",
        ] {
            command.args(["--set", set]);
        }
        for (key, value) in [("hidden", config.heads.hidden), ("out", config.heads.out)] {
            command.args(["--set", &format!("heads.{key}={}", value.min(32))]);
        }
        let output = command.output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{name}: {error}");
        let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(result["knn_top1"].is_f64(), "{name}: {result}");
    }
}

/// The paper's ablation rows for every method: one head and several, every kind of adaptivity, both parametrisations. Each takes a step that moves its weights, or says
/// why it cannot be.
#[test]
fn every_ablation_takes_a_step_or_says_why_not() {
    let split = shapes::generate(1, 32, 20);
    let ids: Vec<u32> = (0..16).collect();
    for method in ["simclr", "moco", "simsiam", "barlow_twins"] {
        for heads in [1, 3] {
            for adaptive in [
                "none",
                "full",
                "positive_only",
                "negative_only",
                "first_head",
            ] {
                for parametrisation in ["dot", "centred"] {
                    let set = [
                        "amcl.enabled=true".to_string(),
                        format!("method.name={method}"),
                        format!("heads.count={heads}"),
                        format!("amcl.adaptive={adaptive}"),
                        format!("amcl.parametrisation={parametrisation}"),
                        "amcl.phi_hidden=16".into(),
                        "heads.hidden=8".into(),
                        "heads.out=16".into(),
                        "model.width=4".into(),
                        "model.image_size=16".into(),
                        "method.predictor_hidden=8".into(),
                        "method.queue=24".into(),
                        "optim.batch_size=16".into(),
                    ];
                    let name = format!("{method} {heads} {adaptive} {parametrisation}");
                    let config = match Config::parse("", &set) {
                        Ok(c) => c,
                        Err(e) => {
                            assert_eq!((method, adaptive), ("simsiam", "negative_only"), "{name}");
                            assert!(e.to_string().contains("no negatives"), "{name}: {e}");
                            continue;
                        }
                    };
                    assert_ne!((method, adaptive), ("simsiam", "negative_only"), "{name}");
                    let exec = Box::new(HostExecutor::<f32>::new());
                    let mut s = Session::new(&config, exec, &split.train).unwrap();
                    let phi = s
                        .model
                        .params
                        .iter()
                        .find(|p| p.name.contains("phi.2.weight"));
                    assert_eq!(phi.is_some(), adaptive != "none", "{name}");
                    let phi = phi.map(|p| p.id);
                    let read = |s: &mut Session| {
                        phi.map(|id| s.exec.read_state(&s.model.states, id).unwrap().to_f32())
                    };
                    let before = read(&mut s);
                    let scalars = StepScalars {
                        lr: 0.1,
                        ..StepScalars::default()
                    };
                    let step = s.start(&split.train, &ids, &scalars).unwrap();
                    let done = s.finish(&step).unwrap();
                    assert!(!done.failed && done.norm2 > 0.0, "{name}: {done:?}");
                    assert!(
                        before.is_none() || before != read(&mut s),
                        "{name}: phi stays"
                    );
                }
            }
        }
    }
    for (set, why) in [
        ("method.name=byol", "AMCL is not defined for byol"),
        ("method.name=vicreg", "AMCL is not defined for vicreg"),
        ("loss.schedule=macl", "plain simclr and moco"),
    ] {
        let e = Config::parse("", &["amcl.enabled=true".into(), set.into()]).unwrap_err();
        assert!(e.to_string().contains(why), "{e}");
    }
    let e = Config::parse("", &["heads.count=3".into()]).unwrap_err();
    assert!(e.to_string().contains("plain simclr has one head"), "{e}");
}

/// The experiments that come with the program plan all their runs.
#[test]
fn every_experiment_plans() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/experiments");
    let mut count = 0;
    for e in std::fs::read_dir(folder).unwrap() {
        let path = e.unwrap().path();
        // By name: the file must be in the program too.
        let mut command = Command::cargo_bin("amcl-wgpu").unwrap();
        command.args(["--json", "sweep", "--list"]);
        command.arg(path.file_stem().unwrap());
        let output = command.output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{path:?}: {error}");
        let listed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let runs: Vec<String> = serde_json::from_value(listed["runs"].clone()).unwrap();
        let mut names = runs.clone();
        names.sort();
        names.dedup();
        assert!(
            names.len() == runs.len() && runs.len() >= 6,
            "{path:?}: {runs:?}"
        );
        count += 1;
    }
    assert!(count >= 9, "{count} experiments");
}
