//! Presets and run folders of version 1, kept as that version wrote them, load, resume and evaluate as they did then.

use crate::common;

use amcl_wgpu::config::Config;
use assert_cmd::Command;
use common::relative;
use safetensors::SafeTensors;
use serde_json::Value;
use std::path::{Path, PathBuf};

const METHODS: [&str; 6] = [
    "simclr",
    "moco",
    "simsiam",
    "barlow_twins",
    "byol",
    "vicreg",
];

fn kept(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/kept")
        .join(name)
}

/// Are two values the same setting? Most are f32: their decimal forms as f64 differ in the last digit.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            let f32_of = |n: &serde_json::Number| n.as_f64().map(|v| v as f32);
            f32_of(a) == f32_of(b)
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        _ => a == b,
    }
}

/// Values of `new` that differ from those of the same key of `old`, and keys that `new` lacks.
fn differences(old: &Value, new: &Value) -> Vec<String> {
    let mut out = Vec::new();
    for (section, keys) in old.as_object().unwrap() {
        for (key, value) in keys.as_object().unwrap() {
            // VICReg's weights have another name now.
            let now = match (section.as_str(), key.as_str()) {
                ("method", "vicreg") => "weights",
                _ => key,
            };
            let found = &new[section][now];
            if !same(found, value) {
                out.push(format!("{section}.{key}: {value} is now {found}"));
            }
        }
    }
    out
}

/// Settings of `[method]` belong to their method now: the others' are left out.
fn own_only(old: &mut Value) {
    let name = old["method"]["name"].as_str().unwrap().to_string();
    let own = (amcl_wgpu::methods::spec(&name).unwrap().keys)();
    let is_own = |k: &str| own.iter().any(|o| o == k) || k == "vicreg" && name == "vicreg";
    let method = old["method"].as_object_mut().unwrap();
    method.retain(|k, _| k == "name" || is_own(k));
}

/// What decays has another name now, and more than two values.
fn decay(old: &mut Value) {
    let optim = old["optim"].as_object_mut().unwrap();
    let excluded = optim.remove("exclude_bias_and_norm").unwrap();
    let now = ["all", "no_vectors"][usize::from(excluded.as_bool().unwrap())];
    optim.insert("decay".into(), now.into());
}

#[test]
fn presets_of_version_1_mean_what_they_meant() {
    let text = std::fs::read_to_string(kept("presets.json")).unwrap();
    let all: Value = serde_json::from_str(&text).unwrap();
    for (name, preset) in all.as_object().unwrap() {
        let text = preset["text"].as_str().unwrap();
        assert!(!text.contains("version ="), "{name} is of version 1");
        let c = Config::parse(text, &[]).unwrap_or_else(|e| panic!("{name}: {e}"));
        let now = serde_json::to_value(&c).unwrap();
        let mut old = preset["resolved"].clone();
        own_only(&mut old);
        decay(&mut old);
        assert_eq!(differences(&old, &now), [""; 0], "{name}");
        // The same name's preset of today says the same, but for defaults that changed.
        let today = Config::parse(Config::preset(name).unwrap(), &[]).unwrap();
        let today = serde_json::to_value(&today).unwrap();
        let mut changed = vec!["data.exif: false is now true", "data.pixels: 1 is now 2"];
        if name == "quickstart" || name.starts_with("simclr-amcl") {
            let form = [
                "amcl.parametrisation: \"dot\" is now \"centred\"",
                "amcl.tau_min: 0.05 is now 0.02",
            ];
            changed.splice(..0, form);
        }
        if name.starts_with("barlow") {
            changed.push("method.standardize: \"unbiased\" is now \"batch_norm\"");
        }
        let mut same = now.clone();
        same.as_object_mut().unwrap().remove("version");
        assert_eq!(differences(&same, &today), changed, "{name}");
        // The control: a value that changed is named.
        old["optim"]["lr"] = 123.0.into();
        assert_eq!(differences(&old, &now).len(), 1);
    }
    assert_eq!(all.as_object().unwrap().len(), 28);
}

fn run(args: &[&str]) -> Value {
    let mut c = Command::cargo_bin("amcl-wgpu").unwrap();
    let device: &[&str] = match args[0] {
        "export" => &[],
        _ => &["--device", "cpu"],
    };
    let out = c.args(args).args(device).arg("--json").output().unwrap();
    let error = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{args:?}: {error}");
    serde_json::from_slice(&out.stdout).unwrap()
}

/// A tensor of a file, as f32.
fn tensor(path: &Path, name: &str) -> Vec<f64> {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let data = file.tensor(name).unwrap().data().to_vec();
    let values = data.chunks_exact(4);
    values
        .map(|b| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]])))
        .collect()
}

/// The runs were interrupted after one of two epochs, with four steps to go, and ended on the machine that wrote
/// them. Sums of f32 in another order (a processor of another width) give relative errors of some 1e-6 a step; batch
/// norm over few values and four steps of momentum make them a hundredfold.
const BOUND: f64 = 1e-3;

#[test]
fn run_folders_of_version_1_resume_and_evaluate_as_they_did() {
    for method in METHODS {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (kept(method), folder.path().join("run"));
        std::fs::create_dir_all(to.join("checkpoints")).unwrap();
        let begun = "checkpoints/step-00000004.safetensors";
        for file in ["config.toml", "metrics.jsonl", "log.txt", begun] {
            std::fs::copy(from.join(file), to.join(file)).unwrap();
        }
        let path = to.to_str().unwrap();
        let outcome = run(&["train", "--resume", path, "--no-report"]);
        let end = to.join("checkpoints/step-00000008.safetensors");
        for group in ["params", "bn_stats", "momentum"] {
            let (got, want) = (
                tensor(&end, group),
                tensor(&from.join("end.safetensors"), group),
            );
            let e = relative(&got, &want);
            assert!(e < BOUND, "{method} {group}: {e}");
            // The control: the state before the last epoch.
            let before = relative(&tensor(&to.join(begun), group), &want);
            assert!(before > 3.0 * BOUND, "{method} {group}: {before}");
        }
        // 20 test images: one of them may go another way.
        let text = std::fs::read_to_string(from.join("end.json")).unwrap();
        let want: Value = serde_json::from_str(&text).unwrap();
        let evaluated = run(&["eval", "knn", path]);
        for got in [&outcome, &evaluated] {
            let (got, want) = (got["knn_top1"].as_f64(), want["knn_top1"].as_f64());
            let off = (got.unwrap() - want.unwrap()).abs();
            assert!(off <= 5.0, "{method}: kNN {got:?}, was {want:?}");
        }
        let features = to.join("features.npy");
        run(&["embed", path, "--out", features.to_str().unwrap()]);
        run(&[
            "export",
            path,
            "--out",
            to.join("exported").to_str().unwrap(),
        ]);
    }
}
