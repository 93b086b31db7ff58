//! Floors import downwards only: the order of `docs/ARCHITECTURE.md`, read off the sources.

use std::path::{Path, PathBuf};

/// The top floor first.
const FLOORS: [&str; 21] = [
    "report",
    "experiment",
    "downstream",
    "export",
    "bench",
    "verify",
    "train",
    "run",
    "config",
    "methods",
    "eval",
    "nn",
    "data",
    "check",
    "ops",
    "graph",
    "device",
    "comm",
    "settings",
    "fixture",
    "reference",
];

/// A floor that a line of a source names: `crate::FLOOR`.
fn named(line: &str) -> Vec<&str> {
    let mut out = Vec::new();
    for part in line.split("crate::").skip(1) {
        let end = part.find(|c: char| !c.is_alphanumeric() && c != '_');
        out.push(&part[..end.unwrap_or(part.len())]);
    }
    out
}

/// Imports of `text`, a file of `floor`, that do not go downwards. Tests in the file may look wherever they want, and
/// comments too.
fn upwards(floor: &str, text: &str) -> Vec<String> {
    let place = |name: &str| FLOORS.iter().position(|f| *f == name);
    let own = place(floor).expect("a floor");
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let mut out = Vec::new();
    for line in code.lines().filter(|l| !l.trim_start().starts_with("//")) {
        for name in named(line) {
            if place(name).is_some_and(|p| p < own) {
                out.push(format!("{floor} imports {name}: {}", line.trim()));
            }
        }
    }
    out
}

fn sources(folder: &Path, out: &mut Vec<PathBuf>) {
    for e in std::fs::read_dir(folder).unwrap() {
        let path = e.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|x| x == "rs") {
            out.push(path);
        }
    }
}

#[test]
fn floors_import_downwards_only() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let (mut faults, mut read) = (Vec::new(), 0);
    for file in files {
        let below = file.strip_prefix(&src).unwrap();
        let first = below.iter().next().unwrap().to_str().unwrap();
        let floor = first.trim_end_matches(".rs");
        // The face and the command line stand above all floors.
        if ["lib", "main", "cli", "prelude", "loss"].contains(&floor) {
            continue;
        }
        let name = below.file_name().unwrap().to_str().unwrap();
        // Tests alone: files of that name, and the folder of the plan's properties.
        let tests = |part: &std::ffi::OsStr| part == "tests" || part == "properties";
        if ["tests.rs", "properties.rs"].contains(&name) || below.iter().any(tests) {
            continue;
        }
        assert!(
            FLOORS.contains(&floor),
            "{} is on no floor",
            below.display()
        );
        read += 1;
        let text = std::fs::read_to_string(&file).unwrap();
        let found = upwards(floor, &text);
        faults.extend(
            found
                .into_iter()
                .map(|f| format!("{}: {f}", below.display())),
        );
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(read > 250, "{read}");
    // The controls: an arrow upwards is found, one downwards and one in a test are none.
    assert_eq!(upwards("nn", "use crate::methods::Method;").len(), 1);
    assert_eq!(
        upwards("nn", "    crate::train::tune(crate::run::io());").len(),
        2
    );
    assert!(upwards("nn", "use crate::graph::Graph;\n// crate::methods\n").is_empty());
    assert!(upwards("nn", "\n#[cfg(test)]\nmod tests { use crate::train::x; }").is_empty());
}
