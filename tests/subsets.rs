//! Sets divided by a list (`data.list`): only what is listed counts, is read and is packed.

use crate::common::images::{LAZY, config, opened, photos};
use amcl_wgpu::data::inspect::decode_all;
use amcl_wgpu::data::pack::{Packing, Records, Summary, pack as pack_set};
use amcl_wgpu::data::packed::pack;
use amcl_wgpu::data::{DataError, Split};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

const SIDE: &str = "data.stored_size=256";
static NEVER: AtomicBool = AtomicBool::new(false);

/// Sixty images to train on and twelve to test on, and lists beside them.
struct Set(tempfile::TempDir);

impl Set {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        photos(&dir.path().join("data"), 60);
        Self(dir)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The setting that names a list with this text.
    fn list(&self, name: &str, text: &str) -> String {
        std::fs::write(self.at(name), text).unwrap();
        format!(
            "data.list={}",
            toml::Value::from(self.at(name).to_str().unwrap())
        )
    }

    /// A list of the first `count` training images, the last one first, half of them to test on.
    fn first(&self, count: usize) -> String {
        let line = |i: usize| {
            let kind = if i.is_multiple_of(3) { "png" } else { "jpg" };
            let part = if i % 4 < 2 { "train" } else { "test" };
            format!("train/{}/{i:03}.{kind},{part}\n", ["cat", "dog"][i % 2])
        };
        let lines: String = (0..count).rev().map(line).collect();
        self.list(&format!("{count}.csv"), &format!("path,split\n{lines}"))
    }
}

fn pack_as(data: &Path, out: &Path, set: &[&str]) -> Result<Summary, DataError> {
    let config = config(data, set);
    pack_set(&Packing {
        data: config.data_request(&|_, _| ()),
        out,
        records: Records::Raw,
        shuffle: None,
        shard_mib: 1,
        stop: &NEVER,
    })
}

/// Names, classes and pixels.
fn same(a: &Split, b: &Split) {
    assert_eq!(a.classes, b.classes);
    for (a, b) in [(&a.train, &b.train), (&a.test, &b.test)] {
        assert_eq!((&a.names, &a.labels), (&b.names, &b.labels));
        let all: Vec<u32> = (0..a.len() as u32).collect();
        assert!(pack(a, &all).unwrap() == pack(b, &all).unwrap());
    }
}

#[test]
fn only_listed_images_count_against_the_memory() {
    let set = Set::new();
    // An image of 256 px takes 192 KiB: five fit a MiB, and six do not.
    let [five, six] =
        [5, 6].map(|n| opened(&set.at("data"), &[SIDE, "data.memory_mib=1", &set.first(n)]));
    assert!(five.train.resident() && !six.train.resident());
    assert_eq!((five.train.len(), five.test.len()), (3, 2));
    assert_eq!((six.train.len(), six.test.len()), (4, 2));
    // The control: without a list they are 72.
    assert!(
        !opened(&set.at("data"), &[SIDE, "data.memory_mib=1"])
            .train
            .resident()
    );
    let six = opened(&set.at("data"), &[SIDE, LAZY, &set.first(6)]);
    let whole = opened(&set.at("data"), &[SIDE, &set.first(6)]);
    same(&six, &whole);
    let names: Vec<String> = whole
        .train
        .names
        .iter()
        .map(|n| n.replace('\\', "/"))
        .collect();
    assert_eq!(
        names,
        [
            "train/dog/005.jpg",
            "train/cat/004.jpg",
            "train/dog/001.jpg",
            "train/cat/000.png"
        ]
    );
    // What is not listed is not looked at, neither to train on it nor to inspect it.
    std::fs::write(set.at("data/train/cat/010.jpg"), "no image").unwrap();
    let listed = config(&set.at("data"), &[SIDE, &set.first(6)]);
    let found = decode_all(&listed.data_request(&|_, _| ()))
        .unwrap()
        .unwrap();
    assert_eq!((found.images, found.bad), (6, 0));
    let all = config(&set.at("data"), &[SIDE]);
    let found = decode_all(&all.data_request(&|_, _| ())).unwrap().unwrap();
    assert_eq!((found.images, found.bad), (72, 1));
}

#[test]
fn a_packed_set_has_what_was_listed_and_can_be_divided_itself() {
    let set = Set::new();
    let (data, list) = (set.at("data"), set.first(30));
    let first = pack_as(&data, &set.at("a"), &[SIDE, &list]).unwrap();
    assert_eq!((first.images, first.bad), (30, 0));
    same(
        &opened(&data, &[SIDE, &list]),
        &opened(&set.at("a"), &[SIDE]),
    );
    // Twice the same bytes; what is there is found again, and that of another list is not taken for it.
    pack_as(&data, &set.at("b"), &[SIDE, &list, "data.threads=3"]).unwrap();
    for file in ["pack.json", "shard-00000.pack", "shard-00005.pack"] {
        let [a, b] = ["a", "b"].map(|out| std::fs::read(set.at(out).join(file)).unwrap());
        assert!(a == b, "{file}");
    }
    let again = pack_as(&data, &set.at("a"), &[SIDE, &list]).unwrap();
    assert_eq!(again.found, again.shards);
    for other in [&[SIDE][..], &[SIDE, &set.first(29)]] {
        let e = pack_as(&data, &set.at("a"), other).unwrap_err().to_string();
        assert!(e.contains("another list of images"), "{e}");
    }
    // A list of names of the packed set divides that, in memory or not, and packs a part of it.
    let few = set.first(9);
    for keeping in ["data.memory_mib=4096", LAZY] {
        same(
            &opened(&data, &[SIDE, &few]),
            &opened(&set.at("a"), &[SIDE, &few, keeping]),
        );
    }
    pack_as(&set.at("a"), &set.at("few"), &[SIDE, &few]).unwrap();
    same(
        &opened(&data, &[SIDE, &few]),
        &opened(&set.at("few"), &[SIDE]),
    );
}

#[test]
fn classes_and_parts_are_those_of_the_list_and_what_it_cannot_mean_is_refused() {
    let set = Set::new();
    let lines = "path,label,split\ntest/dog/061.jpg,b,train\ntrain/dog/001.jpg,a,train\ntrain/cat/002.jpg,b,test\n";
    let list = set.list("own.csv", lines);
    for data in ["data", "packed"] {
        if data == "packed" {
            pack_as(&set.at("data"), &set.at("packed"), &[SIDE, &list]).unwrap();
        }
        // The packed set has the parts and classes without the list, which names them all the same.
        for list in [&[&*list][..], &[]] {
            if data == "data" && list.is_empty() {
                continue;
            }
            let s = opened(&set.at(data), &[&[SIDE][..], list].concat());
            assert_eq!(s.classes, ["a", "b"]);
            assert_eq!(
                (&s.train.labels[..], &s.test.labels[..]),
                (&[1, 0][..], &[1][..])
            );
            assert!(s.train.names[0].contains("061"), "{:?}", s.train.names);
        }
    }
    let list = set.list(
        "unknown.csv",
        "path\ntrain/cat/000.png\ntrain/cat/999.png\n",
    );
    let opening = config(&set.at("data"), &[SIDE, &list]).open_data(&|_, _| ());
    let packing = pack_as(&set.at("data"), &set.at("new"), &[SIDE, &list]);
    for e in [opening.unwrap_err(), packing.unwrap_err()] {
        let text = e.to_string();
        assert!(
            text.contains("1 of 2 names are of no image of the set") && text.contains("line 3"),
            "{text}"
        );
    }
}
