//! Packed sets: what they hold, and that no kill, no full disk and no damage goes unseen.

use crate::common::images::paint;
use amcl_wgpu::data::pack::{Packing, Records, Summary, open_cached, pack};
use amcl_wgpu::data::survey::{Kind, survey};
use amcl_wgpu::data::{DataError, Dataset, Keeping, Reading, Request, Split, open};
use assert_cmd::Command;
use image::{Rgb, RgbImage};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// A raw record has 48 KiB, and a shard of 1 MiB 21 of them.
const SIDE: usize = 128;
static NEVER: AtomicBool = AtomicBool::new(false);

/// Waves and noise, JPEGs and PNGs of several sizes: `count` to train on in two classes, a fifth of that to test on.
fn source(root: &Path, count: u32) {
    let mut state = 7u32;
    for i in 0..count + count / 5 {
        let part = if i < count { "train" } else { "test" };
        let kind = if i % 3 == 0 { "png" } else { "jpg" };
        let path = root.join(format!(
            "{part}/{}/{i:03}.{kind}",
            ["cat", "dog"][i as usize % 2]
        ));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let image = RgbImage::from_fn(100 + i % 70, 140 - i % 50, |x, y| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let wave = (f64::from(x) / 9.0 + f64::from(y * (i + 1)) / 31.0).sin();
            Rgb([60, 90, 120]
                .map(|base| (f64::from(base) + 50.0 * wave) as u8 + (state >> 29) as u8))
        });
        image.save(path).unwrap();
    }
}

fn request(path: &Path) -> Request<'_> {
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

fn packing<'a>(from: &'a Path, out: &'a Path, stop: &'a AtomicBool) -> Packing<'a> {
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
fn packed(from: &Path, out: &Path, change: impl FnOnce(&mut Packing<'_>)) -> Summary {
    let mut p = packing(from, out, &NEVER);
    change(&mut p);
    let summary = pack(&p).unwrap();
    assert!(summary.finished);
    summary
}

/// All files of a folder.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap());
    entries
        .map(|e| {
            let name = e.file_name().into_string().unwrap();
            (name, std::fs::read(e.path()).unwrap())
        })
        .collect()
}

fn same_files(a: &Path, b: &Path) {
    let [a, b] = [a, b].map(files);
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    for (name, bytes) in &a {
        assert!(b[name] == *bytes, "{name} differs");
    }
}

/// Pixels of all images.
fn pixels(d: &Dataset) -> Vec<u8> {
    (0..d.len())
        .flat_map(|i| d.image(i).unwrap().into_owned())
        .collect()
}

/// Names, classes and parts are the same.
fn same_split(a: &Split, b: &Split) {
    assert_eq!(a.classes, b.classes);
    for (a, b) in [
        (&a.train, &b.train),
        (a.bank(), b.bank()),
        (&a.test, &b.test),
    ] {
        assert_eq!((&a.names, &a.labels), (&b.names, &b.labels));
    }
}

fn refused<T>(outcome: Result<T, DataError>, words: &[&str]) {
    let e = outcome.err().expect("refused").to_string();
    for w in words {
        assert!(e.contains(w), "`{w}` is not in: {e}");
    }
}

#[test]
fn a_packed_set_opens_as_its_source() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    source(&at("data"), 60);
    // The same images, all of them to train on: a tenth is held out by the seed.
    std::fs::create_dir(at("whole")).unwrap();
    std::fs::rename(at("data/test"), at("test")).unwrap();
    packed(&at("data/train"), &at("whole/pack"), |_| ());
    let held = [at("data/train"), at("whole/pack")].map(|p| open(&request(&p)).unwrap());
    same_split(&held[0], &held[1]);
    assert_eq!(held[1].test.len(), 6);
    std::fs::rename(at("test"), at("data/test")).unwrap();

    let folder = open(&request(&at("data"))).unwrap();
    packed(&at("data"), &at("raw"), |_| ());
    packed(&at("data"), &at("mixed"), |p| p.shuffle = Some(5));
    packed(&at("data"), &at("jpeg"), |p| p.records = Records::Jpeg90);
    for (name, equal) in [("raw", true), ("mixed", true), ("jpeg", false)] {
        for memory in [u64::MAX, 0] {
            let keeping = Keeping {
                memory,
                ..Keeping::default()
            };
            let path = at(name);
            let split = open(&Request {
                keeping,
                ..request(&path)
            })
            .unwrap();
            same_split(&folder, &split);
            assert_eq!(split.train.resident(), memory > 0);
            assert_eq!(
                pixels(&folder.train) == pixels(&split.train),
                equal,
                "{name}"
            );
            assert_eq!(pixels(&folder.test) == pixels(&split.test), equal, "{name}");
            let own = folder.description.strip_prefix("image folder").unwrap();
            assert!(split.description.ends_with(own), "{}", split.description);
        }
    }
    // JPEGs of quality 90 are near: noise of 3 bits costs some levels.
    let jpeg = open(&request(&at("jpeg"))).unwrap();
    let differences = pixels(&folder.train).into_iter().zip(pixels(&jpeg.train));
    let sum: u64 = differences.map(|(a, b)| u64::from(a.abs_diff(b))).sum();
    let mean = sum as f64 / folder.train.images.len() as f64;
    assert!((0.1..4.0).contains(&mean), "{mean}");
    // The recipe for a user's images is that for their files.
    let [a, b] = [at("data"), at("raw")].map(|p| survey(p.to_str().unwrap()).unwrap().unwrap());
    let Kind::Files { side, .. } = b.kind else {
        panic!("{b:?}");
    };
    assert!(
        (a.images, a.labelled) == (b.images, b.labelled) && (100..150).contains(&side),
        "{a:?} {b:?}"
    );
    // A packed set is packed again without its source.
    packed(&at("raw"), &at("jpeg from raw"), |p| {
        p.records = Records::Jpeg90;
    });
    let again = open(&request(&at("jpeg from raw"))).unwrap();
    assert_eq!(again.train.images, jpeg.train.images);
    // What is asked for has to be what is there.
    let path = at("raw");
    refused(
        open(&Request {
            stored_size: 64,
            ..request(&path)
        }),
        &["data.stored_size is 128, and 64 is asked for"],
    );
    let reading = Reading {
        exif: false,
        ..Reading::default()
    };
    refused(
        open(&Request {
            reading,
            ..request(&path)
        }),
        &["data.exif is true, and false"],
    );
}

#[test]
fn twice_the_same_bytes_whatever_the_threads() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    source(&at("data"), 60);
    for records in [Records::Raw, Records::Jpeg90] {
        let out = |threads: usize| at(&format!("{records}-{threads}"));
        for threads in [1, 2, 7] {
            let summary = packed(&at("data"), &out(threads), |p| {
                p.records = records;
                p.data.keeping.threads = threads;
            });
            assert_eq!((summary.images, summary.bad, summary.found), (72, 0, 0));
        }
        same_files(&out(1), &out(2));
        same_files(&out(1), &out(7));
        // Nothing is done twice.
        let summary = packed(&at("data"), &out(1), |p| p.records = records);
        assert_eq!(summary.found, summary.shards);
        same_files(&out(1), &out(2));
    }
    assert_eq!(
        files(&at("raw-1")).len(),
        5,
        "72 records in four shards, and the index"
    );
    // The controls: another order, and what comes of other files, are other bytes.
    packed(&at("data"), &at("mixed"), |p| p.shuffle = Some(1));
    assert!(files(&at("mixed")) != files(&at("raw-1")));
}

#[test]
fn packing_stops_at_once_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    source(&at("data"), 60);
    packed(&at("data"), &at("whole"), |_| ());
    let (from, out, stop) = (at("data"), at("pack"), AtomicBool::new(false));
    let mut p = packing(&from, &out, &stop);
    let halt = |done: usize, _: usize| stop.store(done >= 30, Ordering::Relaxed);
    p.data.progress = &halt;
    p.data.keeping.threads = 1;
    let summary = pack(&p).unwrap();
    assert!(!summary.finished && summary.shards == 1, "{summary:?}");
    let there: Vec<String> = files(&out).into_keys().collect();
    assert_eq!(there, ["shard-00000.pack"], "the part is gone");
    refused(
        open(&request(&out)),
        &["was not finished", "goes on where it broke off"],
    );
    let summary = packed(&from, &out, |_| ());
    assert_eq!((summary.found, summary.images), (1, 72));
    same_files(&at("whole"), &out);
}

fn program() -> std::process::Command {
    std::process::Command::new(assert_cmd::cargo::cargo_bin!("amcl-wgpu"))
}

/// The command that packs these images with one thread, as `packed` does.
fn command(from: &Path, out: &Path) -> std::process::Command {
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

#[test]
fn a_pack_that_is_killed_again_and_again_has_the_bytes_of_one_that_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    source(&at("data"), 300);
    let begin = Instant::now();
    assert!(
        command(&at("data"), &at("whole"))
            .status()
            .unwrap()
            .success()
    );
    let long = begin.elapsed();
    let (mut killed, mut state) = (0, 11u32);
    let out = at("pack");
    loop {
        let mut child = command(&at("data"), &out).spawn().unwrap();
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // Longer and longer, so that it comes to an end on a machine that is slow by then.
        let share = f64::from(state >> 8) / f64::from(1 << 24) * (0.6 + 0.1 * f64::from(killed));
        std::thread::sleep(long.mul_f64(share));
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success());
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        killed += 1;
        assert!(killed < 60, "it never ends");
    }
    assert!(killed >= 2, "{killed} kills");
    same_files(&at("whole"), &out);
}

/// Turns a bit of a file.
fn flip(file: &Path, at: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[at] ^= 4;
    std::fs::write(file, bytes).unwrap();
}

#[test]
fn damage_is_found_named_and_mended() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    source(&at("data"), 60);
    let out = at("pack");
    packed(&at("data"), &out, |_| ());
    packed(&at("data"), &at("whole"), |_| ());
    let shard = out.join("shard-00001.pack");
    let len = std::fs::metadata(&shard).unwrap().len() as usize;
    let lazy = || {
        let keeping = Keeping {
            memory: 0,
            ..Keeping::default()
        };
        open(&Request {
            keeping,
            ..request(&out)
        })
    };
    let mend = |words: &[&str]| {
        let summary = packed(&at("data"), &out, |_| ());
        assert_eq!(summary.found, 3, "one shard is made anew");
        for w in words {
            assert!(
                summary.notes.iter().any(|n| n.contains(w)),
                "{:?}",
                summary.notes
            );
        }
        same_files(&at("whole"), &out);
    };
    // A byte of a pixel: found when the image is read, whenever that is. All images are read, and one is wrong.
    flip(&shard, 4096 + 5 * 3 * SIDE * SIDE + 777);
    let words = [
        "record 5 of shard-00001.pack",
        "checksum",
        "remove",
        "pack again",
    ];
    refused(open(&request(&out)), &words);
    let split = lazy().unwrap();
    let read = (0..split.train.len()).map(|i| split.train.image(i));
    let faults: Vec<String> = read.filter_map(|i| Some(i.err()?.to_string())).collect();
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(words.iter().all(|w| faults[0].contains(w)), "{faults:?}");
    assert!(
        faults[0].contains("train/cat/052."),
        "the image's name: {faults:?}"
    );
    std::fs::remove_file(&shard).unwrap();
    refused(lazy(), &["shard-00001.pack", "it is missing"]);
    mend(&[]);
    // A byte of the header, of the footer, and what is cut off: found when the set is opened.
    for (place, words) in [(50, "header"), (len - 60, "footer"), (len - 3, "cut off")] {
        flip(&shard, place);
        refused(lazy(), &["shard-00001.pack", words, "made anew"]);
        mend(&["shard-00001.pack", words]);
    }
    std::fs::File::options()
        .write(true)
        .open(&shard)
        .unwrap()
        .set_len(100_000)
        .unwrap();
    refused(lazy(), &["shard-00001.pack", "cut off"]);
    mend(&["cut off"]);
    // One shard in another's place; one of another set.
    std::fs::copy(out.join("shard-00000.pack"), &shard).unwrap();
    refused(lazy(), &["shard-00001.pack", "it is shard 0"]);
    mend(&["it is shard 0"]);
    packed(&at("data"), &at("mixed"), |p| p.shuffle = Some(1));
    std::fs::copy(at("mixed/shard-00001.pack"), &shard).unwrap();
    refused(lazy(), &["shard-00001.pack", "belongs to another set"]);
    refused(
        pack(&packing(&at("data"), &out, &NEVER)),
        &["shard-00001.pack", "shuffle is 1"],
    );
    std::fs::remove_file(&shard).unwrap();
    mend(&[]);
    // The index.
    let index = out.join("pack.json");
    let text = std::fs::read_to_string(&index).unwrap();
    std::fs::write(&index, text.replace("\"cat\"", "\"cow\"")).unwrap();
    refused(lazy(), &["pack.json", "damaged", "the shards are kept"]);
    std::fs::remove_file(&index).unwrap();
    refused(lazy(), &["was not finished"]);
    assert_eq!(packed(&at("data"), &out, |_| ()).found, 4);
    same_files(&at("whole"), &out);
}

#[test]
fn bad_images_are_named_counted_and_left_out_up_to_a_limit() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    source(&at("data"), 60);
    let whole = open(&request(&at("data"))).unwrap();
    for name in ["007.jpg", "040.jpg"] {
        let class = if name == "007.jpg" { "dog" } else { "cat" };
        let file = at("data/train").join(class).join(name);
        let bytes = std::fs::read(&file).unwrap();
        std::fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
    }
    let out = at("pack");
    refused(
        pack(&packing(&at("data"), &out, &NEVER)),
        &["2 images", "data.max_bad", "040.jpg"],
    );
    let summary = packed(&at("data"), &out, |p| p.data.keeping.max_bad = 0.1);
    assert_eq!((summary.images, summary.bad), (70, 2));
    let folder = open(&request(&at("data"))).unwrap();
    let split = open(&request(&out)).unwrap();
    same_split(&folder, &split);
    assert_eq!(split.train.len(), whole.train.len() - 2);
    assert_eq!(split.train.images, folder.train.images);
    for words in ["train/dog/007.jpg", "train/cat/040.jpg", "2 of 72 files"] {
        for notes in [&summary.notes, &split.warnings] {
            assert!(
                notes.iter().any(|n| n.contains(words)),
                "{words}: {notes:?}"
            );
        }
    }
}

#[test]
fn what_is_in_the_folder_is_never_replaced_by_something_else() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    source(&at("data"), 20);
    let go = |from: &str, out: &str| pack(&packing(&at(from), &at(out), &NEVER));
    refused(go("data", "data"), &["holds something else", "`t"]);
    std::fs::create_dir(at("mine")).unwrap();
    std::fs::write(at("mine/notes.txt"), "kept").unwrap();
    refused(go("data", "mine"), &["holds something else", "notes.txt"]);
    assert_eq!(files(&at("mine")).len(), 1);
    packed(&at("data"), &at("pack"), |_| ());
    let before = files(&at("pack"));
    let (from, out) = (at("data"), at("pack"));
    let mut other = packing(&from, &out, &NEVER);
    other.records = Records::Jpeg90;
    refused(
        pack(&other),
        &[
            "another packed set is there",
            "records is \"raw\", and \"jpeg90\"",
        ],
    );
    paint(&at("data/train/cat/new.png"), 40, 40, [9; 3]);
    refused(
        go("data", "pack"),
        &["another packed set is there", "another list of images"],
    );
    assert!(files(&at("pack")) == before);
    // Sets that are in memory anyway.
    refused(
        pack(&packing(Path::new("shapes"), &at("new"), &NEVER)),
        &["packing brings nothing"],
    );
    assert!(!at("new").exists());
}

#[test]
fn a_copy_is_made_once_and_never_taken_for_another() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    source(&at("data"), 20);
    let (data, cache) = (at("data"), at("copy"));
    let first = open_cached(&request(&data), &cache).unwrap();
    let packed = |s: &Split| {
        s.warnings
            .iter()
            .any(|w| w.contains("24 images were packed into"))
    };
    assert!(packed(&first), "{:?}", first.warnings);
    let before = files(&cache);
    let second = open_cached(&request(&data), &cache).unwrap();
    assert!(!packed(&second) && files(&cache) == before);
    let folder = open(&request(&data)).unwrap();
    for split in [&first, &second] {
        same_split(&folder, split);
        assert_eq!(split.train.images, folder.train.images);
        assert!(split.description.starts_with("packed image folder (raw)"));
    }
    // What differs is said.
    let r = request(&data);
    refused(
        open_cached(
            &Request {
                stored_size: 64,
                ..r
            },
            &cache,
        ),
        &[
            "packed copy",
            "data.stored_size is 128, and 64",
            "remove the copy",
        ],
    );
    paint(&at("data/train/cat/new.png"), 40, 40, [9; 3]);
    refused(
        open_cached(&request(&data), &cache),
        &["packed copy", "another list of images"],
    );
    assert!(files(&cache) == before);
    // A file of other bytes is another; a set that needs no copy gets none.
    std::fs::remove_file(at("data/train/cat/new.png")).unwrap();
    assert!(open_cached(&request(&data), &cache).is_ok());
    paint(&at("data/train/cat/000.png"), 40, 40, [9; 3]);
    refused(
        open_cached(&request(&data), &cache),
        &["another list of images"],
    );
    let none = at("none");
    let split = open_cached(&request(&cache), &none).unwrap();
    assert!(
        split
            .warnings
            .iter()
            .any(|w| w.contains("data.cache is not used"))
            && !none.exists()
    );
}

/// Mounts a small disk; none where this process may not.
fn small_disk(at: &Path, kib: usize) -> Option<impl Drop + use<>> {
    struct Mounted(PathBuf);
    impl Drop for Mounted {
        fn drop(&mut self) {
            let _ = std::process::Command::new("umount").arg(&self.0).status();
        }
    }
    std::fs::create_dir(at).unwrap();
    let size = format!("size={kib}k");
    let mut mount = std::process::Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at);
    let done = mount.stderr(Stdio::null()).status();
    done.is_ok_and(|s| s.success()).then(|| Mounted(at.into()))
}

#[test]
fn a_full_disk_costs_the_shard_that_is_written_and_says_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let disk = at("disk");
    let Some(_mounted) = small_disk(&disk, 5000) else {
        println!("not tested: this process may not mount a small disk");
        return;
    };
    source(&at("data"), 80);
    // 96 records of 48 KiB are 4.5 MiB, and there is room for them. Then somebody else takes it.
    let (from, out, other) = (at("data"), disk.join("pack"), disk.join("other"));
    let mut p = packing(&from, &out, &NEVER);
    p.data.keeping.threads = 1;
    let take = |done: usize, _: usize| {
        if done == 30 {
            let _ = std::fs::write(&other, vec![1; 3 << 20]);
        }
    };
    p.data.progress = &take;
    refused(
        pack(&p),
        &["are missing", "1 finished shard is kept", "run it again"],
    );
    assert_eq!(
        files(&out).into_keys().collect::<Vec<_>>(),
        ["shard-00000.pack"]
    );
    // Said before anything is written.
    refused(
        pack(&packing(&from, &out, &NEVER)),
        &[
            "packing takes some",
            "are free there",
            "are missing",
            "jpeg90",
        ],
    );
    std::fs::remove_file(&other).unwrap();
    let summary = packed(&from, &out, |_| ());
    assert_eq!((summary.found, summary.images), (1, 96));
    packed(&from, &at("whole"), |_| ());
    same_files(&at("whole"), &out);
}

fn said(o: &Output) -> String {
    let both = [&o.stdout[..], &o.stderr].concat();
    let text = String::from_utf8(both).unwrap();
    assert!(!text.contains("panicked"), "{text}");
    text
}

/// The hash of the weights that two epochs on these images leave.
fn weights(data: &Path, out: &Path, more: &[&str]) -> String {
    let mut c = Command::new(assert_cmd::cargo::cargo_bin!("amcl-wgpu"));
    c.args([
        "--json",
        "train",
        "--device",
        "cpu",
        "--no-report",
        "--preset",
        "quickstart",
        "--data",
    ]);
    c.arg(data)
        .arg("--out")
        .arg(out)
        .args(["--epochs", "2", "--batch-size", "16"]);
    for set in [
        "model.width=4",
        "heads.hidden=8",
        "heads.out=8",
        "run.knn_every=0",
        "data.stored_size=128",
    ] {
        c.args(["--set", set]);
    }
    for set in more {
        c.args(["--set", set]);
    }
    let o = c.output().unwrap();
    assert!(o.status.success(), "{}", said(&o));
    let value: serde_json::Value = serde_json::from_slice(&o.stdout).unwrap();
    value["weights_sha256"].as_str().unwrap().into()
}

#[test]
fn training_has_the_same_bits_from_a_folder_and_from_its_packed_copy() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    source(&at("data"), 48);
    packed(&at("data"), &at("raw"), |p| p.shuffle = Some(2));
    packed(&at("data"), &at("jpeg"), |p| p.records = Records::Jpeg90);
    let mut run = 0;
    let mut of = |data: &str, more: &[&str]| {
        run += 1;
        weights(&at(data), &at(&format!("run-{run}")), more)
    };
    let resident = of("data", &[]);
    for threads in ["data.threads=1", "data.threads=2", "data.threads=7"] {
        for data in ["data", "raw"] {
            let lazy = of(data, &["data.memory_mib=0", threads]);
            assert_eq!(lazy, resident, "{data}, {threads}");
        }
    }
    let cache = format!("data.cache='{}'", at("cache").display());
    assert_eq!(of("data", &["data.memory_mib=0", &cache]), resident);
    assert_eq!(of("data", &[&cache]), resident, "the copy is there");
    // The control: records that were encoded again have bits of their own, the same ones each time.
    let jpeg = of("jpeg", &[]);
    assert_ne!(jpeg, resident);
    assert_eq!(of("jpeg", &["data.memory_mib=0", "data.threads=2"]), jpeg);
}

#[test]
fn inspection_looks_at_every_image_and_says_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    source(&at("data"), 40);
    let inspect = |data: &str, more: &[&str]| {
        let mut c = Command::new(assert_cmd::cargo::cargo_bin!("amcl-wgpu"));
        c.args(["data", "inspect"])
            .arg(at(data))
            .args(more)
            .output()
            .unwrap()
    };
    let size = ["--size", "128"];
    let plain = said(&inspect("data", &size));
    let mean = |text: &str| {
        let at = text.find("mean [").unwrap_or_else(|| panic!("{text}"));
        text[at..].lines().next().unwrap().to_string()
    };
    let decoded = said(&inspect("data", &["--size", "128", "--decode"]));
    assert_eq!(mean(&decoded), mean(&plain));
    assert!(
        decoded.contains("48 images were decoded") && decoded.contains("all of them can be read")
    );
    assert!(!decoded.contains("while training goes on"), "{decoded}");
    // Fewer than the sample, so all of them.
    let lazy = said(&inspect(
        "data",
        &["--size", "128", "--set", "data.memory_mib=0"],
    ));
    assert!(
        lazy.contains("40 training images at equal distances"),
        "{lazy}"
    );
    assert_eq!(mean(&lazy), mean(&plain));
    let file = at("data/test/dog/041.jpg");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    let bad = said(&inspect("data", &["--size", "128", "--decode"]));
    for words in [
        "left out: test/dog/041.jpg",
        "1 of 48 files could not be decoded",
        "1 of them cannot be read",
    ] {
        assert!(bad.contains(words), "`{words}` is not in: {bad}");
    }
    assert_eq!(mean(&bad), mean(&plain), "it is a test image");
    // A packed set that is damaged is an error.
    packed(&at("data"), &at("pack"), |_| ());
    assert!(inspect("pack", &["--decode"]).status.success());
    flip(&at("pack/shard-00000.pack"), 4096 + 10);
    flip(&at("pack/shard-00001.pack"), 4096 + 10);
    let o = inspect("pack", &["--decode"]);
    let text = said(&o);
    assert!(
        !o.status.success() && text.contains("2 images of this packed set are not as"),
        "{text}"
    );
    assert!(
        text.contains("shard-00000.pack") && text.contains("shard-00001.pack"),
        "{text}"
    );
}

#[test]
fn the_program_packs_and_an_interrupt_says_how_to_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    source(&at("data"), 300);
    let out = at("pack");
    let begin = Instant::now();
    let whole = command(&at("data"), &at("whole")).status().unwrap();
    assert!(whole.success());
    let long = begin.elapsed();
    let mut c = command(&at("data"), &out);
    let child = c
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(long / 2);
    let mut kill = std::process::Command::new("kill");
    kill.args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    let o = child.wait_with_output().unwrap();
    let text = said(&o);
    // On a machine that is much faster now it is through.
    if !o.status.success() {
        assert!(
            text.contains("run the same command again, and it goes on from there"),
            "{text}"
        );
        assert!(files(&out).keys().all(|name| !name.ends_with(".part")));
    } else {
        println!("it ended within {:?} of {long:?}", long / 2);
    }
    let mut c = command(&at("data"), &out);
    let o = c
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let text = said(&o);
    assert!(
        o.status.success() && text.contains("360 images in"),
        "{text}"
    );
    assert!(text.contains("next: amcl-wgpu train --data"), "{text}");
    same_files(&at("whole"), &out);
}
