//! Every optimiser and option of training lowers the loss of a small run, and stops at a loss that is not finite.

use assert_cmd::Command;
use std::path::Path;

fn train(out: &Path, settings: &[&str]) -> std::process::Output {
    let base = [
        "data.shapes_train=256",
        "data.shapes_test=50",
        "optim.batch_size=64",
        "run.epochs=6",
        "run.knn_every=0",
        "heads.hidden=32",
        "heads.out=16",
        "model.width=8",
        "schedule.warmup_epochs=0",
    ];
    let mut c = Command::new(assert_cmd::cargo::cargo_bin!("amcl-wgpu"));
    c.args(["train", "--device", "cpu", "--out"]).arg(out);
    for s in base.iter().chain(settings) {
        c.args(["--set", s]);
    }
    c.output().unwrap()
}

fn losses(out: &Path) -> Vec<f64> {
    std::fs::read_to_string(out.join("metrics.jsonl"))
        .unwrap()
        .lines()
        .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap())
        .filter(|v| v["kind"] == "step")
        .map(|v| v["loss"].as_f64().unwrap())
        .collect()
}

/// Mean of the first and of the last four losses.
fn ends(v: &[f64]) -> (f64, f64) {
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    (mean(&v[..4]), mean(&v[v.len() - 4..]))
}

#[test]
fn optimisers_and_options_lower_the_loss() {
    let dir = tempfile::tempdir().unwrap();
    let cases: [(&str, &[&str]); 7] = [
        ("sgd", &["optim.lr=0.06"]),
        ("nesterov", &["optim.lr=0.06", "optim.nesterov=true"]),
        ("adamw", &["optim.name=\"adamw\"", "optim.lr=0.003"]),
        (
            "lars",
            &["optim.name=\"lars\"", "optim.lr=2.0", "optim.trust=0.02"],
        ),
        ("micro-batches", &["optim.lr=0.06", "optim.micro_batches=2"]),
        ("dot", &["optim.lr=0.06", "amcl.parametrisation=\"dot\""]),
        ("blur", &["optim.lr=0.06", "augment.families=\"abcde\""]),
    ];
    for (name, settings) in cases {
        let out = dir.path().join(name);
        let run = train(&out, settings);
        assert!(
            run.status.success(),
            "{name}: {}",
            String::from_utf8_lossy(&run.stderr)
        );
        let v = losses(&out);
        assert_eq!(v.len(), 24, "{name}");
        let (first, last) = ends(&v);
        println!("{name}: {first:.3} -> {last:.3}");
        // An update of the wrong sign or of no size leaves the loss where it was or raises it; chance moves four-step
        // means by under 1 %.
        assert!(last < 0.985 * first, "{name}: {first} -> {last}");
    }
    // The softmax form warms a top-k form up: the same losses until it takes over, others after.
    let out = dir.path().join("topk");
    let settings = [
        "optim.lr=0.06",
        "amcl.negatives=\"topk\"",
        "amcl.kappa=20",
        "amcl.warmup_epochs=3",
    ];
    assert!(train(&out, &settings).status.success());
    let (topk, softmax) = (losses(&out), losses(&dir.path().join("dot")));
    assert_eq!(topk[..12], softmax[..12]);
    assert!(
        (topk[12] - softmax[12]).abs() > 0.1,
        "{} {}",
        topk[12],
        softmax[12]
    );
    // Negative control: a learning rate at which nothing moves does not pass.
    let out = dir.path().join("still");
    assert!(train(&out, &["optim.lr=1e-9"]).status.success());
    let (first, last) = ends(&losses(&out));
    assert!(last > 0.985 * first, "{first} -> {last}");
}

#[test]
fn every_optimiser_refuses_gradients_that_are_not_finite() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["sgd", "adamw", "lars"] {
        let out = dir.path().join(name);
        let optimiser = format!("optim.name=\"{name}\"");
        let run = train(&out, &[&optimiser, "optim.lr=1e30", "optim.clip=0"]);
        let err = String::from_utf8_lossy(&run.stderr);
        assert!(
            !run.status.success() && err.contains("first made by"),
            "{name}: {err}"
        );
    }
    let run = train(&dir.path().join("none"), &["optim.name=\"adagrad\""]);
    let err = String::from_utf8_lossy(&run.stderr);
    assert!(err.contains("there are sgd, adamw, lars"), "{err}");
}
