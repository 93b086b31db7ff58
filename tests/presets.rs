//! Every preset builds its full graph, and trains: one epoch on `shapes` with a narrow network and a small batch, all
//! else as the preset has it.

use crate::common;

use amcl_wgpu::config::Config;
use amcl_wgpu::config::method::declare;
use amcl_wgpu::config::presets::PRESETS;
use amcl_wgpu::data::shapes;
use amcl_wgpu::device::Choice;
use amcl_wgpu::graph::StepScalars;
use amcl_wgpu::graph::host::HostExecutor;
use amcl_wgpu::methods::METHODS;
use amcl_wgpu::train::Trainer;
use amcl_wgpu::train::session::Session;
use assert_cmd::Command;
use common::settings_of;
use serde_json::Value;
use std::path::Path;

/// Whoever adds a file to the folder has added the preset. `quickstart` stands first.
#[test]
fn the_presets_are_the_files_of_their_folder() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/presets");
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .map(|p| p.file_stem().unwrap().to_str().unwrap().to_string())
        .collect();
    files.sort_by_key(|f| (f != "quickstart", f.clone()));
    let names: Vec<&str> = PRESETS.iter().map(|p| p.0).collect();
    assert_eq!(names, files);
}

#[test]
fn every_preset_builds_its_full_model() {
    for (name, text) in PRESETS.iter() {
        let config = Config::parse(text, &[]).unwrap();
        let model = declare(&config).unwrap_or_else(|e| panic!("{name}: {e}"));
        let (_, count) = model.sizes();
        // ResNet-18 of width 64 has 11,168,832 weights; an encoder without a width says its size in its own tests.
        if let Some(width) = config.model.settings.get("width") {
            let narrow = width.as_integer() < Some(64);
            assert_eq!(count >= 11_168_832, !narrow, "{name}: {count}");
        }
    }
}

#[test]
fn every_preset_trains() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in PRESETS.iter() {
        let config = Config::parse(text, &[]).unwrap();
        let small = [
            "data.shapes_train=32",
            "data.shapes_test=20",
            "data.unlabeled=false",
            "model.width=4",
            // A last norm that starts at zero gives a block's other weights no gradient in the first step.
            "model.zero_init_residual=false",
            "model.image_size=16",
            "model.dim=12",
            "model.depth=3",
            "model.heads=3",
            "model.patch=8",
            "schedule.warmup_epochs=0",
            "optim.batch_size=16",
            "optim.micro_batches=1",
            // Two steps are too few for the loss scale to find its place; `mixed` tests that.
            "optim.precision=f32",
            "method.predictor_hidden=16",
            "method.queue=40",
            "method.decoder_dim=16",
            "method.decoder_depth=1",
            "method.decoder_heads=2",
        ];
        let named = format!("method.name={}", config.method.name);
        let encoder = format!("model.encoder={}", config.model.encoder);
        let mut settings = settings_of(&[&small[..], &[&named, &encoder]].concat());
        let widths = [("hidden", config.heads.hidden), ("out", config.heads.out)];
        let has_heads = config.spec().unwrap().has_heads;
        for (key, value) in widths.into_iter().filter(|_| has_heads) {
            settings.push(format!("heads.{key}={}", value.min(32)));
        }
        let narrow = Config::parse(text, &settings).unwrap();
        all_weights_move(&narrow, name);
        let out = folder.path().join(name);
        let mut command = Command::cargo_bin("amcl-wgpu").unwrap();
        command.args([
            "train", "--preset", name, "--device", "cpu", "--epochs", "1",
        ]);
        command.args(["--data", "shapes", "--json", "--out"]);
        command.arg(&out);
        for set in &settings {
            command.args(["--set", set]);
        }
        if config.spec().unwrap().starts_from.is_some() {
            // Another method's run with the same encoder.
            command.arg("--init").arg(folder.path().join("start"));
            if !folder.path().join("start").exists() {
                start_of(&narrow, &folder.path().join("start"));
            }
        }
        let output = command.output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{name}: {error}");
        let result: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(result["knn_top1"].is_f64(), "{name}: {result}");
    }
}

/// A run of SimCLR with the encoder of a configuration.
fn start_of(config: &Config, out: &Path) {
    let mut simclr = Config::parse("", &[]).unwrap();
    simclr.data = config.data.clone();
    simclr.data.path = "shapes".into();
    simclr.model = config.model.clone();
    simclr.optim.batch_size = config.optim.batch_size;
    simclr.run.epochs = 1;
    let trainer = Trainer::new(simclr).device(Choice::Cpu).out(out);
    trainer.run().unwrap();
}

/// The names of all parameters that train, and of those that one step at this learning rate leaves as they were.
/// Without weight decay, what moves a parameter is its gradient.
fn step(config: &Config, lr: f32, name: &str) -> (Vec<String>, Vec<String>) {
    let mut config = config.clone();
    config.optim.weight_decay = 0.0;
    let batch = config.optim.batch_size;
    let split = shapes::generate(1, batch, 20);
    let ids: Vec<u32> = (0..batch as u32).collect();
    let exec = Box::new(HostExecutor::<f32>::new());
    let mut s = Session::new(&config, exec, &split.train).unwrap();
    let (states, params): (Vec<_>, Vec<String>) = s
        .model
        .params
        .iter()
        .filter(|p| p.trained)
        .map(|p| (p.id, p.name.clone()))
        .unzip();
    let read = |s: &mut Session| -> Vec<Vec<f32>> {
        let values = |id: &_| s.exec.read_state(&s.model.states, *id).unwrap().to_f32();
        states.iter().map(values).collect()
    };
    let before = read(&mut s);
    let scalars = StepScalars {
        lr,
        ..StepScalars::default()
    };
    let step = s.start(&split.train, &ids, &scalars).unwrap();
    let done = s.finish(&step).unwrap();
    assert!(!done.failed && done.norm2 > 0.0, "{name}: {done:?}");
    let after = read(&mut s);
    let mut still = Vec::new();
    for ((param, before), after) in params.iter().zip(&before).zip(&after) {
        assert!(after.iter().all(|v| v.is_finite()), "{name}: {param}");
        if before == after {
            still.push(param.clone());
        }
    }
    (params, still)
}

/// One step moves every parameter; returns their names. Excepted is the last bias of Barlow Twins' and VICReg's head
/// where no phi reads the embeddings: both losses centre or subtract them, so that its gradient is zero but for
/// rounding.
fn all_weights_move(config: &Config, name: &str) -> Vec<String> {
    let (params, mut still) = step(config, 0.1, name);
    let centred = ["barlow_twins", "vicreg"].contains(&config.method.name.as_str());
    if centred && !params.iter().any(|p| p.contains("phi.")) {
        let mut biases = params.iter().rev();
        let last = biases.find(|p| p.starts_with("head.") && p.ends_with(".bias"));
        still.retain(|p| Some(p) != last);
    }
    assert!(still.is_empty(), "{name}: {still:?} stay");
    params
}

/// The control of [`all_weights_move`]: at a learning rate of 0 nothing moves.
#[test]
fn weights_that_stay_are_named() {
    let small = ["model.width=4", "model.image_size=16"];
    let small = [&small[..], &["optim.batch_size=16", "heads.hidden=8"]].concat();
    let config = Config::parse("", &settings_of(&small)).unwrap();
    let (params, still) = step(&config, 0.0, "at rest");
    assert_eq!(params, still);
    assert!(params.len() > 10, "{params:?}");
}

/// The paper's ablation rows for every method: one head and several, every kind of adaptivity, both parametrisations.
/// Each takes a step that moves its weights, or says why it cannot be.
#[test]
fn every_ablation_takes_a_step_or_says_why_not() {
    for method in METHODS.iter().filter(|m| m.amcl).map(|m| m.name) {
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
                    let config = match Config::parse("", &settings_of(&set)) {
                        Ok(c) => c,
                        Err(e) => {
                            assert_eq!((method, adaptive), ("simsiam", "negative_only"), "{name}");
                            assert!(e.to_string().contains("no negatives"), "{name}: {e}");
                            continue;
                        }
                    };
                    assert_ne!((method, adaptive), ("simsiam", "negative_only"), "{name}");
                    let params = all_weights_move(&config, &name);
                    let phi = params.iter().any(|p| p.contains("phi.2.weight"));
                    assert_eq!(phi, adaptive != "none", "{name}");
                }
            }
        }
    }
    for (set, why) in [
        ("method.name=byol", "AMCL is not defined for byol"),
        ("method.name=vicreg", "AMCL is not defined for vicreg"),
        ("loss.schedule=macl", "plain simclr, moco"),
    ] {
        let e = Config::parse("", &["amcl.enabled=true".into(), set.into()]).unwrap_err();
        assert!(e.to_string().contains(why), "{e}");
    }
    let e = Config::parse("", &["heads.count=3".into()]).unwrap_err();
    assert!(e.to_string().contains("plain simclr has one head"), "{e}");
}

/// What `sweep --list` says: the runs and their settings, or why not.
fn listed(args: &[&str]) -> Result<Vec<(String, Value)>, String> {
    let mut command = Command::cargo_bin("amcl-wgpu").unwrap();
    let output = command
        .args(["--json", "sweep", "--list"])
        .args(args)
        .output()
        .unwrap();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let all: Value = serde_json::from_slice(&output.stdout).unwrap();
    let runs: Vec<String> = serde_json::from_value(all["runs"].clone()).unwrap();
    let settings = all["settings"].as_array().unwrap().iter().cloned();
    assert_eq!(runs.len(), settings.len());
    Ok(runs.into_iter().zip(settings).collect())
}

/// The experiments that come with the program, by name: the files must be in the program too.
fn experiments() -> Vec<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/experiments");
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path());
    let names: Vec<String> = files
        .map(|p| p.file_stem().unwrap().to_str().unwrap().to_string())
        .collect();
    assert!(names.len() >= 12, "{names:?}");
    names
}

/// Experiments of Vision Transformers, whose presets are their own.
const OF_TRANSFORMERS: [&str; 3] = ["figure4", "figure4-small", "vit-small"];

/// An experiment's runs, all different: each with its folder and settings.
fn planned(name: &str, preset: Option<&str>) -> Vec<(String, Value)> {
    let mut args = vec![name];
    args.extend(preset.iter().flat_map(|p| ["--preset", *p]));
    let runs = listed(&args).unwrap_or_else(|e| panic!("{args:?}: {e}"));
    assert!(runs.len() >= 6, "{args:?}: {} runs", runs.len());
    for (i, a) in runs.iter().enumerate() {
        for b in &runs[..i] {
            assert!(a.0 != b.0 && a.1 != b.1, "{args:?}: {} is {}", a.0, b.0);
        }
    }
    runs
}

/// The experiments of Transformers plan their runs, small and at full size.
#[test]
fn the_experiments_of_transformers_plan() {
    let runs = planned("vit-small", None);
    assert_eq!(runs.len(), 13 * 3);
    for (folder, run) in &runs {
        assert_eq!(
            (&run["model"]["dim"], &run["run"]["epochs"]),
            (&96.into(), &10.into())
        );
        let constant = folder.contains("constant") == (run["amcl"]["adaptive"] == "none");
        assert!(constant, "{folder}");
        let amcl = folder.contains("AMCL") || folder.contains("constant");
        assert_eq!(run["amcl"]["enabled"], amcl, "{folder}");
    }
    // A start comes before what starts from it.
    let at = |name: &str| runs.iter().position(|r| r.0.ends_with(name)).unwrap();
    assert!(at("MAE-0") < at("LGP-from_MAE-0") && at("LGP-from_MAE-0") < at("MAE-1"));
    for (folder, run) in planned("vit-small", Some("simclr-vit-stl10")) {
        let whole = run["model"]["dim"] == 0 && run["run"]["epochs"].as_u64() >= Some(300);
        assert!(whole, "{folder}");
        assert_eq!(run["data"]["path"], "stl10_binary", "{folder}");
    }
    // The poster's points.
    let runs = planned("figure4", None);
    assert_eq!(runs.len(), 3 * 2 * 2 + 2 * 2 + 2 * 2 * 2);
    assert!(runs.iter().all(|r| r.1["model"]["image_size"] == 224));
    assert_eq!(planned("figure4-small", None).len(), 7 * 2 * 2);
}

/// The main comparison plans on ImageNet and its subsets, and the widths on ImageNet by SimCLR's own recipe.
#[test]
fn experiments_plan_on_imagenet() {
    for (set, encoder, path) in [
        ("imagenette", "resnet18", "imagenette2-160"),
        ("imagenet100", "resnet18", "imagenet100"),
        ("imagenet", "resnet50", "imagenet"),
    ] {
        let runs = planned("methods", Some(&format!("simclr-{set}")));
        assert_eq!(runs.len(), 8 * 3, "{set}");
        for (folder, run) in &runs {
            assert_eq!(run["model"]["encoder"], encoder, "{folder}");
            assert_eq!(run["data"]["path"], path, "{folder}");
            let amcl = folder.contains("AMCL");
            assert_eq!(run["amcl"]["enabled"], amcl, "{folder}");
            assert_eq!(run["heads"]["count"], if amcl { 3 } else { 1 }, "{folder}");
        }
    }
    let runs = planned("backbones", Some("simclr-imagenet"));
    assert_eq!(runs.len(), 3 * 2 * 2);
    for (folder, run) in &runs {
        assert_eq!(run["optim"]["batch_size"], 4096, "{folder}");
        assert_eq!(run["optim"]["name"], "lars", "{folder}");
    }
}

/// The experiments plan all their runs, as given and on a preset of the paper's scale, and no two runs would train
/// the same.
#[test]
fn every_experiment_plans() {
    for name in experiments() {
        if OF_TRANSFORMERS.contains(&name.as_str()) {
            continue;
        }
        for preset in [None, Some("simclr-amcl-stl10"), Some("simclr-stl10")] {
            let runs = planned(&name, preset);
            let Some(preset) = preset else { continue };
            let figure4 = name == "backbones";
            for (folder, run) in &runs {
                assert!(folder.contains(&format!("{name}-{preset}")), "{folder}");
                let model = if figure4 { "resnet50" } else { "resnet18" };
                let size = if figure4 { 224 } else { 96 };
                assert_eq!(run["model"]["encoder"], model, "{folder}");
                assert_eq!(run["model"]["width"], 64, "{folder}");
                assert_eq!(run["model"]["stem_stride"], 1, "{folder}");
                assert_eq!(run["model"]["image_size"], size, "{folder}");
                assert_eq!(run["optim"]["batch_size"], 512, "{folder}");
                assert_eq!(run["data"]["path"], "stl10_binary", "{folder}");
                let whole = run["run"]["epochs"] == 800;
                let short = ["backbones", "regime"].contains(&name.as_str());
                assert!(whole || short, "{folder}");
            }
        }
    }
}

/// What a case and the grid change wins over the preset; so does --set over all.
#[test]
fn a_preset_leaves_what_a_case_changes() {
    let of = |args: &[&str]| listed(args).unwrap();
    let count = |runs: &[(String, Value)], heads: u64, adaptive: &str| {
        let is = |r: &&(String, Value)| {
            r.1["heads"]["count"] == heads && r.1["amcl"]["adaptive"] == adaptive
        };
        runs.iter().filter(is).count()
    };
    // A plain preset is as good: the experiment says what AMCL is.
    for preset in ["simclr-amcl-cifar10", "simclr-cifar10", "moco-cifar100"] {
        let runs = of(&["heads", "--preset", preset, "--data", "shapes"]);
        for (folder, run) in &runs {
            assert_eq!(run["amcl"]["enabled"], true, "{folder}");
            assert_eq!(run["data"]["path"], "shapes", "{folder}");
        }
        for heads in [1, 2, 3, 4, 5, 8] {
            assert_eq!(count(&runs, heads, "full"), 3, "{preset}, {heads} heads");
            assert_eq!(count(&runs, heads, "none"), 3, "{preset}, {heads} heads");
        }
    }
    // One head of three heads' weights, whatever the preset's width.
    for (preset, wide) in [("quickstart", 192), ("simclr-amcl-stl10", 1536)] {
        let runs = of(&["ablation", "--preset", preset]);
        let hidden = |r: &(String, Value)| r.1["heads"]["hidden"].as_u64().unwrap();
        let (broad, rest): (Vec<_>, Vec<_>) =
            runs.iter().partition(|r| r.0.contains("3_times_as_wide"));
        assert_eq!((broad.len(), rest.len()), (6, 21));
        assert!(broad.iter().all(|r| hidden(r) == wide), "{preset}");
        assert!(rest.iter().all(|r| hidden(r) == wide / 3), "{preset}");
    }
    let runs = of(&["ablation", "--set", "heads.hidden=50"]);
    let wide = runs.iter().filter(|r| r.1["heads"]["hidden"] == 150);
    assert_eq!(wide.count(), 6);
    // What makes an experiment small is gone: images for 500 labels a class, the figure's one length.
    let images = |args: &[&str]| of(args)[0].1["data"]["shapes_train"].clone();
    assert_eq!(images(&["labels"]), 5000);
    assert_eq!(images(&["labels", "--preset", "simclr-amcl-cifar10"]), 2560);
    assert_eq!(of(&["backbones"]).len(), 6);
    assert_eq!(
        of(&["backbones", "--preset", "simclr-amcl-cifar10"]).len(),
        12
    );
    // The softmax has no kappa: seven runs a seed, not twelve.
    assert_eq!(of(&["kappa"]).len(), 21);
    // The methods' presets are those of the data set.
    for (name, runs) in [("methods", 24), ("augmentations", 120)] {
        let all = of(&[name, "--preset", "simclr-cifar100"]);
        assert_eq!(all.len(), runs, "{name}");
        for method in ["simclr", "moco", "simsiam", "barlow_twins"] {
            for amcl in [true, false] {
                let is = |r: &&(String, Value)| {
                    r.1["method"]["name"] == method && r.1["amcl"]["enabled"] == amcl
                };
                assert_eq!(all.iter().filter(is).count(), runs / 8, "{name} {method}");
            }
        }
        let here = |r: &(String, Value)| r.1["data"]["path"] == "cifar-100-binary";
        assert!(all.iter().all(here), "{name}");
    }
}

/// What cannot be is refused in one line that names it.
#[test]
fn an_experiment_that_cannot_be_is_refused() {
    for (args, why) in [
        (["heads", "--preset", "simclr-cifar1O"], "did you mean"),
        (
            ["methods", "--preset", "quickstart"],
            "no preset `simclr-quickstart`",
        ),
        (
            ["ablation", "--preset", "simsiam-amcl-stl10"],
            "no negatives",
        ),
    ] {
        let e = listed(&args).unwrap_err();
        assert!(e.contains(why), "{args:?}: {e}");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("own.toml");
    let file = path.to_str().unwrap();
    for (case, why) in [
        ("sets = { 'optim.lr' = 0.1 }", "unknown field `sets`"),
        (
            "set = { 'amcl.kapa' = 3 }",
            "no key amcl.kapa; did you mean amcl.kappa",
        ),
        (
            "without = ['heads.count']",
            "`without` names heads.count, which is not in the grid",
        ),
        (
            "times = { 'method.name' = 3 }",
            "`times`: method.name is not a setting that counts",
        ),
        (
            "preset = 'moco-cifar10'",
            "--preset simclr-cifar10 would change nothing",
        ),
    ] {
        let text = format!("preset = 'quickstart'\n[[case]]\nname = 'A'\n{case}\n");
        std::fs::write(&path, text).unwrap();
        let e = listed(&[file, "--preset", "simclr-cifar10"]).unwrap_err();
        assert!(e.contains(why), "{case}: {e}");
    }
    // The same file without the mistake.
    std::fs::write(&path, "preset = 'quickstart'\n[[case]]\nname = 'A'\n").unwrap();
    assert_eq!(
        listed(&[file, "--preset", "simclr-cifar10"]).unwrap().len(),
        1
    );
}

/// A case on which a setting of the grid has no effect is trained once, and stands at all its values.
#[test]
fn a_case_without_the_grid_is_trained_once() {
    let folder = tempfile::tempdir().unwrap();
    let (file, out) = (folder.path().join("own.toml"), folder.path().join("out"));
    let text = "preset = 'simclr-cifar10'\n[set]\n'amcl.enabled' = true\n\
                [small]\n'data.path' = 'shapes'\n'data.shapes_train' = 32\n'data.shapes_test' = 20\n'model.encoder' = 'tiny'\n'model.width' = 4\n'model.image_size' = 16\n\
                'heads.hidden' = 8\n'heads.out' = 8\n'optim.batch_size' = 16\n'run.epochs' = 1\n\
                [grid]\n'amcl.kappa' = [2, 5]\n\
                [[case]]\nname = 'topk'\nset = { 'amcl.negatives' = 'topk' }\n[[case]]\nname = 'level'\nwithout = ['amcl.kappa']\n";
    std::fs::write(&file, text).unwrap();
    let mut command = Command::cargo_bin("amcl-wgpu").unwrap();
    command.args(["sweep", "--device", "cpu", "--out"]);
    command.arg(&out).arg(&file).assert().success();
    let table = std::fs::read_to_string(out.join("table.md")).unwrap();
    let at = |kappa: &str| {
        let start = format!("| level | {kappa} | ");
        let row = table.lines().find_map(|l| l.strip_prefix(&start));
        row.unwrap_or_else(|| panic!("{table}")).to_string()
    };
    assert_eq!(at("2"), at("5"));
    assert!(at("2").ends_with("| 1 |") && !at("2").starts_with('-'));
    let rows = table.lines().filter(|l| l.starts_with('|'));
    assert_eq!(rows.count(), 6, "{table}");
    let mut names: Vec<_> = std::fs::read_dir(&out)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.is_dir())
        .map(|p| p.file_name().unwrap().to_str().unwrap().to_string())
        .collect();
    names.sort();
    assert_eq!(names, ["level-0", "topk-kappa_2-0", "topk-kappa_5-0"]);
}

/// Images of one size in `folder`: of two classes, or side by side.
fn photos(folder: &Path, side: u32, count: u32, labelled: bool) {
    for i in 0..count {
        let class = ["", "dark", "light"][if labelled { 1 + i as usize % 2 } else { 0 }];
        std::fs::create_dir_all(folder.join(class)).unwrap();
        let pixel = |x: u32, y: u32| image::Rgb([(x * 3) as u8, (y * 5) as u8, (i * 7) as u8]);
        let image = image::RgbImage::from_fn(side, side + 9, pixel);
        image
            .save(folder.join(class).join(format!("{i}.png")))
            .unwrap();
    }
}

/// Trains on a folder and returns what was printed.
fn train_on(data: &Path, out: &Path, more: &[&str]) -> String {
    let mut command = Command::cargo_bin("amcl-wgpu").unwrap();
    command.args(["train", "--device", "cpu", "--epochs", "1", "--no-report"]);
    command.arg("--data").arg(data).arg("--out").arg(out);
    for set in ["model.width=2", "heads.hidden=8", "heads.out=8"] {
        command.args(["--set", set]);
    }
    let output = command.args(more).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{error}");
    String::from_utf8(output.stdout).unwrap()
}

/// A folder without a recipe gets one by its images; it is said, kept in the run's folder as plain settings, and not
/// chosen again. What the user gives wins, and the quickstart's network is called what it is.
#[test]
fn a_folder_of_photos_chooses_its_recipe() {
    let dir = tempfile::tempdir().unwrap();
    let config = |run: &Path| {
        let text = std::fs::read_to_string(run.join("config.toml")).unwrap();
        Config::parse(&text, &[]).unwrap()
    };
    for (labelled, words) in [(true, "with labels"), (false, "without labels")] {
        let data = dir.path().join(format!("photos-{labelled}"));
        let run = dir.path().join(format!("run-{labelled}"));
        photos(&data, 60, 40, labelled);
        let small = ["--set", "model.image_size=32"];
        let said = train_on(&data, &run, &small);
        let line = said
            .lines()
            .find(|l| l.starts_with("recipe: preset"))
            .unwrap();
        for part in [
            "photos-small",
            "40 training images",
            words,
            "60 px",
            "batch 8",
        ] {
            assert!(line.contains(part), "{part}: {line}");
        }
        assert!(!said.contains("tiny network"), "{said}");
        let log = std::fs::read_to_string(run.join("log.txt")).unwrap();
        assert!(log.contains(line), "{log}");
        let c = config(&run);
        // 40 images, four steps an epoch: 8; 0.06 of a batch of 256 in proportion; --set and --epochs as given.
        assert_eq!((c.optim.batch_size, c.optim.lr), (8, 0.001875));
        assert_eq!((c.model.image_size, c.run.epochs), (32, 1));
        assert_eq!((c.augment.families.as_str(), c.heads.count), ("abcde", 1));
        // A run goes on with the recipe that it began with, which is not chosen again.
        let mut command = Command::cargo_bin("amcl-wgpu").unwrap();
        let again = command.args(["train", "--device", "cpu", "--no-report", "--resume"]);
        let output = again.arg(&run).output().unwrap();
        assert!(output.status.success());
        assert!(!String::from_utf8_lossy(&output.stdout).contains("recipe:"));
        assert_eq!(config(&run), c);
    }
    // The controls: a preset that is given is not chosen, and the tiny network says what it is.
    let (data, run) = (dir.path().join("photos-true"), dir.path().join("tiny"));
    let small = [
        "--preset",
        "quickstart",
        "--batch-size",
        "8",
        "--set",
        "heads.count=1",
    ];
    let said = train_on(&data, &run, &small);
    assert!(
        said.contains("only the quickstart's tiny network"),
        "{said}"
    );
    assert!(!said.contains("recipe: preset"), "{said}");
    assert_eq!(config(&run).model.encoder, "tiny");
}
