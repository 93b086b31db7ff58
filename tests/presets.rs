//! Every preset builds its full graph, and trains: one epoch on `shapes` with a narrow network and a small batch, all else as the preset has it.

use amcl_wgpu::train::config::{Config, PRESETS};
use amcl_wgpu::train::method::declare;
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
