//! The protocols of `eval` on a tiny run: what they print, where they write it, and whose result a sweep takes for
//! its own.

use assert_cmd::Command;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::OnceLock;

/// One epoch on 120 generated images.
const TINY: &[&str] = &[
    "data.shapes_train=120",
    "data.shapes_test=60",
    "optim.batch_size=30",
    "model.width=4",
    "model.stem_stride=2",
    "heads.count=2",
    "heads.hidden=8",
    "heads.out=8",
    "amcl.enabled=true",
    "run.epochs=1",
    "run.seed=3",
];

fn program(args: &[&str]) -> Output {
    let mut c = Command::new(assert_cmd::cargo::cargo_bin!("amcl-wgpu"));
    c.args(args).output().unwrap()
}

fn sets() -> Vec<&'static str> {
    TINY.iter().flat_map(|s| ["--set", s]).collect()
}

fn succeeds(args: &[&str]) -> Value {
    let o = program(&[&["--json"], args].concat());
    let error = String::from_utf8_lossy(&o.stderr);
    assert!(o.status.success(), "{args:?}: {error}");
    serde_json::from_slice(&o.stdout).unwrap()
}

/// Fails with these words.
fn refused(args: &[&str], words: &str) {
    let o = program(args);
    let error = String::from_utf8_lossy(&o.stderr);
    assert!(!o.status.success(), "{args:?} succeeded");
    assert!(
        error.contains(words) && !error.contains("panicked"),
        "{args:?}: {error}"
    );
}

fn read(file: &Path) -> Value {
    let text = std::fs::read(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    serde_json::from_slice(&text).unwrap()
}

fn write(file: &Path, value: &Value) {
    std::fs::write(file, value.to_string()).unwrap();
}

/// A copy of one run that all tests share, so that none sees another's results.
struct Copy {
    _dir: tempfile::TempDir,
    run: PathBuf,
    /// Folders of images, each `pets` by name.
    pets: [PathBuf; 2],
}

impl Copy {
    fn new() -> Self {
        static RUN: OnceLock<PathBuf> = OnceLock::new();
        let from = RUN.get_or_init(|| {
            let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("evaluation-run");
            let _ = std::fs::remove_dir_all(&out);
            let args = ["train", "--device", "cpu", "--no-report", "--out"];
            let out_text = out.to_str().unwrap();
            succeeds(&[&args[..], &[out_text], &sets()].concat());
            out
        });
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run");
        std::fs::create_dir_all(run.join("checkpoints")).unwrap();
        for part in ["", "checkpoints"] {
            for f in std::fs::read_dir(from.join(part)).unwrap().flatten() {
                if f.path().is_file() {
                    std::fs::copy(f.path(), run.join(part).join(f.file_name())).unwrap();
                }
            }
        }
        let pets = ["here", "there"].map(|at| dir.path().join(at).join("pets"));
        for (i, folder) in pets.iter().enumerate() {
            paint(folder, 20 + 10 * i);
        }
        Self {
            _dir: dir,
            run,
            pets,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.run.join(name)
    }

    fn files(&self) -> Vec<String> {
        let all = std::fs::read_dir(&self.run).unwrap().flatten();
        let mut names: Vec<String> = all
            .map(|f| f.file_name().into_string().unwrap())
            .filter(|n| n.starts_with("eval-") && n.ends_with(".json"))
            .collect();
        names.sort();
        names
    }

    /// The arguments of a protocol on this run.
    fn args<'a>(&'a self, protocol: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let run = self.run.to_str().unwrap();
        [&["eval", protocol, run, "--device", "cpu"], more].concat()
    }

    fn eval(&self, protocol: &str, more: &[&str]) -> Value {
        succeeds(&self.args(protocol, more))
    }
}

/// Two classes of `count` images, dark and bright, with a pattern each.
fn paint(folder: &Path, count: usize) {
    for (class, base) in [("cats", 30), ("dogs", 170)] {
        let folder = folder.join(class);
        std::fs::create_dir_all(&folder).unwrap();
        for i in 0..count as u32 {
            image::RgbImage::from_fn(16, 16, |x, y| {
                let v = (base + (x * (i + 3) + y * 7) % 60) as u8;
                image::Rgb([v, 255 - v, v / 2])
            })
            .save(folder.join(format!("{i}.png")))
            .unwrap();
        }
    }
}

fn percent(v: &Value) -> f64 {
    let found = v.as_f64().unwrap_or_else(|| panic!("{v} is no number"));
    assert!((0.0..=100.0).contains(&found), "{found}");
    found
}

/// The result says where it comes from.
fn comes_from(v: &Value, protocol: &str, data: &str, seed: u64) {
    assert!(v["protocol"].as_str().unwrap().contains(protocol), "{v}");
    assert!(v["data"].as_str().unwrap().contains(data), "{v}");
    assert_eq!((&v["seed"], &v["epoch"]), (&json!(seed), &json!(1)), "{v}");
}

const SHAPES: &str = "shapes: 120 training and 60 test images of 32x32, generated (seed 3)";

#[test]
fn knn_of_backbone_and_heads() {
    let c = Copy::new();
    let backbone = c.eval("knn", &[]);
    assert_eq!(backbone, read(&c.file("eval-knn.json")));
    comes_from(&backbone, "backbone features", SHAPES, 3);
    // What the training found at its end, by the same protocol.
    let summary = read(&c.file("summary.json"));
    assert_eq!(backbone["knn_top1"], summary["knn_top1"]);
    let head = c.eval("knn", &["--feature", "head:2", "--k", "5"]);
    assert_eq!(head, read(&c.file("eval-knn.json")));
    comes_from(&head, "embeddings of head 2", SHAPES, 3);
    assert_eq!(
        (&head["k"], &head["bank"], &head["queries"]),
        (&json!(5), &json!(120), &json!(60))
    );
    assert!(percent(&head["knn_top1"]) <= percent(&head["knn_top5"]));
    // Heads count from 1. What is refused leaves the result there.
    for wrong in ["head:0", "head:3"] {
        refused(&c.args("knn", &["--feature", wrong]), "heads 1 to 2");
    }
    refused(&c.args("knn", &["--t", "0"]), "knn.t is 0; it must be from");
    assert_eq!(head, read(&c.file("eval-knn.json")));
    assert_eq!(c.files(), ["eval-knn.json"]);
}

#[test]
fn few_labels_are_drawn_from_the_seed() {
    let c = Copy::new();
    let few = |seed: &str, draws: &str| {
        let more = ["--labels", "1,4", "--draws", draws, "--epochs", "3"];
        c.eval("few-label", &[&more[..], &["--seed", seed]].concat())
    };
    let v = few("5", "3");
    assert_eq!(v, read(&c.file("eval-few-label.json")));
    comes_from(&v, "linear probe (lightly)", SHAPES, 5);
    let rows = v["few_label"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    for (row, labels) in rows.iter().zip([1, 4]) {
        assert_eq!(row["labels"], labels);
        let draws: Vec<f64> = row["draws"]
            .as_array()
            .unwrap()
            .iter()
            .map(percent)
            .collect();
        let mean = draws.iter().sum::<f64>() / 3.0;
        let square = draws.iter().map(|d| (d - mean).powi(2)).sum::<f64>();
        assert!((percent(&row["top1"]) - mean).abs() < 1e-9);
        assert!((row["deviation"].as_f64().unwrap() - (square / 2.0).sqrt()).abs() < 1e-9);
    }
    // A draw is of its seed alone: the second of 5, 6, 7 is the first of 6.
    let next = few("6", "1");
    comes_from(&next, "linear probe (lightly)", SHAPES, 6);
    for (row, other) in rows.iter().zip(next["few_label"].as_array().unwrap()) {
        assert_eq!(row["draws"][1], other["draws"][0]);
    }
    refused(
        &c.args("few-label", &["--labels", "0"]),
        "labels is 0; it must be",
    );
    refused(
        &c.args("few-label", &["--draws", "0"]),
        "draws is 0; it must be",
    );
    assert_eq!(next, read(&c.file("eval-few-label.json")));
    assert_eq!(c.files(), ["eval-few-label.json"]);
}

/// Sets a run's own views and optimiser apart from every protocol's.
fn estrange(run: &Path) {
    let file = run.join("config.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let mut all: toml::Table = text.parse().unwrap();
    let augment = all["augment"].as_table_mut().unwrap();
    augment.insert("families".into(), "abcd".into());
    augment.insert("min_scale".into(), 1.0.into());
    augment.insert("hf_prob".into(), 1.0.into());
    augment.insert("solarization_prob".into(), vec![1.0, 1.0].into());
    let optim = all["optim"].as_table_mut().unwrap();
    optim.insert("clip".into(), 1e-6.into());
    std::fs::write(file, all.to_string()).unwrap();
}

#[test]
fn fine_tuning_of_shares_of_the_labels() {
    let c = Copy::new();
    let more = [
        "--fractions",
        "0.25,1",
        "--epochs",
        "3",
        "--batch-size",
        "20",
    ];
    let v = c.eval("finetune", &more);
    assert_eq!(v, read(&c.file("eval-finetune.json")));
    comes_from(&v, "crops (0.08 to 1) and mirroring (0.5)", SHAPES, 0);
    comes_from(&v, "SGD lr 0.05 momentum 0.9 wd 0, no clipping", SHAPES, 0);
    let rows = v["finetune"].as_array().unwrap();
    let facts: Vec<(f64, u64)> = rows
        .iter()
        .map(|r| {
            (
                r["fraction"].as_f64().unwrap(),
                r["images"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(facts, [(0.25, 30), (1.0, 120)]);
    for row in rows {
        percent(&row["top1"]);
    }
    for (flag, value, want) in [
        ("--lr", "0", "finetune.lr is 0"),
        ("--fractions", "1.5", "finetune.fractions is 1.5"),
        ("--epochs", "0", "finetune.epochs is 0"),
        (
            "--recipe",
            "mae",
            "the recipe mae is for Vision Transformers",
        ),
        ("--recipe", "mea", "no recipe `mea`"),
        (
            "--set",
            "smoothing=1",
            "finetune.smoothing is 1; it must be",
        ),
        ("--set", "layer_decay=-1", "finetune.layer_decay is -1"),
        ("--set", "drop_path=0.1", "has no branches to leave out"),
        ("--set", "mixupp=1", "did you mean finetune.mixup?"),
    ] {
        let o = program(&c.args("finetune", &[flag, value]));
        let said = String::from_utf8_lossy(&o.stderr).into_owned();
        assert!(
            !o.status.success() && said.contains(want),
            "{flag} {value}: {said}"
        );
    }
    // Nothing that was refused has touched the result.
    assert_eq!(v, read(&c.file("eval-finetune.json")));
    let set = ["--set", "mixup=0.8", "--set", "smoothing=0.1"];
    let mixed = c.eval("finetune", &[&more[..], &set].concat());
    comes_from(&mixed, "mixup (alpha 0.8), label smoothing 0.1", SHAPES, 0);
    // The run's own views and clipping have no part in it.
    estrange(&c.run);
    assert_eq!(c.eval("finetune", &more), v);
}

/// The probe's crops are the protocol's, too.
#[test]
fn a_probe_on_crops_is_of_its_protocol_not_of_the_run() {
    let c = Copy::new();
    let more = ["--augment", "--epochs", "2", "--batch-size", "40"];
    let v = c.eval("linear", &more);
    assert_eq!(v, read(&c.file("eval-linear.json")));
    comes_from(&v, "crops (0.08 to 1) and mirroring (0.5)", SHAPES, 0);
    estrange(&c.run);
    assert_eq!(c.eval("linear", &more), v);
    // The control: the loss tells other crops.
    let other = c.eval("linear", &[&more[..], &["--seed", "1"]].concat());
    assert_ne!(other["loss"], v["loss"]);
}

/// Other data: a file of its own, of whichever protocol, and the run's own result stays as it was.
#[test]
fn a_transfer_leaves_the_runs_own_results() {
    let c = Copy::new();
    let [here, there] = [0, 1].map(|i| c.pets[i].to_str().unwrap());
    let protocols: [(&str, &[&str]); 5] = [
        ("knn", &["--k", "5"]),
        ("linear", &["--epochs", "2"]),
        (
            "few-label",
            &["--labels", "2", "--draws", "1", "--epochs", "2"],
        ),
        ("finetune", &["--fractions", "0.5", "--epochs", "1"]),
        ("similarity", &["--pairs", "4"]),
    ];
    for (protocol, more) in protocols {
        c.eval(protocol, more);
        let own = c.file(&format!("eval-{protocol}.json"));
        let before = std::fs::read(&own).unwrap();
        c.eval(protocol, &[more, &["--data", here]].concat());
        assert_eq!(std::fs::read(&own).unwrap(), before, "{protocol}");
        let other = read(&c.file(&format!("eval-{protocol}-pets.json")));
        let own = read(&own);
        let seed = if protocol == "knn" { 3 } else { 0 };
        comes_from(&own, "", SHAPES, seed);
        comes_from(
            &other,
            "",
            "image folder, 40 training images of 2 classes",
            seed,
        );
        assert_eq!(other["data_path"], here);
    }
    let mut expected: Vec<String> = protocols
        .iter()
        .flat_map(|p| {
            [
                format!("eval-{}.json", p.0),
                format!("eval-{}-pets.json", p.0),
            ]
        })
        .collect();
    expected.sort();
    assert_eq!(c.files(), expected);
    // Of two sets of one name neither takes the other's file, and each finds its own again; the run's own data are no
    // transfer, however they are named.
    let first = read(&c.file("eval-linear-pets.json"));
    let own = read(&c.file("eval-linear.json"));
    let linear = |data: &str| c.eval("linear", &["--epochs", "2", "--data", data]);
    let second = linear(there);
    comes_from(&second, "", "60 training images of 2 classes", 0);
    assert_eq!(linear(&format!("{here}/../pets"))["data"], first["data"]);
    assert_eq!(linear("shapes"), own);
    assert_eq!(read(&c.file("eval-linear-pets-2.json")), second);
    assert_eq!(
        read(&c.file("eval-linear-pets.json"))["linear_top1"],
        first["linear_top1"]
    );
    expected.push("eval-linear-pets-2.json".into());
    expected.sort();
    assert_eq!(c.files(), expected);
}

#[test]
fn the_help_names_the_files() {
    let o = program(&["eval", "--help"]);
    let text = String::from_utf8_lossy(&o.stdout);
    assert!(
        text.contains("eval-PROTOCOL.json") && text.contains("eval-PROTOCOL-DATA.json"),
        "{text}"
    );
}

/// A sweep takes a result for its own where protocol, data, seed and epoch are; else it measures again.
#[test]
fn a_sweep_accepts_no_other_results() {
    let c = Copy::new();
    let dir = tempfile::tempdir().unwrap();
    let (file, out) = (dir.path().join("one.toml"), dir.path().join("sweep"));
    let text = "title = 'one'\npreset = 'quickstart'\neval = ['linear', 'few_label']\nlabels = [2]\ndraws = 1\n\
                linear = { epochs = 2, seed = 4 }\nseeds = [3]\n[[case]]\nname = 'only'\n";
    std::fs::write(&file, text).unwrap();
    let (file, out_text) = (file.to_str().unwrap(), out.to_str().unwrap());
    let args = [
        &["sweep", file, "--device", "cpu", "--out", out_text],
        &sets()[..],
    ]
    .concat();
    let row = || succeeds(&args)["rows"][0]["runs"][0].clone();
    let truth = row();
    let run = out.join("only-3");
    let results = [
        ("eval-linear.json", vec!["linear_top1"]),
        ("eval-few-label.json", vec!["few_label", "0", "top1"]),
    ];
    for (column, (name, at)) in results.iter().enumerate() {
        let result = run.join(name);
        let original = read(&result);
        comes_from(&original, "2 epochs", SHAPES, 4);
        // One that no measurement finds, to tell who was asked.
        let mut marked = original.clone();
        let pointer = format!("/{}", at.join("/"));
        *marked.pointer_mut(&pointer).unwrap() = json!(12.345);
        write(&result, &marked);
        assert_eq!(row()[column], 12.345, "its own is not measured again");
        assert_eq!(read(&result), marked);
        for (key, value) in [
            ("protocol", json!("another")),
            (
                "data",
                json!("image folder, 40 training images of 2 classes"),
            ),
            ("seed", json!(0)),
            ("epoch", json!(0)),
        ] {
            for value in [value, Value::Null] {
                let mut foreign = marked.clone();
                foreign[key] = value;
                write(&result, &foreign);
                assert_eq!(row(), truth, "{name}: {key}");
                assert_eq!(read(&result), original, "{name}: {key}");
            }
        }
    }
    // As it comes about: by hand, another seed and other data.
    let pets = c.pets[0].to_str().unwrap();
    let by_hand = |more: &[&str]| {
        let run = run.to_str().unwrap();
        let always = ["eval", "linear", run, "--device", "cpu", "--epochs", "2"];
        succeeds(&[&always[..], more].concat());
    };
    let result = run.join("eval-linear.json");
    let original = read(&result);
    by_hand(&["--seed", "9"]);
    assert_eq!(read(&result)["seed"], 9);
    assert_eq!(row(), truth);
    assert_eq!(read(&result), original);
    by_hand(&["--seed", "4", "--data", pets]);
    assert_eq!(read(&result), original);
    std::fs::copy(run.join("eval-linear-pets.json"), &result).unwrap();
    assert_eq!(row(), truth);
    assert_eq!(read(&result), original);
    // The run's data are not what they were when it was trained.
    let record = run.join("environment.json");
    let text = std::fs::read_to_string(&record).unwrap();
    assert!(text.contains(SHAPES));
    std::fs::write(&record, text.replace("120 training", "121 training")).unwrap();
    refused(&args, "are not those that the run was trained on");
}
