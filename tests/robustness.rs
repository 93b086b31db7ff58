//! What can go wrong around a run: each time a clear message, a non-zero exit, and nothing lost.
//!
//! | what goes wrong | test |
//! |---|---|
//! | missing or empty folder, unknown key, batch too large, no such adapter | `cli::mistakes_are_explained` |
//! | truncated CIFAR file, a PNG that is none, a bomb, nothing there, non-UTF-8 names and arguments | [`damaged_data_is_named`], and `data::*` for what is left of a folder without its bad files |
//! | an image of one pixel, a loop of links | [`odd_images_train`], `data::links_that_lead_back_and_names_that_are_no_unicode` |
//! | output that cannot be written | [`a_folder_that_cannot_be_written_is_named`] |
//! | a full disk, one that can only be read | [`a_full_disk_leaves_the_last_checkpoint`] |
//! | corrupt checkpoint | [`a_corrupt_checkpoint_gives_way_to_the_one_before`] |
//! | corrupt or hostile safetensors | [`weights_from_elsewhere_are_checked`] |
//! | two runs into one folder | [`two_runs_do_not_share_a_folder`] |
//! | a plan larger than the memory | [`a_plan_larger_than_the_memory_is_refused_before_it_is_allocated`] |
//! | SIGTERM; SIGKILL | [`sigterm_saves_and_says_how_to_go_on`]; `cli::sigkill_and_resume_change_nothing` |
//! | a clock that goes backwards | [`a_clock_that_goes_backwards_changes_nothing`] |
//! | no terminal; a reader that goes away | [`no_terminal_no_bars`]; `product::a_reader_that_goes_away_is_no_error` |

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
    // As a kill leaves it that comes while a file is being written.
    let torn = out.join(".writing-a1b2c3");
    std::fs::write(&torn, "half").unwrap();
    // As a run on a GPU leaves it.
    std::fs::write(out.join("tiles.json"), "{}").unwrap();
    let foreign = out.join("notes.txt");
    std::fs::write(&foreign, "kept").unwrap();
    // What is not a run's is not removed, and stands in the way.
    refused(
        &train(&out, &["--overwrite"]),
        &["already holds", "`notes.txt`"],
    );
    assert!(foreign.exists() && torn.exists() && out.join("metrics.jsonl").exists());
    std::fs::remove_file(&foreign).unwrap();
    // The lock dies with its holder.
    let again = train(&out, &["--overwrite"]);
    let said = String::from_utf8_lossy(&again.stderr);
    assert!(again.status.success(), "{said}");
    assert!(!torn.exists());
    let torn = out.join("checkpoints").join(".writing-d4e5f6");
    std::fs::write(&torn, "half").unwrap();
    let resume = program()
        .args(["train", "--resume"])
        .arg(&out)
        .output()
        .unwrap();
    assert!(
        !torn.exists(),
        "{}",
        String::from_utf8_lossy(&resume.stderr)
    );
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
        log.contains(&format!(
            "continue with: amcl-wgpu train --resume {} --device cpu\n",
            out.display()
        )),
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
        assert!(error(&o).contains("using the checkpoint before it"));
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
        // Some 190 GiB of activations; then, of parameters.
        ("cpu", 128, "use a smaller batch"),
        ("llvmpipe", 128, "use a smaller batch"),
        ("cpu", 2048, "use a smaller network"),
        ("llvmpipe", 2048, "use a smaller network"),
    ] {
        let mut c = program();
        c.arg("train").arg("--out").arg(&out);
        c.args(["--device", device, "--batch-size", "8192"]);
        let width = format!("model.width={width}");
        let sizes = [
            &width,
            "model.stem_stride=1",
            "data.shapes_train=8192",
            "model.encoder=resnet18",
        ];
        for s in sizes {
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

/// A disk of one megabyte and a half; needs the right to mount (as root has it, in CI too).
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
    // The same disk, as one that can only be read.
    assert!(mount(&["mount", "-o", "remount,ro"]));
    let read_only = program()
        .args(["train", "--device", "cpu", "--resume"])
        .arg(&out)
        .output()
        .unwrap();
    let unmounted = mount(&["umount"]);
    refused(&read_only, &["Read-only file system", "choose a folder"]);
    refused(
        &o,
        &[
            "No space left",
            "free some space and run it again (a training goes on with --resume)",
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
    // Two networks, a value that is none, a variance below zero: each by its name, at every start alike.
    let four = |v: f32| [v; 4].map(f32::to_le_bytes).concat();
    let (plain, nan, negative) = (four(1.0), four(f32::NAN), four(-1.0));
    for (tensors, words) in [
        (
            [
                ("backbone.bn1.weight", &plain),
                ("module.bn1.weight", &plain),
            ],
            ["`backbone.`", "`module.`"],
        ),
        (
            [("bn1.bias", &plain), ("bn1.weight", &nan)],
            ["`bn1.weight`", "NaN"],
        ),
        (
            [("bn1.bias", &plain), ("bn1.running_var", &negative)],
            ["`bn1.running_var` holds -1", "never below zero"],
        ),
    ] {
        let views = tensors.map(|(name, bytes)| {
            let of = safetensors::tensor::TensorView::new;
            (name, of(safetensors::Dtype::F32, vec![4], bytes).unwrap())
        });
        std::fs::write(&file, safetensors::serialize(views, None).unwrap()).unwrap();
        for _ in 0..3 {
            refused(&init(&out), &words);
        }
    }
    std::fs::write(&file, b"PK\x03\x04data.pkl").unwrap();
    refused(&init(&out), &["torch.save", "expected a safetensors file"]);
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

fn inspect(path: &Path) -> Output {
    program()
        .args(["data", "inspect"])
        .arg(path)
        .output()
        .unwrap()
}

#[test]
fn damaged_data_is_named() {
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    // CIFAR: three and a half records.
    std::fs::create_dir(at("cifar")).unwrap();
    std::fs::write(at("cifar/data_batch_1.bin"), vec![3; 3073 * 7 / 2]).unwrap();
    std::fs::write(at("cifar/test_batch.bin"), vec![3; 3073]).unwrap();
    refused(&inspect(&at("cifar")), &["data_batch_1.bin", "truncated"]);
    refused(
        &train(&at("run"), &["--data", at("cifar").to_str().unwrap()]),
        &["data_batch_1.bin", "truncated"],
    );
    // Images none of which is one: text, and a PNG's header that promises 40,000 x 40,000 pixels.
    std::fs::create_dir(at("images")).unwrap();
    std::fs::write(at("images/a.png"), "no image").unwrap();
    let mut bomb = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
    bomb.extend([0, 0, 0x9c, 0x40, 0, 0, 0x9c, 0x40, 8, 2, 0, 0, 0]);
    bomb.extend([0xde, 0x6e, 0x99, 0x52]);
    std::fs::write(at("images/b.png"), bomb).unwrap();
    refused(&inspect(&at("images")), &["none of 2 images", "a.png"]);
    for nothing in ["empty", "missing"] {
        let path = at(nothing);
        if nothing == "empty" {
            std::fs::create_dir(&path).unwrap();
        }
        refused(&inspect(&path), &[nothing]);
    }
    let odd = std::ffi::OsStr::from_bytes(b"caf\xe9");
    refused(&inspect(&dir.path().join(odd)), &["UTF-8"]);
    assert!(!at("run").exists(), "a refused run leaves nothing behind");
}

/// Images of one pixel and a folder linked into itself, into a run folder whose name is no UTF-8.
#[test]
fn odd_images_train() {
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    for (class, colour) in [("dark", 20u8), ("light", 220)] {
        std::fs::create_dir_all(data.join(class)).unwrap();
        for i in 0..20 {
            let file = data.join(class).join(format!("{i}.png"));
            image::RgbImage::from_pixel(1, 1, image::Rgb([colour + i; 3]))
                .save(file)
                .unwrap();
        }
    }
    std::os::unix::fs::symlink(&data, data.join("dark/again")).unwrap();
    let out = dir.path().join(std::ffi::OsStr::from_bytes(b"run-\xe9"));
    let o = train(&out, &["--data", data.to_str().unwrap()]);
    assert!(o.status.success(), "{}", error(&o));
    let log = std::fs::read_to_string(out.join("log.txt")).unwrap();
    assert!(
        log.contains("(1x1 in their files)") && log.contains("loop"),
        "{log}"
    );
}

/// A clock that loses an hour at every look, in place of the system's, by the linker's means: needs a C compiler.
#[cfg(target_os = "linux")]
#[test]
fn a_clock_that_goes_backwards_changes_nothing() {
    const CLOCK: &str = r#"
        #define _GNU_SOURCE
        #include <time.h>
        #include <unistd.h>
        #include <sys/syscall.h>
        static long lost;
        int clock_gettime(clockid_t id, struct timespec *t) {
            int r = syscall(SYS_clock_gettime, id, t);
            if (id == CLOCK_REALTIME && r == 0) t->tv_sec -= 3600 * __sync_add_and_fetch(&lost, 1);
            return r;
        }"#;
    let dir = tempfile::tempdir().unwrap();
    let (source, library) = (dir.path().join("clock.c"), dir.path().join("clock.so"));
    std::fs::write(&source, CLOCK).unwrap();
    let cc = std::process::Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .status();
    assert!(
        cc.is_ok_and(|s| s.success()),
        "no C compiler (cc), which Rust itself links with"
    );
    let run = |name: &str, backwards: bool| {
        let out = dir.path().join(name);
        for more in [
            &["--set", "run.epochs=1"][..],
            &["--overwrite", "--set", "run.epochs=2"],
        ] {
            let mut c = program();
            c.arg("train").arg("--out").arg(&out).args(TINY).args(more);
            if backwards {
                c.env("LD_PRELOAD", &library);
            }
            let o = c.output().unwrap();
            assert!(o.status.success(), "{}", error(&o));
        }
        let text = std::fs::read_to_string(out.join("summary.json")).unwrap();
        let summary: serde_json::Value = serde_json::from_str(&text).unwrap();
        let text = std::fs::read_to_string(out.join("environment.json")).unwrap();
        let started: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(summary["seconds"].as_f64().unwrap() >= 0.0);
        (
            summary["weights_sha256"].clone(),
            started["started_unix"].as_u64().unwrap(),
        )
    };
    let (ours, theirs) = (run("back", true), run("forth", false));
    assert_eq!(ours.0, theirs.0);
    assert!(
        ours.1 < theirs.1 - 3000,
        "the clock was not replaced: {ours:?} {theirs:?}"
    );
}
