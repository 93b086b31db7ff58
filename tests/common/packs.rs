//! What the tests of packed sets share.

use amcl_wgpu::data::pack::{Packing, Records, Summary, pack};
use amcl_wgpu::data::{DataError, Dataset, Keeping, Reading, Request, Split};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::atomic::AtomicBool;

/// A raw record has 48 KiB, and a shard of 1 MiB 21 of them.
pub const SIDE: usize = 128;
/// Nobody stops.
pub static NEVER: AtomicBool = AtomicBool::new(false);

/// Opens what is at a path, its images of [`SIDE`].
pub fn request(path: &Path) -> Request<'_> {
    Request {
        path: path.to_str().unwrap(),
        seed: 3,
        shapes: (0, 0),
        stored_size: SIDE,
        unlabeled: false,
        fold: None,
        reading: Reading::default(),
        list: None,
        keeping: Keeping::default(),
        progress: &|_, _| (),
    }
}

/// Packs raw records in shards of a MiB.
pub fn packing<'a>(from: &'a Path, out: &'a Path, stop: &'a AtomicBool) -> Packing<'a> {
    Packing {
        data: request(from),
        out,
        records: Records::Raw,
        shuffle: None,
        shard_mib: 1,
        stop,
    }
}

/// Packs, to the end.
pub fn packed(from: &Path, out: &Path, change: impl FnOnce(&mut Packing<'_>)) -> Summary {
    let mut p = packing(from, out, &NEVER);
    change(&mut p);
    let summary = pack(&p).unwrap();
    assert!(summary.finished);
    summary
}

/// All files of a folder.
pub fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap());
    entries
        .map(|e| {
            let name = e.file_name().into_string().unwrap();
            (name, std::fs::read(e.path()).unwrap())
        })
        .collect()
}

/// Two folders hold the same files.
pub fn same_files(a: &Path, b: &Path) {
    let [a, b] = [a, b].map(files);
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    for (name, bytes) in &a {
        assert!(b[name] == *bytes, "{name} differs");
    }
}

/// Pixels of all images.
pub fn pixels(d: &Dataset) -> Vec<u8> {
    (0..d.len())
        .flat_map(|i| d.image(i).unwrap().into_owned())
        .collect()
}

/// Names, classes and parts are the same.
pub fn same_split(a: &Split, b: &Split) {
    assert_eq!(a.classes, b.classes);
    for (a, b) in [
        (&a.train, &b.train),
        (a.bank(), b.bank()),
        (&a.test, &b.test),
    ] {
        assert_eq!((&a.names, &a.labels), (&b.names, &b.labels));
    }
}

/// It fails, and says these words.
pub fn refused<T>(outcome: Result<T, DataError>, words: &[&str]) {
    let e = outcome.err().expect("refused").to_string();
    for w in words {
        assert!(e.contains(w), "`{w}` is not in: {e}");
    }
}

/// The program.
pub fn program() -> std::process::Command {
    std::process::Command::new(assert_cmd::cargo::cargo_bin!("amcl-wgpu"))
}

/// The command that packs these images with one thread, as `packed` does.
pub fn command(from: &Path, out: &Path) -> std::process::Command {
    let mut c = program();
    c.args(["data", "pack"]).arg(from).arg("-o").arg(out);
    c.args([
        "--size",
        "128",
        "--shard-mib",
        "1",
        "--set",
        "data.threads=1",
    ]);
    c.stdout(Stdio::null()).stderr(Stdio::null());
    c
}

/// Turns a bit of a file.
pub fn flip(file: &Path, at: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[at] ^= 4;
    std::fs::write(file, bytes).unwrap();
}

/// What a program printed.
pub fn said(o: &Output) -> String {
    let both = [&o.stdout[..], &o.stderr].concat();
    let text = String::from_utf8(both).unwrap();
    assert!(!text.contains("panicked"), "{text}");
    text
}
