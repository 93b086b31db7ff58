//! Methods that hide patches, as runs: what is refused, resuming, what is recorded and shown, alarms.

use crate::common;

use amcl_wgpu::config::Config;
use amcl_wgpu::prelude::*;
use amcl_wgpu::report;
use amcl_wgpu::run::event::Alarm;
use common::settings_of;
use serde_json::Value;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// A small run of a method on images of 16 px, 4 steps an epoch; `more` settings win.
fn config(method: &str, more: &[&str]) -> Config {
    let name = format!("method.name={method}");
    let small = [
        "model.image_size=16",
        "heads.hidden=24",
        "heads.out=16",
        "data.shapes_train=64",
        "data.shapes_test=20",
        "optim.name=adamw",
        "optim.lr=0.001",
        "optim.batch_size=16",
        "optim.clip=0",
        "run.epochs=2",
        "run.knn_every=0",
    ];
    let set = settings_of(&[&small[..], &[&name], &["model.patch=4"]].concat());
    let own = more.iter().map(ToString::to_string);
    let set: Vec<String> = set
        .into_iter()
        .chain(["model.patch=4".into()])
        .chain(own)
        .collect();
    Config::parse("", &set).unwrap_or_else(|e| panic!("{method} {more:?}: {e}"))
}

/// What a training tells.
struct Told {
    weights: String,
    losses: Vec<f32>,
    alarms: Vec<Alarm>,
    /// Those of the last epoch.
    last: Vec<Alarm>,
    /// Reconstructions that were shown.
    pictures: usize,
}

fn train(config: &Config, run: &Path, resume: bool, stop_after: usize) -> Told {
    let stop = AtomicBool::new(false);
    let (mut losses, mut alarms, mut last, mut pictures) = (Vec::new(), Vec::new(), Vec::new(), 0);
    let outcome = Trainer::new(config.clone())
        .device(Choice::Cpu)
        .out(run)
        .resume(resume)
        .stop(&stop)
        .on_event(|event| match event {
            Event::Step(s) => {
                losses.push(s.loss);
                if s.step == stop_after {
                    stop.store(true, Ordering::Relaxed);
                }
            }
            Event::Alarm(a) => alarms.push(*a),
            Event::Epoch(e) => last.clone_from(&e.alarms),
            Event::Reconstructions { .. } => pictures += 1,
            _ => {}
        })
        .run()
        .unwrap();
    Told {
        weights: outcome.weights,
        losses,
        alarms,
        last,
        pictures,
    }
}

const NEVER: usize = usize::MAX;

fn records(run: &Path, kind: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let all = text
        .lines()
        .map(|l| serde_json::from_str::<Value>(l).unwrap());
    all.filter(|v| v["kind"] == kind).collect()
}

#[test]
fn what_cannot_be_is_refused_in_one_line() {
    for (set, why) in [
        (
            vec!["method.name=mae", "model.encoder=resnet18"],
            "model.encoder must be a Vision Transformer (vit_tiny, vit_small, vit_base, vit_large), not resnet18",
        ),
        (
            vec!["method.name=can"],
            "must be a Vision Transformer (vit_tiny",
        ),
        (
            vec![
                "method.name=mae",
                "vit",
                "method.decoder_dim=30",
                "method.decoder_heads=4",
            ],
            "method.decoder_heads 4 do not divide method.decoder_dim 30; 3 heads do",
        ),
        (
            vec!["method.name=can", "vit", "method.decoder_dim=18"],
            "method.decoder_dim 18 is no multiple of 4, which its table of sines and cosines needs; 20 is",
        ),
        (
            vec!["method.name=mae", "vit", "method.ratio=0.99"],
            "method.ratio 0.99 keeps no patch of the 64 that model.patch 4 cuts an image of 32 px into; a ratio above \
             0 and up to 0.984 keeps some and hides some",
        ),
        (
            vec!["method.name=can", "vit", "method.ratio=0"],
            "keeps every patch of the 64",
        ),
        (
            vec!["method.name=mae", "vit", "method.ratio=1.5"],
            "method.ratio",
        ),
        (
            vec!["method.name=can", "vit", "method.level_dim=7"],
            "method.level_dim 7 is odd",
        ),
        (
            vec!["method.name=mae", "vit", "heads.out=64"],
            "mae has no projection heads",
        ),
        (
            vec!["method.name=mae", "vit", "amcl.enabled=true"],
            "AMCL is not defined for mae",
        ),
        (
            vec!["method.name=mae", "vit", "method.sigma_max=0.1"],
            "it is a setting of can",
        ),
    ] {
        let set: Vec<String> = set
            .iter()
            .map(|s| {
                if *s == "vit" {
                    "model.encoder=vit_tiny"
                } else {
                    s
                }
                .to_string()
            })
            .collect();
        let e = Config::parse("", &set).unwrap_err().to_string();
        assert!(e.contains(why) && !e.contains('\n'), "{set:?}: {e}");
    }
    // What the message says does.
    for ratio in ["0.001", "0.984"] {
        let ratio = format!("method.ratio={ratio}");
        let set = ["method.name=mae", "model.encoder=vit_tiny", &ratio].map(String::from);
        Config::parse("", &set).unwrap();
    }
}

/// Interrupted in the middle of an epoch and continued, weights and losses are those of a run that was not: masks,
/// noise and levels depend on seed, epoch, sample and view alone.
#[test]
fn a_resumed_run_is_the_same() {
    for (method, more) in [
        ("mae", vec![]),
        ("can", vec![]),
        ("can", vec!["optim.micro_batches=2"]),
        (
            "can",
            vec!["amcl.enabled=true", "heads.count=2", "amcl.phi_hidden=8"],
        ),
        (
            "can",
            vec![
                "method.noise_to=all_patches",
                "optim.precision=mixed",
                "optim.micro_batches=2",
            ],
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let c = config(method, &more);
        let whole = train(&c, &at("whole"), false, NEVER);
        let first = train(&c, &at("cut"), false, 3);
        let rest = train(&c, &at("cut"), true, NEVER);
        assert!(first.losses.len() < 8 && first.weights != whole.weights);
        let losses = [first.losses, rest.losses].concat();
        assert_eq!(losses, whole.losses, "{method} {more:?}");
        assert_eq!(rest.weights, whole.weights, "{method} {more:?}");
        // The control: another seed.
        let other = config(method, &[&more[..], &["run.seed=1"]].concat());
        let other = train(&other, &at("other"), false, NEVER);
        assert_ne!(other.weights, whole.weights);
    }
}

/// The terms add up to the loss, in every step and as means of an epoch; the page shows them, and reconstructions.
#[test]
fn terms_and_reconstructions_are_kept() {
    for (more, parts) in [(vec![], 1), (vec!["optim.micro_batches=4"], 4)] {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run");
        let told = train(&config("can", &more), &run, false, NEVER);
        assert_eq!(told.pictures, 1, "at the end");
        for record in [records(&run, "step"), records(&run, "epoch")].concat() {
            let term = |name: &str| record["terms"][name].as_f64().unwrap();
            let sum = 0.03 * term("contrast") + 0.67 * term("reconstruction") + 0.3 * term("noise");
            let loss = record["loss"].as_f64().unwrap();
            // Sums in f32: some roundings of 6e-8 each.
            assert!((sum - loss).abs() < 1e-6 * loss, "{parts}: {record}");
            assert!(term("contrast") > 0.5 && term("noise") > 0.0, "{record}");
        }
        let page = std::fs::read_to_string(report::write(&run, None).unwrap()).unwrap();
        for part in [
            "Terms of the loss",
            "id=\"reconstructions\"",
            "mean and deviation",
        ] {
            assert!(page.contains(part), "{part}");
        }
        let png = image::open(run.join("reconstructions.png")).unwrap();
        assert_eq!((png.width(), png.height()), (3 * 96 + 16, 8 * 100 + 4));
    }
    // A method with one term has no such figure, and one that predicts nothing shows nothing.
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("mae");
    train(
        &config("mae", &["method.norm_pix=false"]),
        &run,
        false,
        NEVER,
    );
    let page = std::fs::read_to_string(report::write(&run, None).unwrap()).unwrap();
    assert!(!page.contains("Terms of the loss") && page.contains("id=\"reconstructions\""));
    assert!(!page.contains("mean and deviation"));
    let run = dir.path().join("simclr");
    let vit = ["model.encoder=vit_tiny", "model.dim=24", "model.depth=1"];
    let told = train(&config("simclr", &vit), &run, false, NEVER);
    assert_eq!(told.pictures, 0);
    let page = std::fs::read_to_string(report::write(&run, None).unwrap()).unwrap();
    assert!(!page.contains("id=\"reconstructions\""));
}

/// With a learning rate at which nothing moves the alarm comes after the third epoch behind the warm-up, resumed or
/// not; the control learns.
#[test]
fn a_loss_that_stands_still_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let still = |told: &Told| {
        let of = |a: &&Alarm| matches!(a, Alarm::StandsStill { .. });
        told.alarms.iter().filter(of).count()
    };
    for method in ["mae", "can"] {
        let at = |name: &str| dir.path().join(format!("{method} {name}"));
        let c = config(method, &["run.epochs=6", "optim.lr=1e-9"]);
        // Epochs 4, 5 and 6.
        assert_eq!(still(&train(&c, &at("still"), false, NEVER)), 3, "{method}");
        train(&c, &at("cut"), false, 12);
        assert_eq!(still(&train(&c, &at("cut"), true, NEVER)), 3, "{method}");
        let c = config(method, &["run.epochs=6"]);
        assert_eq!(still(&train(&c, &at("well"), false, NEVER)), 0, "{method}");
    }
}

/// Weight decay that leaves nothing of the matrices: all images have one feature. The control is the same run with the
/// usual decay. Random weights make all images alike too, so it is the last epoch that is looked at.
#[test]
fn features_that_collapse_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let alarms = |decay: &str| {
        let own = [
            "model.pool=mean",
            "method.w_contrast=1",
            "loss.temperature=0.1",
            "run.epochs=20",
            "optim.lr=0.003",
            "optim.decay=no_vectors",
            &format!("optim.weight_decay={decay}"),
        ];
        let told = train(&config("can", &own), &dir.path().join(decay), false, NEVER);
        let heads = |a: &Alarm| matches!(a, Alarm::NegativesAlike { .. });
        let features = |a: &Alarm| matches!(a, Alarm::FeaturesAlike { .. });
        (told.last.iter().any(heads), told.last.iter().any(features))
    };
    assert_eq!(alarms("300"), (true, true));
    assert_eq!(alarms("0.05"), (false, false));
}
