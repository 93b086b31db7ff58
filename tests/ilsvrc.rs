//! ImageNet's validation images in one folder: their synsets from the lists that people have, on a constructed set in
//! which ILSVRC ids and sorted synsets are in different orders.

use crate::common::images;

use amcl_wgpu::data::Split;
use images::{paint, try_open, warned};
use std::path::Path;

/// Synsets by ILSVRC id, from 1, as `meta.mat` has them (`tests/golden/data/make_meta_mat.py`).
const BY_ID: [&str; 3] = ["n00000030", "n00000010", "n00000020"];
/// ILSVRC ids of the five images to test on.
const IDS: [usize; 5] = [1, 1, 2, 3, 2];
/// Their classes, which are places among the sorted synsets.
const CLASSES: [u32; 5] = [2, 2, 0, 1, 0];

/// Name of the `i`-th image, from 1.
fn name(i: usize) -> String {
    format!("ILSVRC2012_val_{i:08}")
}

/// The set at `at`: three synsets to train on, five images to test on in one folder.
fn set(at: &Path) {
    for (class, synset) in (0..).zip(BY_ID) {
        let image = at.join("train").join(synset).join("a.JPEG");
        paint(&image, 4, 4, [class, 9, 9]);
    }
    for i in 1..=IDS.len() {
        let image = at.join("val").join(name(i) + ".JPEG");
        paint(&image, 4, 4, [9, i as u8, 9]);
    }
}

/// Writes files beside the set.
fn write(at: &Path, files: &[(&str, String)]) {
    for (file, text) in files {
        let path = at.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

/// Opens the set with these files in its folder.
fn with(files: &[(&str, String)]) -> Split {
    let dir = tempfile::tempdir().unwrap();
    set(dir.path());
    write(dir.path(), files);
    try_open(dir.path(), 4).unwrap()
}

fn lines(all: impl IntoIterator<Item = String>) -> String {
    all.into_iter().map(|line| line + "\n").collect()
}

/// Line i: the ILSVRC id of image i.
fn ground_truth() -> String {
    lines(IDS.iter().map(ToString::to_string))
}

/// Name and synset of every image.
fn pairs(between: &str) -> Vec<String> {
    (1..=IDS.len())
        .map(|i| format!("{}.JPEG{between}{}", name(i), BY_ID[IDS[i - 1] - 1]))
        .collect()
}

/// Name and Caffe's number of every image, from `first`.
fn numbers(first: u32) -> String {
    lines((0..IDS.len()).map(|i| format!("{}.JPEG {}", name(i + 1), CLASSES[i] + first)))
}

/// The synsets in the order of their names.
fn sorted() -> String {
    let mut all = BY_ID.map(String::from);
    all.sort();
    lines(all)
}

const DEVKIT: &str = "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt";

/// Every list leads to the same classes, and a wrong order of ids would lead to others.
#[test]
fn ilsvrc_ids_are_in_the_order_of_the_devkit_and_not_of_the_synsets() {
    let mut order = BY_ID;
    order.sort_unstable();
    let by_name: Vec<u32> = IDS.iter().map(|id| *id as u32 - 1).collect();
    assert_ne!(
        by_name, CLASSES,
        "the control: ids as places of sorted synsets"
    );
    for (id, class) in IDS.iter().zip(CLASSES) {
        assert_eq!(order[class as usize], BY_ID[id - 1]);
    }
    let numbered = lines((1..).zip(BY_ID).map(|(id, s)| format!("{s} {id} a_word")));
    // Ids that are written, in lines of another order.
    let turned = lines(
        (1..4)
            .zip(BY_ID)
            .map(|(id, s)| format!("{s} {id} a_word"))
            .rev(),
    );
    let kaggle = lines((1..=IDS.len()).rev().map(|i| {
        let s = BY_ID[IDS[i - 1] - 1];
        format!("{},{s} 1 2 3 4 {s} 5 6 7 8 ", name(i))
    }));
    let kaggle = "ImageId,PredictionString\n".to_string() + &kaggle;
    let synset_first = lines(
        (1..=IDS.len()).map(|i| format!("\"{}\";\"val/{}.JPEG\"", BY_ID[IDS[i - 1] - 1], name(i))),
    );
    let in_order = lines(IDS.iter().map(|id| BY_ID[id - 1].to_string()));
    let tensorflow = "imagenet_2012_validation_synset_labels.txt";
    for files in [
        vec![(DEVKIT, ground_truth()), ("map_clsloc.txt", numbered)],
        vec![(DEVKIT, ground_truth()), ("val/map_clsloc.txt", turned)],
        vec![
            (DEVKIT, ground_truth()),
            ("synsets.txt", lines(BY_ID.map(String::from))),
        ],
        vec![("LOC_val_solution.csv", kaggle)],
        vec![("val.csv", "name,synset\n".to_string() + &lines(pairs(",")))],
        vec![("val/val_labels.tsv", lines(pairs("\t")))],
        vec![("valid_list.csv", synset_first)],
        vec![("val.txt", numbers(0)), ("caffe/synsets.txt", sorted())],
        vec![(tensorflow, in_order)],
    ] {
        let s = with(&files);
        assert_eq!(s.test.labels, CLASSES, "{files:?}: {:?}", s.warnings);
        assert_eq!(s.classes, order, "{files:?}");
        assert!(
            s.test.names[0].ends_with("00000001.JPEG"),
            "{:?}",
            s.test.names
        );
        let [said] = &s.warnings[..] else {
            panic!("{files:?}: {:?}", s.warnings);
        };
        assert!(
            said.starts_with("the labels of val are those of "),
            "{said}"
        );
    }
}

/// The devkit's own table, as `scipy.io.savemat` writes it, packed and not.
#[test]
fn the_devkits_table_of_synsets_is_read() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/data");
    for file in ["meta.mat", "meta_plain.mat"] {
        let dir = tempfile::tempdir().unwrap();
        set(dir.path());
        write(dir.path(), &[(DEVKIT, ground_truth())]);
        let beside = dir.path().join(DEVKIT).with_file_name("meta.mat");
        std::fs::copy(golden.join(file), &beside).unwrap();
        let s = try_open(dir.path(), 4).unwrap();
        assert_eq!(s.test.labels, CLASSES, "{file}: {:?}", s.warnings);
        // The control: a table that is cut off anywhere leads to no labels, and the reason is said.
        let whole = std::fs::read(&beside).unwrap();
        for len in (0..whole.len()).step_by(whole.len() / 12) {
            std::fs::write(&beside, &whole[..len]).unwrap();
            let s = try_open(dir.path(), 4).unwrap();
            assert!(s.test.is_empty(), "{file}, {len} bytes");
            warned(&s, &["no labels of val (5 images) are taken", "meta.mat"]);
        }
    }
}

/// Where nothing says the order, or something says another one, no label is taken, and one line says what to do.
#[test]
fn labels_are_never_guessed() {
    let missing = lines(IDS[1..].iter().map(ToString::to_string));
    let map = (
        "map_clsloc.txt",
        lines((1..).zip(BY_ID).map(|(id, s)| format!("{s} {id}"))),
    );
    let other = lines(pairs(",")).replacen(BY_ID[0], BY_ID[1], 1);
    let counted = lines((1..=IDS.len()).map(|i| format!("{} {i}", name(i))));
    let advice = "put meta.mat or map_clsloc.txt of the devkit beside it";
    for (files, words) in [
        (
            vec![],
            vec!["no labels of val (5 images) were found: put LOC_val_solution.csv"],
        ),
        (
            vec![(DEVKIT, ground_truth())],
            vec![
                "ILSVRC ids are not in the order of the sorted synsets",
                advice,
            ],
        ),
        (
            vec![(DEVKIT, ground_truth()), ("synsets.txt", sorted())],
            vec![
                "synsets.txt lists the synsets in the order of their names",
                advice,
            ],
        ),
        (
            vec![(DEVKIT, missing + "7\n"), map.clone()],
            vec!["line 5: map_clsloc.txt has no id 7"],
        ),
        (
            vec![(DEVKIT, "1\nx\n".into()), map.clone()],
            vec!["line 2 is no ILSVRC id"],
        ),
        (
            vec![("val.txt", numbers(0))],
            vec!["it has numbers", "put Caffe's synsets.txt there"],
        ),
        (
            vec![("val.txt", numbers(1)), ("synsets.txt", sorted())],
            vec!["class 3, where synsets.txt lists 3, numbered from 0"],
        ),
        (
            vec![("val.txt", counted), ("synsets.txt", sorted())],
            vec!["its numbers differ for all images, so they are no classes"],
        ),
        (
            vec![("val.csv", lines(pairs(","))), ("validation.csv", other)],
            vec![
                "val.csv and validation.csv say different synsets of 1 image (first: ILSVRC2012_val_00000001.JPEG)",
            ],
        ),
    ] {
        let s = with(&files);
        assert!(s.test.is_empty() && !s.train.is_empty(), "{files:?}");
        warned(&s, &words);
        warned(&s, &["not used: val, 5 images without labels"]);
        let lines = s.warnings.iter().filter(|w| w.contains("no labels of val"));
        assert_eq!(lines.count(), 1, "{:?}", s.warnings);
    }
}

/// Images may be missing where their names say which ones are there; a list may name fewer of them.
#[test]
fn missing_images_do_not_shift_the_others() {
    let map = lines((1..).zip(BY_ID).map(|(id, s)| format!("{s} {id}")));
    let files = [(DEVKIT, ground_truth()), ("map_clsloc.txt", map)];
    let dir = tempfile::tempdir().unwrap();
    set(dir.path());
    write(dir.path(), &files);
    std::fs::remove_file(dir.path().join("val").join(name(2) + ".JPEG")).unwrap();
    let s = try_open(dir.path(), 4).unwrap();
    let kept: Vec<u32> = [0, 2, 3, 4].map(|i| CLASSES[i]).into();
    assert_eq!(s.test.labels, kept);
    assert_ne!(kept, CLASSES[..4], "the control: labels by place");
    // Other names do not say which one is missing.
    for i in [1, 3, 4, 5] {
        let val = dir.path().join("val");
        std::fs::rename(val.join(name(i) + ".JPEG"), val.join(format!("{i}.JPEG"))).unwrap();
    }
    let s = try_open(dir.path(), 4).unwrap();
    assert!(s.test.is_empty());
    warned(&s, &["it has 5 lines for 4 images", "none may be missing"]);
    // A list of some of the images.
    let s = with(&[("val.csv", lines(pairs(",").into_iter().skip(1)))]);
    assert_eq!(s.test.labels, CLASSES[1..]);
    warned(
        &s,
        &[
            "left out: 1 image of val",
            "(first: ILSVRC2012_val_00000001.JPEG)",
        ],
    );
    // Two lists that agree say the rest of each other.
    let [rest, first] = [1..IDS.len(), 0..1].map(|r| lines(pairs(",")[r].iter().cloned()));
    let s = with(&[("val.csv", rest), ("validation.csv", first)]);
    assert_eq!(s.test.labels, CLASSES);
}

/// Kaggle's folders: the lists lie beside `ILSVRC`, whichever of the folders is named; what numbers the images there
/// is no list of classes.
#[test]
fn kaggles_lists_are_found_above_the_images() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("ILSVRC/Data/CLS-LOC");
    set(&data);
    paint(
        &data.join("test/ILSVRC2012_test_00000001.JPEG"),
        4,
        4,
        [1, 2, 3],
    );
    let rows = lines(pairs(",").into_iter().map(|p| p + " 1 2 3 4"));
    let counted = lines((1..=IDS.len()).map(|i| format!("{} {i}", name(i))));
    let words = sorted().replace('\n', " a word\n");
    let files = [
        (
            "LOC_val_solution.csv",
            "ImageId,PredictionString\n".to_string() + &rows,
        ),
        ("LOC_synset_mapping.txt", words),
        ("ILSVRC/ImageSets/CLS-LOC/val.txt", counted),
    ];
    write(dir.path(), &files);
    for at in [dir.path(), &data] {
        let s = try_open(at, 4).unwrap();
        assert_eq!(s.test.labels, CLASSES, "{:?}", s.warnings);
        warned(
            &s,
            &["the labels of val are those of", "LOC_val_solution.csv"],
        );
    }
    // The control: without the list, they are not taken from the other two.
    std::fs::remove_file(dir.path().join("LOC_val_solution.csv")).unwrap();
    let s = try_open(dir.path(), 4).unwrap();
    assert!(s.test.is_empty());
    warned(&s, &["val.txt: its numbers differ for all images"]);
}

/// Only folders of ImageNet's kind are looked at: a set of other classes is read as it was.
#[test]
fn other_sets_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    for class in ["ant", "bee"] {
        paint(
            &dir.path().join("train").join(class).join("0.png"),
            4,
            4,
            [1; 3],
        );
    }
    paint(&dir.path().join("val/0.png"), 4, 4, [2; 3]);
    write(dir.path(), &[("val.csv", "0.png,ant\n".into())]);
    let s = try_open(dir.path(), 4).unwrap();
    assert!(s.test.is_empty());
    assert!(
        !s.warnings.iter().any(|w| w.contains("labels of val")),
        "{:?}",
        s.warnings
    );
}
