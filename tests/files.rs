//! Files that are there stay, unless their replacement was asked for and stands: every verb that writes.

use amcl_wgpu::config::Config;
use amcl_wgpu::device::Choice;
use amcl_wgpu::run::event::Event;
use amcl_wgpu::train::Trainer;
use assert_cmd::Command;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::OnceLock;

const TINY: [&str; 6] = [
    "data.shapes_train=64",
    "data.shapes_test=40",
    "model.width=4",
    "heads.hidden=8",
    "heads.out=8",
    "optim.batch_size=32",
];

fn program(args: &[&str]) -> Output {
    let mut c = Command::new(assert_cmd::cargo::cargo_bin!("amcl-wgpu"));
    c.args(args).output().unwrap()
}

fn arguments<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec![
        "train",
        "--device",
        "cpu",
        "--no-report",
        "--epochs",
        "1",
        "--out",
        out,
    ];
    TINY.iter().for_each(|s| args.extend(["--set", s]));
    args.extend(more);
    args
}

fn done(args: &[&str]) -> String {
    let o = program(args);
    let said = String::from_utf8_lossy(&o.stderr).into_owned();
    assert!(o.status.success(), "{args:?}: {said}");
    said
}

/// Fails with these words, in one line.
fn refused(args: &[&str], words: &[&str]) {
    let o = program(args);
    let said = String::from_utf8_lossy(&o.stderr);
    assert!(!o.status.success(), "{args:?} succeeded: {said}");
    for w in words {
        assert!(said.contains(w), "{args:?}: `{w}` is not in: {said}");
    }
    assert!(
        said.trim_end().lines().count() == 1 && !said.contains("panicked"),
        "{said}"
    );
}

/// Every file below a folder with its content, locks aside.
fn files(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let all = walkdir::WalkDir::new(path).into_iter().flatten();
    all.filter(|e| e.file_type().is_file() && e.file_name() != ".lock")
        .map(|e| (e.path().to_path_buf(), std::fs::read(e.path()).unwrap()))
        .collect()
}

/// One run for all tests, which none of them changes.
fn run() -> &'static str {
    static RUN: OnceLock<String> = OnceLock::new();
    RUN.get_or_init(|| {
        let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("files-run");
        let _ = std::fs::remove_dir_all(&out);
        let out = out.to_str().unwrap().to_string();
        done(&arguments(&out, &[]));
        out
    })
}

#[test]
fn a_run_is_replaced_only_by_one_that_stands() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let out = out.to_str().unwrap();
    done(&arguments(out, &[]));
    let before = files(Path::new(out));
    let empty = dir.path().join("no-images");
    std::fs::create_dir(&empty).unwrap();
    // Configuration, data, device, memory, the weights to start from: whatever fails, the run stays.
    let wide = [
        "--overwrite",
        "--set",
        "model.width=2048",
        "--set",
        "model.encoder=resnet18",
    ];
    let faults: [(&[&str], &str); 6] = [
        (&["--overwrite", "--set", "optim.lr=fast"], "optim"),
        (
            &["--overwrite", "--data", "/no/such/folder"],
            "no such folder",
        ),
        (
            &["--overwrite", "--data", empty.to_str().unwrap()],
            "no-images",
        ),
        (
            &["--overwrite", "--device", "no such adapter"],
            "no such adapter",
        ),
        (&["--overwrite", "--init", "/no/such/file"], "/no/such/file"),
        (&wide, "largest tensors"),
    ];
    for (more, words) in faults {
        // The last of two `--device` counts where there are two.
        let mut args = arguments(out, more);
        if more.contains(&"--device") {
            args.drain(1..3);
        }
        let o = program(&args);
        let said = String::from_utf8_lossy(&o.stderr).to_lowercase();
        assert!(
            !o.status.success() && said.contains(words),
            "{more:?}: {said}"
        );
        assert_eq!(files(Path::new(out)), before, "{more:?}");
    }
    done(&arguments(out, &["--overwrite", "--seed", "5"]));
    let after = files(Path::new(out));
    assert_ne!(after, before, "the control: a run that stands replaces it");
    assert!(
        !after
            .keys()
            .any(|f| f.to_string_lossy().contains(".replac"))
    );
}

/// A disk that fills up while the new run begins; needs the right to mount.
#[test]
fn a_full_disk_gives_the_old_run_back() {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let mount = |args: &[&str]| {
        let mut c = std::process::Command::new(args[0]);
        let s = c.args(&args[1..]).arg(&disk).stderr(Stdio::null()).status();
        s.is_ok_and(|s| s.success())
    };
    if !mount(&["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs"]) {
        println!("not tested: this process may not mount a small disk");
        return;
    }
    let out = disk.join("run");
    let trained = program(&arguments(out.to_str().unwrap(), &[]));
    let before = files(&out);
    let fill = std::fs::write(disk.join("fill"), vec![0; 1 << 20]);
    let o = program(&arguments(out.to_str().unwrap(), &["--overwrite"]));
    let after = files(&out);
    assert!(mount(&["umount"]) && trained.status.success() && fill.is_err());
    let said = String::from_utf8_lossy(&o.stderr);
    assert!(
        !o.status.success() && said.contains("No space left"),
        "{said}"
    );
    assert_eq!(after, before);
}

fn embed<'a>(file: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["embed", run(), "--device", "cpu", "-o", file][..], more].concat()
}

#[test]
fn embed_and_export_replace_only_what_they_may() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    let (csv, npy) = (at("f.csv"), at("f.npy"));
    // The table that is written beside a .npy is named by nobody.
    done(&embed(&csv, &[]));
    let before = files(dir.path());
    refused(
        &embed(&npy, &[]),
        &["f.csv is already there", "--overwrite"],
    );
    refused(&embed(&csv, &[]), &["f.csv is already there"]);
    assert_eq!(files(dir.path()), before);
    done(&embed(&npy, &["--overwrite"]));
    assert!(
        std::fs::read_to_string(&csv)
            .unwrap()
            .starts_with("filename,label\n")
    );

    std::fs::create_dir(at("mine")).unwrap();
    for (name, text) in [
        ("config.json", "{\"mine\": 1}"),
        ("load_encoder.py", "mine"),
    ] {
        std::fs::write(dir.path().join("mine").join(name), text).unwrap();
    }
    let mine = at("mine");
    let before = files(Path::new(&mine));
    let words = [
        "config.json",
        "load_encoder.py",
        "are already there",
        "--overwrite",
    ];
    refused(&["export", run(), "-o", &mine], &words);
    assert_eq!(files(Path::new(&mine)), before);
    done(&["export", run(), "-o", &mine, "--overwrite"]);
    assert_eq!(files(Path::new(&mine)).len(), 4);
    refused(&["export", run(), "-o", &at("f.csv")], &["f.csv"]);
}

#[test]
fn other_verbs_keep_what_is_there_too() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    let golden = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/golden/nt_xent_b8.safetensors"
    );
    std::fs::write(at("file"), "mine").unwrap();
    let file = at("file");
    let bench = [
        "bench",
        "--device",
        "cpu",
        "--filter",
        "no such row",
        "--seconds",
        "0.001",
    ];
    let verbs: [&[&str]; 3] = [
        &[
            "preview",
            "--device",
            "cpu",
            "--set",
            "data.shapes_train=8",
            "-o",
            &file,
        ],
        &["loss", golden, "-o", &file],
        &[&bench[..], &["-o", &file]].concat(),
    ];
    for args in verbs {
        refused(args, &["file is already there", "--overwrite"]);
        assert_eq!(std::fs::read(&file).unwrap(), b"mine", "{args:?}");
        done(&[args, &["--overwrite"]].concat());
        assert_ne!(std::fs::read(&file).unwrap(), b"mine", "{args:?}");
        std::fs::write(&file, "mine").unwrap();
    }
    // A sweep writes names that nobody gave.
    std::fs::create_dir(at("sweep")).unwrap();
    std::fs::write(at("sweep/report.html"), "mine").unwrap();
    let experiment = "preset = 'quickstart'\n[[case]]\nname = 'a'\n";
    std::fs::write(at("e.toml"), experiment).unwrap();
    let sweep = at("sweep");
    refused(
        &["sweep", &at("e.toml"), "--device", "cpu", "-o", &sweep],
        &["`report.html`"],
    );
    assert_eq!(files(Path::new(&sweep)).len(), 1);
}

/// The commit is that of the checkout, where the tests run in one, and the CPU executor has no driver.
#[test]
fn a_benchmark_says_what_it_measured() {
    let dir = tempfile::tempdir().unwrap();
    let of = |device: &str| {
        let file = dir.path().join(device);
        let file = file.to_str().unwrap();
        done(&[
            "bench",
            "--device",
            device,
            "--filter",
            "none",
            "--seconds",
            "0.01",
            "-o",
            file,
        ]);
        let text = std::fs::read_to_string(file).unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap()
    };
    let (cpu, gpu) = (of("cpu"), of("llvmpipe"));
    assert!(cpu["driver"].is_null() && cpu["device"].is_string());
    assert!(
        gpu["driver"]
            .as_str()
            .is_some_and(|d| d.contains("Mesa") || d.contains("llvm")),
        "{gpu}"
    );
    // The checkout's commit, or an earlier one from which the sources have not changed since.
    let root = env!("CARGO_MANIFEST_DIR");
    if Path::new(root).join(".git").exists() {
        let commit = cpu["commit"].as_str().unwrap().trim_end_matches("-dirty");
        let leads_here = |commit: &str| {
            let git = std::process::Command::new("git")
                .args(["-C", root, "merge-base", "--is-ancestor", commit, "HEAD"])
                .output();
            git.is_ok_and(|o| o.status.success())
        };
        assert!(leads_here(commit), "{commit}");
        assert!(!leads_here(&"0".repeat(40)), "the control");
    }
    // The environment of a run has the same.
    let text = std::fs::read_to_string(Path::new(run()).join("environment.json")).unwrap();
    let environment: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(environment["commit"], cpu["commit"]);
    assert!(environment["driver"].is_null() && environment.get("driver").is_some());
}

#[test]
fn runs_that_start_at_once_get_folders_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let start = |at: &Path, numbered: bool| {
        let mut args = arguments("run", &[]);
        if numbered {
            let out = args.iter().position(|a| *a == "--out").unwrap();
            args.drain(out..out + 2);
        }
        let mut c = std::process::Command::new(assert_cmd::cargo::cargo_bin!("amcl-wgpu"));
        let c = c.args(args).current_dir(at);
        c.stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    // Numbered folders: all succeed.
    let all: Vec<_> = (0..4).map(|_| start(dir.path(), true)).collect();
    for child in all {
        let o = child.wait_with_output().unwrap();
        assert!(o.status.success(), "{}", String::from_utf8_lossy(&o.stderr));
    }
    let runs = std::fs::read_dir(dir.path().join("runs")).unwrap();
    let ended = runs
        .flatten()
        .filter(|e| e.path().join("summary.json").exists());
    assert_eq!(ended.count(), 4);
    // One folder: one succeeds, and the others say why not.
    let same = dir.path().join("same");
    std::fs::create_dir(&same).unwrap();
    let all: Vec<_> = (0..4).map(|_| start(&same, false)).collect();
    let mut ended = 0;
    for child in all {
        let o = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&o.stderr);
        ended += usize::from(o.status.success());
        let known = ["another process is training", "already holds something"];
        assert!(
            o.status.success() || known.iter().any(|k| said.contains(k)),
            "{said}"
        );
    }
    assert_eq!(ended, 1);
    // A start that fails leaves no numbered folder behind.
    let empty = dir.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let mut c = Command::new(assert_cmd::cargo::cargo_bin!("amcl-wgpu"));
    let o = c
        .current_dir(&empty)
        .args(["train", "--device", "cpu", "--data", "/no/such/folder"]);
    assert!(!o.output().unwrap().status.success());
    assert!(files(&empty).is_empty());
    assert_eq!(
        std::fs::read_dir(empty.join("runs")).map_or(0, |d| d.count()),
        0
    );
}

/// The data's folder is not there: whoever opened the data again would fail.
#[test]
fn the_last_report_is_drawn_from_the_session_at_hand() {
    let dir = tempfile::tempdir().unwrap();
    let over = |path: &str| -> Vec<String> {
        let more = [format!("data.path={path:?}"), "run.epochs=1".into()];
        TINY.iter().map(ToString::to_string).chain(more).collect()
    };
    let images = Config::parse("", &over("shapes"))
        .unwrap()
        .open_data(&|_, _| ())
        .unwrap();
    let config = Config::parse("", &over("/no/such/folder")).unwrap();
    let out = dir.path().join("run");
    let (mut page, mut order) = (None, Vec::new());
    Trainer::new(config)
        .data(images)
        .device(Choice::Cpu)
        .out(&out)
        .on_event(|e| order.push(matches!(e, Event::Finished(_))))
        .at_end(|session, split| {
            assert!(out.join("summary.json").exists());
            page = Some(amcl_wgpu::report::write(&out, Some((session, split))).unwrap());
        })
        .run()
        .unwrap();
    assert!(order.last() == Some(&true), "nothing follows");
    let text = std::fs::read_to_string(page.unwrap()).unwrap();
    for words in [
        "The run went to its end",
        "Confusion of kNN",
        "Originals and their augmented views",
    ] {
        assert!(text.contains(words), "{words}");
    }
}
