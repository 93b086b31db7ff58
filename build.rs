//! Compiles the crate again when a preset or an experiment was added (the compiler itself sees only files that it read
//! before), and tells it the commit that it is built from.

use std::path::Path;
use std::process::Command;

/// What the program is made of: a change there can change whether it is a commit's.
const SOURCES: [&str; 6] = [
    "assets",
    "build.rs",
    "Cargo.lock",
    "Cargo.toml",
    "shaders",
    "src",
];

fn main() {
    for path in SOURCES {
        println!("cargo::rerun-if-changed={path}");
    }
    let commit = packaged().or_else(checked_out).unwrap_or_default();
    println!("cargo::rustc-env=AMCL_COMMIT={commit}");
    let lock = std::fs::read_to_string("Cargo.lock").unwrap_or_default();
    let decoders = ["zune-jpeg", "image", "fast_image_resize"].map(|name| version(&lock, name));
    println!("cargo::rustc-env=AMCL_DECODERS={}", decoders.join(", "));
    let turbo = version(&lock, "turbojpeg");
    println!("cargo::rustc-env=AMCL_TURBO={turbo}");
}

/// Name and version of a package that is locked; the name alone where none is, as in a crate that others build.
fn version(lock: &str, name: &str) -> String {
    let entry = format!("name = \"{name}\"\nversion = \"");
    let found = lock
        .split_once(&entry)
        .and_then(|(_, rest)| rest.split('"').next());
    found.map_or(name.into(), |version| format!("{name} {version}"))
}

/// The commit of a package: Cargo writes it into the archive.
fn packaged() -> Option<String> {
    let text = std::fs::read_to_string(".cargo_vcs_info.json").ok()?;
    let (_, rest) = text.split_once("\"sha1\"")?;
    Some(rest.split('"').nth(1)?.to_string())
}

/// The commit of a checkout, with `-dirty` where files that the program is made of differ from it. None elsewhere: a
/// repository around the crate is another's. A later commit alone does not compile the crate again: until its sources
/// change, the program says the commit that it was built from.
fn checked_out() -> Option<String> {
    if !Path::new(".git").exists() {
        return None;
    }
    let mut commit = git(&["rev-parse", "HEAD"])?;
    let changed = [&["status", "--porcelain", "--"][..], &SOURCES].concat();
    if git(&changed).is_some_and(|lines| !lines.is_empty()) {
        commit += "-dirty";
    }
    Some(commit)
}

/// What a git command prints; none where it fails.
fn git(args: &[&str]) -> Option<String> {
    let out = Command::new("git")
        .arg("--no-optional-locks")
        .args(args)
        .output()
        .ok()?;
    let text = String::from_utf8(out.stdout).ok()?;
    out.status.success().then(|| text.trim().to_string())
}
