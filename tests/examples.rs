//! The examples run, and what they print is right. `cargo test` builds them; here Cargo finds that they are built.

use std::process::Command;

/// What an example prints, line by line.
fn run(name: &str, args: &[&str]) -> Vec<String> {
    let mut cargo = Command::new(env!("CARGO"));
    // What Cargo tells a test of its package: build scripts that ask for it would take it for a change and run again.
    for (key, _) in std::env::vars_os() {
        let name = key.to_string_lossy();
        let of_package = ["CARGO_PKG_", "CARGO_MANIFEST_", "OUT_DIR"];
        if of_package.iter().any(|start| name.starts_with(start)) {
            cargo.env_remove(&key);
        }
    }
    // With the features of the tests, or all would be built again.
    let features: &[&str] = match cfg!(feature = "mpi") {
        true => &["--features", "mpi"],
        false => &[],
    };
    let out = cargo
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["run", "--quiet", "--example", name])
        .args(features)
        .arg("--")
        .args(args)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{name}: {error}");
    let text = String::from_utf8(out.stdout).unwrap();
    print!("{name}:\n{text}");
    text.lines().map(ToString::to_string).collect()
}

/// The number behind `before` in the first line that has it.
fn number(lines: &[String], before: &str) -> f64 {
    let rest = lines.iter().find_map(|l| l.split_once(before)).unwrap().1;
    let end = rest.find(|c: char| !(c.is_ascii_digit() || "+-.e".contains(c)));
    rest[..end.unwrap_or(rest.len())].parse().unwrap()
}

/// The numbers behind `before` in all lines.
fn numbers(lines: &[String], before: &str) -> Vec<f64> {
    let with = lines.iter().filter(|l| l.contains(before));
    with.map(|l| number(std::slice::from_ref(l), before))
        .collect()
}

#[test]
fn one_loss_is_pytorch_s() {
    let lines = run("one_loss", &[]);
    // Both in f64; the gradients are stored as f32, whose rounding is a relative error of up to 6e-8.
    assert!(number(&lines, "loss: relative error ") < 1e-12);
    let gradients = numbers(&lines, ": relative error ");
    assert!(gradients.len() == 3 && gradients.iter().all(|e| *e < 1e-7));
}

#[test]
fn a_kernel_of_one_s_own_equals_its_twin() {
    let lines = run("custom_kernel", &[]);
    assert_eq!(lines.len(), 1);
    let error = number(&lines, "largest error ");
    assert!(error > 0.0 && error <= number(&lines, "(bound "));
}

#[test]
fn a_method_of_one_s_own_learns() {
    let losses = numbers(&run("custom_method", &[]), ": loss ");
    assert_eq!(losses.len(), 4);
    assert!(losses[3] < losses[0] - 0.05, "{losses:?}");
}

#[test]
fn a_folder_is_trained_on() {
    let lines = run("train_on_a_folder", &[]);
    let losses = numbers(&lines, ": loss ");
    assert!(losses.len() == 2 && losses.iter().all(|l| l.is_finite() && *l > 0.0));
    let accuracy = numbers(&lines, "kNN accuracy ");
    assert!(!accuracy.is_empty() && accuracy.iter().all(|a| (0.0..=100.0).contains(a)));
    let weights = lines.last().unwrap().strip_prefix("weights ").unwrap();
    assert!(weights.len() == 64 && weights.bytes().all(|b| b.is_ascii_hexdigit()));
}

/// Of ten classes, one in ten would be right by chance: 10 of 100, with a deviation of 3.
#[test]
fn a_search_finds_more_than_chance() {
    let lines = run("embed_and_search", &[]);
    assert!(number(&lines, "features of length ") > 0.0);
    assert!(number(&lines, "of the same class: ") > 10.0 + 4.0 * 3.0);
    assert_eq!(
        lines
            .iter()
            .filter(|l| l.starts_with("test image "))
            .count(),
        5
    );
}
