//! What can go wrong around a run: each time a clear message, a non-zero exit, and nothing lost.

#![cfg(unix)]

use assert_cmd::Command;
use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::time::Duration;

const TINY: &[&str] = &[
    "--device",
    "cpu",
    "--no-report",
    "--set",
    "run.epochs=2",
    "--batch-size",
    "32",
    "--set",
    "data.shapes_train=64",
    "--set",
    "data.shapes_test=40",
    "--set",
    "model.width=4",
    "--set",
    "heads.hidden=8",
    "--set",
    "heads.out=8",
    "--set",
    "run.knn_every=0",
];

fn program() -> Command {
    Command::new(assert_cmd::cargo::cargo_bin!("amcl-wgpu"))
}

fn train(out: &Path, more: &[&str]) -> Output {
    let mut c = program();
    c.arg("train").arg("--out").arg(out).args(TINY).args(more);
    c.output().unwrap()
}

fn error(o: &Output) -> String {
    let text = String::from_utf8_lossy(&o.stderr).into_owned();
    assert!(!text.contains("panicked"), "{text}");
    text
}

/// Fails with these words.
fn refused(o: &Output, words: &[&str]) {
    let text = error(o);
    assert!(!o.status.success(), "succeeded: {text}");
    for w in words {
        assert!(text.contains(w), "`{w}` is not in: {text}");
    }
}

fn start(out: &Path, epochs: &str) -> Child {
    let mut c = std::process::Command::new(assert_cmd::cargo::cargo_bin!("amcl-wgpu"));
    c.arg("train").arg("--out").arg(out).args(TINY);
    c.args(["--set", &format!("run.epochs={epochs}")]);
    c.stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn wait_for(what: &str, ready: impl Fn() -> bool) {
    for _ in 0..600 {
        if ready() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("waited in vain for {what}");
}

fn lines(out: &Path) -> usize {
    std::fs::read_to_string(out.join("metrics.jsonl")).map_or(0, |t| t.lines().count())
}

#[test]
fn two_runs_do_not_share_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let mut first = start(&out, "100000");
    wait_for("the first run", || lines(&out) > 3);
    refused(&train(&out, &[]), &["already holds something"]);
    refused(
        &train(&out, &["--overwrite"]),
        &["another process is training"],
    );
    let resume = program()
        .args(["train", "--resume"])
        .arg(&out)
        .output()
        .unwrap();
    refused(&resume, &["another process is training"]);
    let before = lines(&out);
    wait_for("the first run to go on", || lines(&out) > before + 3);
    first.kill().unwrap();
    first.wait().unwrap();
    // The lock dies with its holder.
    assert!(train(&out, &["--overwrite"]).status.success());
}

#[test]
fn sigterm_saves_and_says_how_to_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let child = start(&out, "100000");
    wait_for("some steps", || lines(&out) > 6);
    let kill = std::process::Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status();
    assert!(kill.unwrap().success());
    let o = child.wait_with_output().unwrap();
    assert!(!o.status.success());
    error(&o);
    let log = std::fs::read_to_string(out.join("log.txt")).unwrap();
    assert!(
        log.contains("continue with: amcl-wgpu train --resume"),
        "{log}"
    );
    let steps = lines(&out);
    assert!(std::fs::read_dir(out.join("checkpoints")).unwrap().count() > 0 && steps > 6);
    // What was saved is whole.
    let eval = program()
        .args(["eval", "knn"])
        .arg(&out)
        .args(["--device", "cpu"])
        .output()
        .unwrap();
    assert!(eval.status.success(), "{}", error(&eval));
}

#[test]
fn a_corrupt_checkpoint_gives_way_to_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    assert!(train(&out, &[]).status.success());
    let mut files: Vec<_> = std::fs::read_dir(out.join("checkpoints"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    files.sort();
    let bytes = std::fs::read(&files[1]).unwrap();
    let knn = || {
        program()
            .args(["eval", "knn"])
            .arg(&out)
            .args(["--device", "cpu"])
            .output()
            .unwrap()
    };
    // Cut short, then with a header that promises more than there is.
    let mut hostile = bytes.clone();
    hostile[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    for bad in [&bytes[..bytes.len() / 2], &hostile, b"", b"{}"] {
        std::fs::write(&files[1], bad).unwrap();
        let o = knn();
        assert!(o.status.success(), "{}", error(&o));
        assert!(error(&o).contains("trying the checkpoint before it"));
        assert!(String::from_utf8_lossy(&o.stdout).contains("after epoch 1"));
    }
    std::fs::write(&files[0], b"").unwrap();
    refused(&knn(), &["no usable checkpoint"]);
}

#[test]
fn a_plan_larger_than_the_memory_is_refused_before_it_is_allocated() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    for (device, width, words) in [
        ("cpu", 64, "use a smaller batch"),
        ("llvmpipe", 64, "use a smaller batch"),
        ("cpu", 2048, "use a smaller network"),
        ("llvmpipe", 2048, "use a smaller network"),
    ] {
        let mut c = program();
        c.arg("train").arg("--out").arg(&out);
        c.args(["--device", device, "--batch-size", "8192"]);
        let width = format!("model.width={width}");
        for s in [&width, "data.shapes_train=8192", "model.encoder=resnet18"] {
            c.args(["--set", s]);
        }
        refused(&c.output().unwrap(), &[words, "Largest tensors"]);
    }
    assert!(!out.join("config.toml").exists());
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "x").unwrap();
    refused(&train(&file.join("run"), &[]), &["file"]);
    // Root writes anywhere but where the system forbids it.
    refused(
        &train(Path::new("/proc/amcl-wgpu-run"), &[]),
        &["/proc/amcl-wgpu-run"],
    );
    let out = dir.path().join("run");
    assert!(train(&out, &[]).status.success());
    for (verb, file) in [
        ("export", "/proc/nowhere/x"),
        ("embed", "/proc/nowhere/x.npy"),
    ] {
        let mut c = program();
        c.arg(verb).arg(&out).args(["-o", file]);
        if verb == "embed" {
            c.args(["--device", "cpu"]);
        }
        refused(&c.output().unwrap(), &["/proc/nowhere"]);
    }
}

/// A disk of one megabyte and a half; needs the right to mount.
#[test]
fn a_full_disk_leaves_the_last_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let mount = |args: &[&str]| {
        let s = std::process::Command::new(args[0])
            .args(&args[1..])
            .arg(&disk)
            .stderr(Stdio::null())
            .status();
        s.is_ok_and(|s| s.success())
    };
    if !mount(&["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs"]) {
        println!("not tested: this process may not mount a small disk");
        return;
    }
    let out = disk.join("run");
    let o = train(
        &out,
        &["--set", "run.epochs=1000", "--set", "model.width=8"],
    );
    let left = program()
        .args(["eval", "knn"])
        .arg(&out)
        .args(["--device", "cpu"])
        .output()
        .unwrap();
    let unmounted = mount(&["umount"]);
    refused(
        &o,
        &[
            "No space left",
            "free some space and continue with --resume",
        ],
    );
    assert!(left.status.success() && unmounted, "{}", error(&left));
}

#[test]
fn weights_from_elsewhere_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let file = dir.path().join("w.safetensors");
    let init = |out: &Path| train(out, &["--overwrite", "--init", file.to_str().unwrap()]);
    for bad in [&b"not a file of tensors"[..], &u64::MAX.to_le_bytes(), b""] {
        std::fs::write(&file, bad).unwrap();
        refused(&init(&out), &["expected a safetensors file"]);
    }
    // A file of tensors, none of which fits.
    let data = [0u8; 8];
    let view =
        safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![2], &data).unwrap();
    let bytes = safetensors::serialize([("other.weight", view)], None).unwrap();
    std::fs::write(&file, bytes).unwrap();
    refused(&init(&out), &["no tensor fits", "other.weight"]);
    refused(
        &train(&out, &["--overwrite", "--init", "/no/such/file"]),
        &["/no/such/file"],
    );
    assert!(
        !out.join("config.toml").exists(),
        "a refused run leaves nothing behind"
    );
}

/// Without a terminal no control characters come, quiet prints the result alone, and JSON can be read.
#[test]
fn no_terminal_no_bars() {
    let dir = tempfile::tempdir().unwrap();
    let o = train(&dir.path().join("a"), &[]);
    let all = [o.stdout, o.stderr].concat();
    assert!(!all.contains(&0x1b) && !all.contains(&b'\r'));
    let quiet = train(&dir.path().join("b"), &["--quiet"]);
    let text = String::from_utf8(quiet.stdout).unwrap();
    assert!(quiet.stderr.is_empty() && text.starts_with("kNN"), "{text}");
    let json = train(&dir.path().join("c"), &["--json"]);
    let value: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert!(value["knn_top1"].is_f64());
}
