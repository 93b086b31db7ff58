//! `eval similarity` and what it draws: the AMCL paper's Figs. 1 and 3 from tiny runs.

use assert_cmd::Command;
use serde_json::Value;
use std::path::{Path, PathBuf};

fn program() -> Command {
    Command::new(assert_cmd::cargo::cargo_bin!("amcl-wgpu"))
}

/// What a verb prints, as JSON.
fn json(args: &[&str]) -> Value {
    let o = program().arg("--json").args(args).output().unwrap();
    let err = String::from_utf8_lossy(&o.stderr).into_owned();
    assert!(o.status.success(), "{args:?}: {err}");
    serde_json::from_slice(&o.stdout).unwrap()
}

/// A tiny run of one epoch on 64 generated images, with 40 test images.
fn train(dir: &Path, name: &str, more: &[&str]) -> String {
    let out = dir.join(name).to_str().unwrap().to_string();
    let mut args = vec![
        "train",
        "--device",
        "cpu",
        "--epochs",
        "1",
        "--batch-size",
        "32",
    ];
    args.extend(["--out", &out]);
    for set in [
        "data.shapes_train=64",
        "data.shapes_test=40",
        "model.width=4",
        "heads.hidden=8",
        "heads.out=8",
        "run.knn_every=0",
    ]
    .iter()
    .chain(more)
    {
        args.extend(["--set", set]);
    }
    json(&args);
    out
}

fn evaluate(run: &str, more: &[&str]) -> Value {
    let mut args = vec!["eval", "similarity", run, "--device", "cpu"];
    args.extend(more);
    json(&args)
}

fn names(set: &Value) -> Vec<String> {
    let all = set["scores"].as_array().unwrap().iter();
    all.map(|s| s["of"].as_str().unwrap().to_string()).collect()
}

/// The panels of a page: titles, and the sums of the positive and of the negative bars, as the bars say them.
fn panels(html: &str) -> Vec<(String, [usize; 2])> {
    let figures = html.split("<figure>").skip(1);
    let figures = figures.map(|f| f.split("</figure>").next().unwrap());
    let counted = figures.filter(|f| f.contains("pairs, mean"));
    let panel = |f: &str| {
        let title = f.split("<h3>").nth(1).unwrap().split("</h3>").next();
        let sum = |kind: &str| -> usize {
            let bars = f.split("<title>").skip(1).filter(|b| b.starts_with(kind));
            let count = |b: &str| {
                let text = b.split("</title>").next().unwrap();
                text.rsplit(": ").next().unwrap().parse::<usize>().unwrap()
            };
            bars.map(count).sum()
        };
        for tag in ["svg", "rect", "text", "title"] {
            let (open, close) = (format!("<{tag}"), format!("</{tag}>"));
            assert_eq!(
                f.matches(&open).count(),
                f.matches(&close).count(),
                "{tag}: {f}"
            );
        }
        assert!(!f.contains("NaN") && !f.contains("inf"), "{f}");
        for word in [">pairs</text>", "cosine</text>", ">overlap "] {
            assert!(f.contains(word), "{word}: {f}");
        }
        (
            title.unwrap().to_string(),
            [sum("positive"), sum("negative")],
        )
    };
    counted.map(panel).collect()
}

fn page(run: &str, name: &str) -> String {
    std::fs::read_to_string(Path::new(run).join(name)).unwrap()
}

#[test]
fn figures_are_drawn_beside_the_run_and_in_its_report() {
    let dir = tempfile::tempdir().unwrap();
    let run = train(dir.path(), "amcl", &["amcl.enabled=true", "heads.count=2"]);
    // The negative control: a run that was not evaluated has neither file nor section.
    json(&["report", &run, "--curves"]);
    let before = page(&run, "report.html");
    assert!(!before.contains("Pairs of the test split") && panels(&before).is_empty());
    assert!(before.contains("share of pairs"), "the batch's are there");
    assert!(!Path::new(&run).join("eval-similarity.html").exists());

    // Fig. 3: as many pairs as there are, which is said.
    let found = evaluate(&run, &[]);
    assert_eq!(
        (&found["pairs"], &found["pairs_wanted"]),
        (&40.into(), &500.into())
    );
    assert!(found["short"].as_str().unwrap().contains("40"), "{found}");
    let expected = [
        "backbone",
        "head 1",
        "head 1, temperature-scaled",
        "head 2",
        "head 2, temperature-scaled",
        "heads, mean",
        "heads, temperature-scaled mean",
    ];
    assert_eq!(names(&found["similarity"][0]), expected);
    let drawn = panels(&page(&run, "eval-similarity.html"));
    let titles: Vec<&str> = drawn.iter().map(|p| p.0.as_str()).collect();
    assert_eq!(titles, expected);
    assert!(drawn.iter().all(|p| p.1 == [40, 40]), "{drawn:?}");
    let text = page(&run, "eval-similarity.html");
    for s in found["similarity"][0]["scores"].as_array().unwrap() {
        let written = format!("overlap {:.1} %", s["overlap"].as_f64().unwrap());
        assert!(text.contains(&written), "{written}");
    }
    for said in [
        "Merged heads: ",
        "40 positive pairs",
        "s t / tau",
        "500 pairs were wanted",
    ] {
        assert!(text.contains(said), "{said}");
    }
    assert!(
        !text.contains("<script") && !text.contains("http"),
        "self-contained"
    );

    // The report has the same panels, beside those of training batches.
    json(&["report", &run, "--curves"]);
    let after = page(&run, "report.html");
    assert!(after.contains("Pairs of the test split, after epoch 1"));
    assert_eq!(panels(&after), drawn);

    // Fig. 1: a row a score, a panel a set of augmentations; and with enough test images nothing is said of too few.
    let found = evaluate(&run, &["--families", "a,abc,abcde", "--pairs", "30"]);
    assert_eq!((&found["pairs"], found.get("short")), (&30.into(), None));
    let drawn = panels(&page(&run, "eval-similarity.html"));
    assert_eq!(drawn.len(), 3 * expected.len());
    let sets = [
        "a: 1 augmentation",
        "abc: 3 augmentations",
        "abcde: 5 augmentations",
    ];
    for row in drawn.chunks(3) {
        for (panel, set) in row.iter().zip(sets) {
            assert_eq!((panel.0.as_str(), panel.1), (set, [30, 30]));
        }
    }

    // Other data than the run's: files of their own.
    let text = page(&run, "eval-similarity.html");
    let images = dir.path().join("other");
    for class in ["x", "y"] {
        for i in 0..8u8 {
            let file = images.join(class).join(format!("{i}.png"));
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            let pixel = |x, y| image::Rgb([i * 20, (x * 7) as u8, (y * 5) as u8]);
            image::RgbImage::from_fn(32, 32, pixel).save(file).unwrap();
        }
    }
    let found = evaluate(&run, &["--data", images.to_str().unwrap()]);
    assert!(
        found["figure"]
            .as_str()
            .unwrap()
            .ends_with("eval-similarity-other.html"),
        "{found}"
    );
    assert!(PathBuf::from(found["figure"].as_str().unwrap()).exists());
    assert_eq!(page(&run, "eval-similarity.html"), text);
}

#[test]
fn every_method_scales_or_says_why_not() {
    let dir = tempfile::tempdir().unwrap();
    let amcl = "amcl.enabled=true";
    let (two, centred) = ("heads.count=2", "amcl.parametrisation=centred");
    let (simsiam, shared) = ("method.name=simsiam", "method.shared_target=true");
    let barlow = ["method.name=barlow_twins", amcl, two];
    // Settings, scores that must be there, and what is said of them.
    let cases: [(&str, &[&str], &[&str], &str); 6] = [
        (
            "centred",
            &[amcl, two, centred],
            &[
                "head 2, temperature-scaled",
                "heads, temperature-scaled mean",
            ],
            "centred at their mean over all pairs",
        ),
        (
            "shared",
            &[simsiam, shared, amcl, two],
            &[
                "head 1",
                "predictor 2, temperature-scaled",
                "predictors, temperature-scaled mean",
            ],
            "a prediction and a projection",
        ),
        (
            "both",
            &[simsiam, amcl, two, centred],
            &["heads, mean", "predictor 2, temperature-scaled"],
            "over the positive pairs",
        ),
        (
            "plain",
            &["amcl.enabled=false", "heads.count=1"],
            &["head 1"],
            "none, this run is without AMCL",
        ),
        (
            "constant",
            &[amcl, two, "amcl.adaptive=none"],
            &["head 2"],
            "none, amcl.adaptive",
        ),
        (
            "barlow",
            &barlow,
            &["head 2"],
            "none, temperatures of Barlow Twins are of pairs of channels",
        ),
    ];
    for (name, sets, scores, said) in cases {
        let run = train(dir.path(), name, sets);
        let found = evaluate(&run, &["--pairs", "20"]);
        let names = names(&found["similarity"][0]);
        for s in scores {
            assert!(names.iter().any(|n| n == s), "{name}: {s}: {names:?}");
        }
        let scaled = found["scaled"].as_str().unwrap();
        assert!(scaled.contains(said), "{name}: {scaled}");
        let any = names.iter().any(|n| n.contains("scaled"));
        assert_eq!(any, !scaled.starts_with("none"), "{name}: {names:?}");
        let text = page(&run, "eval-similarity.html");
        assert!(text.contains(&said.replace('"', "&quot;")), "{name}");
        assert!(panels(&text).iter().all(|p| p.1 == [20, 20]), "{name}");
    }
}

#[test]
fn too_few_pairs_are_refused_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let run = train(dir.path(), "few", &["heads.count=1"]);
    let mut c = program();
    c.args([
        "eval",
        "similarity",
        &run,
        "--device",
        "cpu",
        "--pairs",
        "1",
    ]);
    let o = c.output().unwrap();
    let err = String::from_utf8_lossy(&o.stderr);
    assert!(
        !o.status.success() && err.contains("1 pairs wanted"),
        "{err}"
    );
    assert!(!err.contains("panicked"), "{err}");
}
