//! Several ranks as a user starts them: `--devices`, and under a launcher. `tests/mpi/run` starts them under MPI.

use assert_cmd::Command;
use std::path::Path;

fn program() -> Command {
    let mut c = Command::new(assert_cmd::cargo::cargo_bin!("amcl-wgpu"));
    for name in ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"] {
        c.env_remove(name);
    }
    c
}

/// A second of training of SimSiam, whose loss is a mean over images.
fn train(out: &Path, more: &[&str]) -> Command {
    let mut c = program();
    c.args(["train", "--no-report", "--method", "simsiam", "--out"])
        .arg(out);
    let set = [
        "data.shapes_train=128",
        "data.shapes_test=40",
        "heads.layers=2",
        "heads.hidden=16",
        "heads.out=16",
        "model.width=8",
        "optim.batch_size=32",
        "run.epochs=2",
        "run.knn_every=2",
    ];
    c.args(set.iter().flat_map(|s| ["--set", s])).args(more);
    c
}

fn summary(out: &Path) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(out.join("summary.json")).unwrap()).unwrap()
}

#[test]
fn devices_of_one_process_train_as_micro_batches_do() {
    let dir = tempfile::tempdir().unwrap();
    let [one, two, other] = ["one", "two", "other"].map(|n| dir.path().join(n));
    let parts = ["--device", "cpu", "--set", "optim.micro_batches=2"];
    train(&one, &parts).assert().success();
    let log = train(&two, &["--devices", "cpu,cpu"]).assert().success();
    let log = String::from_utf8_lossy(&log.get_output().stdout).into_owned();
    // The first rank alone speaks.
    assert_eq!(log.matches("epoch 2/2").count(), 1, "{log}");
    let [a, b] = [&one, &two].map(|out| summary(out));
    assert_eq!(a["weights_sha256"], b["weights_sha256"]);
    assert_eq!(a["steps"], b["steps"]);
    // The control: one part is another group of batch norm.
    train(&other, &["--device", "cpu"]).assert().success();
    assert_ne!(summary(&other)["weights_sha256"], a["weights_sha256"]);
    // What each rank did is kept, and how it spent its time.
    let environment = std::fs::read_to_string(two.join("environment.json")).unwrap();
    let environment: serde_json::Value = serde_json::from_str(&environment).unwrap();
    assert_eq!(environment["ranks"].as_array().map(Vec::len), Some(2));
    let metrics = std::fs::read_to_string(two.join("metrics.jsonl")).unwrap();
    let last = metrics
        .lines()
        .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap())
        .rfind(|r| r["kind"] == "epoch")
        .unwrap();
    let ranks = last["ranks"].as_array().unwrap();
    assert!(ranks.len() == 2 && ranks.iter().all(|r| r["computed"].as_f64().unwrap() > 0.0));
}

#[test]
fn a_run_of_two_devices_goes_on_on_one() {
    let dir = tempfile::tempdir().unwrap();
    let [whole, out] = ["whole", "out"].map(|n| dir.path().join(n));
    let more = ["--devices", "cpu,cpu", "--set", "run.epochs=4"];
    train(&whole, &more).assert().success();
    // Two of the four epochs: the file is then asked for four.
    train(&out, &["--devices", "cpu,cpu"]).assert().success();
    let file = out.join("config.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("[dist]\nranks = 2"), "{text}");
    let again = program()
        .args(["train", "--device", "cpu", "--no-report", "--resume"])
        .arg(&out)
        .assert()
        .success();
    let said = String::from_utf8_lossy(&again.get_output().stdout).into_owned();
    assert!(
        said.contains("trained on 2 ranks and goes on on 1, of 2 micro-batches"),
        "{said}"
    );
    // Three ranks cannot have equal numbers of two parts.
    let fails = program()
        .args([
            "train",
            "--devices",
            "cpu,cpu,cpu",
            "--no-report",
            "--resume",
        ])
        .arg(&out)
        .assert()
        .failure();
    let said = String::from_utf8_lossy(&fails.get_output().stderr).into_owned();
    assert!(said.contains("continue it on one of 1, 2"), "{said}");
}

#[test]
fn what_ranks_cannot_share_is_said_before_anything_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    for (more, words) in [
        (
            &["--devices", "cpu,cpu,cpu"][..],
            "of each of 3 ranks: 30 or 33 images are",
        ),
        (&["--devices", "cpu,nonesuch"], "nonesuch"),
        (
            &["--devices", "cpu,cpu", "--device", "cpu"],
            "cannot be used with",
        ),
    ] {
        let failed = train(&out, more).assert().failure();
        let said = String::from_utf8_lossy(&failed.get_output().stderr).into_owned();
        assert!(
            said.contains(words) && !said.contains("panicked"),
            "{more:?}: {said}"
        );
        assert!(!out.exists(), "{more:?} left {}", out.display());
    }
}

/// Four processes that each train alone into one folder would be a disaster in silence.
#[test]
#[cfg(not(feature = "mpi"))]
fn a_program_without_mpi_refuses_to_be_one_of_several() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    for name in ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"] {
        let refused = train(&out, &["--device", "cpu"])
            .env(name, "4")
            .assert()
            .code(2);
        let said = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
        assert!(
            said.contains("built without MPI") && said.contains("--devices"),
            "{said}"
        );
        assert!(said.lines().count() == 1 && !out.exists(), "{said}");
    }
    // A lone process is no rank of several.
    train(&out, &["--device", "cpu"])
        .env("SLURM_NTASKS", "8")
        .assert()
        .success();
}

#[test]
fn verbs_of_one_process_refuse_a_launcher() {
    let refused = program()
        .args(["sweep", "nothing.toml"])
        .env("PMI_SIZE", "2")
        .assert()
        .code(2);
    let said = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    assert!(said.contains("only `train` shares its work"), "{said}");
}
