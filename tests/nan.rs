//! What is not a number, or says nothing, is not hidden: steps skipped in vain, weights and features that are not
//! finite, features that are all the same, a batch of equal images.

use amcl_wgpu::config::Config;
use amcl_wgpu::graph::HostData;
use amcl_wgpu::graph::host::HostExecutor;
use amcl_wgpu::nn::model::PARAMS;
use amcl_wgpu::run::checkpoint;
use amcl_wgpu::train::session::Session;
use assert_cmd::Command;
use serde_json::Value;
use std::path::Path;
use std::process::Output;

const TINY: [&str; 6] = [
    "data.shapes_train=64",
    "data.shapes_test=20",
    "model.width=4",
    "heads.hidden=8",
    "heads.out=8",
    "optim.batch_size=32",
];

fn program(args: &[&str]) -> Output {
    let mut c = Command::new(assert_cmd::cargo::cargo_bin!("amcl-wgpu"));
    c.args(args).output().unwrap()
}

/// Trains a tiny network on the CPU, an epoch of two steps.
fn train(out: &Path, more: &[&str]) -> Output {
    let mut args = vec!["train", "--device", "cpu", "--no-report", "--epochs", "1"];
    args.extend(["--out", out.to_str().unwrap()]);
    args.extend(TINY.iter().flat_map(|s| ["--set", s]));
    args.extend(more);
    program(&args)
}

fn error(o: &Output) -> String {
    String::from_utf8_lossy(&o.stderr).into_owned()
}

fn succeeded(o: &Output) -> String {
    assert!(o.status.success(), "{}", error(o));
    error(o)
}

/// A temperature of 1e-5 makes gradients 100,000 times as large, which overflow 16 bits at every loss scale that two
/// steps come to. The weights stay what they were, and the run does not pass for a success.
#[test]
fn a_run_whose_steps_were_all_skipped_is_no_success() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let mixed = ["--precision", "mixed"];
    let plain = ["--set", "amcl.enabled=false", "--set", "heads.count=1"];
    let hard = [&plain[..], &["--set", "loss.temperature=1e-5"]].concat();
    let o = train(&out, &[&mixed[..], &hard[..]].concat());
    let text = error(&o);
    assert!(!o.status.success(), "succeeded: {text}");
    for words in ["all 2 steps were skipped", "--precision f32", "checkpoint"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!out.join("summary.json").exists());
    // Continued, it is not one either; the controls: f32, and the usual temperature.
    let resumed = program(&[
        "train",
        "--device",
        "cpu",
        "--resume",
        out.to_str().unwrap(),
    ]);
    assert!(!resumed.status.success() && error(&resumed).contains("all 2 steps"));
    succeeded(&train(&dir.path().join("f32"), &hard));
    succeeded(&train(
        &dir.path().join("usual"),
        &[&mixed[..], &plain].concat(),
    ));
}

/// The session of a run's folder at its newest checkpoint, and where that stands.
fn session(run: &Path) -> (Session, Config, checkpoint::Position) {
    let text = std::fs::read_to_string(run.join("config.toml")).unwrap();
    let config = Config::parse(&text, &[]).unwrap();
    let data = config.open_data(&|_, _| ()).unwrap().train;
    let exec = Box::new(HostExecutor::<f32>::new());
    let mut s = Session::new(&config, exec, &data).unwrap();
    let dir = run.join("checkpoints");
    let at = checkpoint::load_latest(&dir, s.exec.as_mut(), &s.model.states, |w| panic!("{w}"));
    (s, config, at.unwrap())
}

/// Puts `value` in place of the last number of a parameter, and saves that as the run's newest checkpoint.
fn spoil(run: &Path, parameter: &str, value: f32) -> Session {
    let (mut s, config, mut at) = session(run);
    assert_eq!(s.broken_parameter().unwrap(), None);
    let id = s.model.states.find(PARAMS, parameter).unwrap();
    let mut values = s.exec.read_state(&s.model.states, id).unwrap().to_f32();
    *values.last_mut().unwrap() = value;
    let values = HostData::F32(values);
    s.exec.write_state(&s.model.states, id, &values).unwrap();
    at.step += 1;
    let text = config.to_toml().unwrap();
    let dir = run.join("checkpoints");
    checkpoint::save(&dir, s.exec.as_mut(), &s.model.states, at, &text).unwrap();
    s
}

#[test]
fn weights_and_features_that_are_not_finite_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    succeeded(&train(&run, &["--set", "run.knn_every=0"]));
    let path = run.to_str().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    let linear = ["--epochs", "1"];
    let words = ["not finite", "20 of 20 images"];
    let say = |args: &[&str], words: &[&str]| {
        let text = error(&program(args));
        for w in words {
            assert!(text.contains(w), "{args:?}: `{w}` is not in: {text}");
        }
        text
    };
    // The control: nothing is said of a sound run.
    for args in [
        vec!["eval", "knn", path, "--device", "cpu"],
        vec!["embed", path, "--device", "cpu", "-o", &at("sound.npy")],
        vec!["export", path, "-o", &at("sound")],
    ] {
        let text = succeeded(&program(&args));
        assert!(!text.contains("finite") && !text.contains("same"), "{text}");
    }
    for value in [f32::NAN, -f32::NAN, f32::INFINITY] {
        // What an infinite weight makes negative is zero behind a ReLU.
        let words = &words[..if value.is_nan() { 2 } else { 1 }];
        // The first convolution of the encoder: ReLUs and sums lie between it and the features.
        let mut s = spoil(&run, "conv1.weight", value);
        assert_eq!(
            s.broken_parameter().unwrap().as_deref(),
            Some("conv1.weight")
        );
        say(&["eval", "knn", path, "--device", "cpu"], words);
        say(
            &[&["eval", "linear", path, "--device", "cpu"][..], &linear].concat(),
            words,
        );
        say(
            &[
                "eval",
                "similarity",
                path,
                "--device",
                "cpu",
                "--pairs",
                "9",
            ],
            &words[..1],
        );
        let table = at("features.npy");
        let embedded = [
            "embed",
            path,
            "--device",
            "cpu",
            "--split",
            "test",
            "--overwrite",
            "-o",
            &table,
        ];
        say(&embedded, words);
        say(
            &["export", path, "--overwrite", "-o", &at("exported")],
            &["`conv1.weight` are not finite"],
        );
        std::fs::remove_file(&table).unwrap();
        spoil_back(&run);
    }
}

/// Takes the newest checkpoint away, so that the one before it is the newest.
fn spoil_back(run: &Path) {
    let files = std::fs::read_dir(run.join("checkpoints")).unwrap();
    let mut files: Vec<_> = files.map(|f| f.unwrap().path()).collect();
    files.sort();
    std::fs::remove_file(files.pop().unwrap()).unwrap();
}

/// Blank images of two classes: black and white ones, or all alike.
fn blank(folder: &Path, shades: [u8; 2]) {
    for part in ["train", "test"] {
        for (class, shade) in ["black", "white"].iter().zip(shades) {
            let to = folder.join(part).join(class);
            std::fs::create_dir_all(&to).unwrap();
            for i in 0..8 {
                let image = image::RgbImage::from_pixel(8, 8, image::Rgb([shade; 3]));
                image.save(to.join(format!("{i}.png"))).unwrap();
            }
        }
    }
}

#[test]
fn features_that_are_all_the_same_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let said = |shades: [u8; 2]| {
        let name = format!("{shades:?}");
        let (data, run) = (
            dir.path().join(&name),
            dir.path().join(format!("run {name}")),
        );
        blank(&data, shades);
        let data = [
            "--data",
            data.to_str().unwrap(),
            "--set",
            "optim.batch_size=8",
        ];
        let trained = train(&run, &[&data[..], &["--set", "run.knn_every=1"]].concat());
        let path = run.to_str().unwrap();
        let table = dir.path().join(format!("{name}.npy"));
        let embed = [
            "embed",
            path,
            "--device",
            "cpu",
            "--overwrite",
            "-o",
            table.to_str().unwrap(),
        ];
        let told = [
            program(&["eval", "knn", path, "--device", "cpu"]),
            program(&embed),
            program(&[&["--json"], &embed[..]].concat()),
        ];
        let json: Value = serde_json::from_slice(&told[2].stdout).unwrap();
        let said = [&told[0], &told[1]].map(|o| succeeded(o).contains("are the same"));
        (succeeded(&trained), said, json["doubt"].is_string())
    };
    let (_, alike, doubt) = said([128, 128]);
    assert!(alike == [true; 2] && doubt);
    let (_, apart, doubt) = said([0, 255]);
    assert!(apart == [false; 2] && !doubt);
}

/// A batch of equal images leaves every channel constant. Batch norm's epsilon makes zeros of them; MIFA-Lab's
/// deviation divides by zero, and the run says where.
#[test]
fn barlow_twins_takes_a_batch_of_equal_images() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("blank");
    blank(&data, [128, 128]);
    let of = |name: &str, more: &[&str]| {
        let fixed = [
            "--method",
            "barlow_twins",
            "--set",
            "optim.batch_size=2",
            "--data",
        ];
        let data = data.to_str().unwrap();
        train(
            &dir.path().join(name),
            &[&fixed[..], &[data], more].concat(),
        )
    };
    succeeded(&of("default", &[]));
    let o = of("unbiased", &["--set", "method.standardize=unbiased"]);
    assert!(!o.status.success());
    assert!(error(&o).contains("standardize_columns"), "{}", error(&o));
    let text = std::fs::read_to_string(dir.path().join("default/config.toml")).unwrap();
    assert!(text.contains("standardize = \"batch_norm\""), "{text}");
}
