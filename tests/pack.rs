//! Packed sets: what they hold, and that none is taken for another.

use crate::common::images::{paint, photos as source};
use crate::common::packs::{
    NEVER, files, flip, packed, packing, pixels, refused, request, said, same_files, same_split,
};
use amcl_wgpu::data::pack::{Records, open_cached, pack};
use amcl_wgpu::data::survey::{Kind, survey};
use amcl_wgpu::data::{Keeping, Reading, Request, Split, open};
use assert_cmd::Command;
use std::path::Path;

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
