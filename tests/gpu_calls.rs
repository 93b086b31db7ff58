//! The script for a borrowed GPU: every call's plan can be printed, and the program knows every setting in it.
#![cfg(unix)]

use amcl_wgpu::config::{Config, Precision};
use std::path::Path;
use std::process::{Command, Output};

fn script(arguments: &[&str]) -> Output {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/gpu/run");
    let run = Command::new("bash").arg(path).args(arguments).output();
    run.expect("bash is needed for benches/gpu/run")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The commands of a call: title, and its words.
fn plan(arguments: &[&str]) -> Vec<(String, Vec<String>)> {
    let out = script(&[&["call"], arguments, &["--dry-run"]].concat());
    assert!(out.status.success(), "{}", text(&out.stderr));
    let command = |line: &str| {
        let (title, words) = line.strip_prefix('[')?.split_once("] ")?;
        let title = title.split(", at most").next()?;
        // Spaces and commas inside a word are written with a backslash.
        let words = words.replace("\\ ", "\u{1}").replace('\\', "");
        let words = words.split(' ').map(|w| w.replace('\u{1}', " "));
        Some((title.to_string(), words.collect()))
    };
    text(&out.stdout).lines().filter_map(command).collect()
}

/// The configuration that the words of an `amcl-wgpu train` ask for.
fn config(words: &[String]) -> Config {
    let after = |option: &str| {
        let at = words.iter().position(|w| w == option)?;
        words.get(at + 1)
    };
    let mut over: Vec<String> = Vec::new();
    for (i, _) in words.iter().enumerate().filter(|w| w.1 == "--set") {
        over.push(words[i + 1].clone());
    }
    for (option, key) in [("--epochs", "run.epochs"), ("--seed", "run.seed")] {
        over.extend(after(option).map(|v| format!("{key}={v}")));
    }
    over.extend(after("--precision").map(|v| format!("optim.precision={v:?}")));
    let preset = Config::preset(after("--preset").expect("a preset")).unwrap();
    Config::parse(preset, &over).unwrap_or_else(|e| panic!("{words:?}: {e}"))
}

#[test]
fn the_script_is_valid_and_explains_itself() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/gpu/run");
    let checked = Command::new("bash").arg("-n").arg(path).output().unwrap();
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    let help = text(&script(&[]).stdout);
    assert!(help.contains("benches/gpu/run pack --data DATA") && !help.contains("pipefail"));
}

#[test]
fn mistakes_are_refused_before_anything_runs() {
    for (arguments, message) in [
        (&["call", "5", "--dry-run"][..], "there are calls 1 to 4"),
        (
            &["call", "2", "--dry-run", "--epochs", "3"],
            "unknown option --epochs",
        ),
        (
            &["call", "2", "--dry-run", "--seed"],
            "--seed takes a value",
        ),
        (&["call", "2", "--dry-run", "--runs", "A1,A9"], "no run A9"),
        (
            &["pack", "--data", "/no/such/folder"],
            "names no folder or archive",
        ),
    ] {
        let out = script(arguments);
        assert_eq!(out.status.code(), Some(2), "{arguments:?}");
        assert!(
            text(&out.stderr).contains(message),
            "{arguments:?}: {}",
            text(&out.stderr)
        );
    }
}

#[test]
fn the_first_call_checks_and_times() {
    let titles: Vec<String> = plan(&["1"]).into_iter().map(|c| c.0).collect();
    assert_eq!(titles, ["check", "steps", "pytorch", "other steps"]);
    let steps = &plan(&["1", "--device", "llvmpipe"])[1].1;
    assert_eq!(steps[..4], ["amcl-wgpu", "bench", "--device", "llvmpipe"]);
    assert!(
        steps.contains(&"step resnet18 simclr,step vit".to_string()),
        "{steps:?}"
    );
}

#[test]
fn accuracy_runs_have_equal_budgets_and_differ_in_what_they_compare() {
    let runs: Vec<_> = [plan(&["2", "--seed", "3"]), plan(&["3", "--seed", "3"])].concat();
    let trained = runs.iter().filter(|c| c.0.ends_with("-train"));
    let trained: Vec<(&str, Config)> = trained.map(|c| (&c.0[..2], config(&c.1))).collect();
    let names: Vec<&str> = trained.iter().map(|t| t.0).collect();
    assert_eq!(names, ["A1", "A2", "B1", "B2", "C1", "C2", "C3"]);
    for (name, c) in &trained {
        assert_eq!(
            (c.run.epochs, c.optim.batch_size, c.run.seed),
            (60, 512, 3),
            "{name}"
        );
        assert_eq!(
            (c.run.knn_every, c.optim.precision),
            (20, Precision::Mixed),
            "{name}"
        );
        assert_eq!(
            (c.model.encoder.as_str(), c.model.settings["stem"].as_str()),
            ("resnet18", Some("cifar"))
        );
        for after in ["linear", "similarity"] {
            assert!(
                runs.iter().any(|c| c.0 == format!("{name}-{after}")),
                "{name}: {after}"
            );
        }
    }
    let settings: Vec<String> = trained.iter().map(|t| t.1.to_toml().unwrap()).collect();
    for (i, s) in settings.iter().enumerate() {
        assert!(
            !settings[..i].contains(s),
            "{} is an earlier run again",
            names[i]
        );
    }
    // The control has the same heads, without pair temperatures.
    let (control, centred) = (&trained[0].1, &trained[1].1);
    assert_eq!((control.heads.count, centred.heads.count), (3, 3));
    assert!(control.to_toml().unwrap().contains("tau_const = 0.1\n"));
    assert!(centred.to_toml().unwrap().contains("tau0 = 0.2\n"));
}

#[test]
fn the_last_call_profiles_in_mixed_precision() {
    let commands = plan(&["4"]);
    assert_eq!(commands[0].0, "profile-simclr-cifar10");
    assert!(commands[0].1.contains(&"--profile".to_string()));
    assert_eq!(config(&commands[0].1).optim.precision, Precision::Mixed);
    let turns: Vec<&str> = commands[1..].iter().map(|c| c.1[0].as_str()).collect();
    assert_eq!(turns, ["before", "amcl-wgpu", "before", "amcl-wgpu"]);
}
