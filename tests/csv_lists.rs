//! CSV lists as users have them, and what is wrong with some.

use crate::common::images;

use amcl_wgpu::data::Split;
use images::{paint, try_open, warned};
use std::path::Path;

/// Opens a list with `text` beside `im/0.png` to `im/9.png`, of 1x1 pixel with the value of their number.
fn read(text: impl AsRef<[u8]>) -> Result<Split, String> {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..10 {
        paint(&dir.path().join(format!("im/{i}.png")), 1, 1, [i; 3]);
    }
    list(&dir.path().join("list.csv"), text)
}

fn list(path: &Path, text: impl AsRef<[u8]>) -> Result<Split, String> {
    std::fs::write(path, text).unwrap();
    try_open(path, 1).map_err(|e| e.to_string())
}

/// Numbers of the images.
fn ids(d: &amcl_wgpu::data::Dataset) -> Vec<u8> {
    d.images.chunks(3).map(|p| p[0]).collect()
}

/// Four images of two classes, two of them for testing, in whatever way that is written.
#[test]
fn heads_separators_and_spellings() {
    let rows = |head: &str, separator: &str, [train, test]: [&str; 2]| {
        let line = |(i, class, part)| [&*format!("im/{i}.png"), class, part].join(separator);
        let lines = [
            (0, "a", train),
            (1, "b", train),
            (2, "a", test),
            (3, "b", test),
        ]
        .map(line);
        format!("{head}\n{}\n", lines.join("\n"))
    };
    let names = ["train", "test"];
    for (text, note) in [
        (rows("path,label,split", ",", names), None),
        (
            rows("filename,class,subset", ",", ["Training", "VAL"]),
            None,
        ),
        (rows("File Name,Category,Set", ",", ["TRAIN", "dev"]), None),
        (rows("image,target,fold", ",", ["train", "valid"]), None),
        (
            rows("IMAGE_PATH,Labels,partition", ",", ["", "holdout"]),
            Some("lines without a split, which are trained on: 2"),
        ),
        (rows("", ",", names), None),
        (rows("\u{feff}path,label,split", ",", names), None),
        (
            rows("path;label;split", ";", names),
            Some("separated by `;`"),
        ),
        (rows("", "\t", names), Some("separated by tabs")),
        (
            rows("path,label,split", ",", names).replace('\n', "\r\n"),
            None,
        ),
        (
            rows("path,label,split", "\",\"", names)
                .replace("\nim", "\n\"im")
                .replace("train\n", "train\"\n")
                .replace("test\n", "test\"\n"),
            None,
        ),
        (
            rows("path,label,split", ",", names).replace("im/", "im\\"),
            None,
        ),
        (
            rows("path,label,split", ",", names).replace("im/", "./im/../im/"),
            None,
        ),
        (
            rows("path,label,split", ",", names).replace('\n', "\n\n"),
            None,
        ),
        (
            rows("path,label,split,width", ",", names),
            Some("columns not used: `width`"),
        ),
    ] {
        let s = read(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(
            (ids(&s.train), ids(&s.test)),
            (vec![0, 1], vec![2, 3]),
            "{text}"
        );
        assert_eq!(
            (&s.train.labels[..], &s.test.labels[..]),
            (&[0, 1][..], &[0, 1][..]),
            "{text}"
        );
        assert_eq!(s.classes, ["a", "b"]);
        match note {
            Some(note) => warned(&s, &[note]),
            None => assert!(s.warnings.is_empty(), "{text}: {:?}", s.warnings),
        }
        assert!(
            s.description
                .starts_with("CSV list, 2 training images of 2 classes"),
            "{}",
            s.description
        );
    }
}

#[test]
fn a_first_line_that_names_no_file_and_no_column_of_files_is_refused() {
    for (text, words) in [
        (
            "picture,kind\nim/0.png,a\n",
            &["line 1", "`picture`", "path,label,split"][..],
        ),
        ("label,split\na,train\n", &["line 1", "`label`, `split`"]),
        (
            "a,im/0.png\nb,im/1.png\n",
            &["`im/0.png` is a file, but no first cell"],
        ),
        ("# a comment\nim/0.png,a\n", &["`# a comment` is no file"]),
        ("im/77.png,a\nim/0.png,b\n", &["`im/77.png` is no file"]),
    ] {
        let e = read(text).unwrap_err();
        assert!(words.iter().all(|w| e.contains(w)), "{text}: {e}");
    }
    let utf16: Vec<u8> = "\u{feff}path\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    assert!(read(utf16).unwrap_err().contains("UTF-16"));
    assert!(
        read(b"path\nim/0.png\ncaf\xe9.png\n")
            .unwrap_err()
            .contains("line 3 is no UTF-8")
    );
    // A label that reads as a column's name does not make a line a head.
    let s = read("im/0.png,image\nim/1.png,class\nim/2.png,image\n").unwrap();
    assert_eq!(s.train.len() + s.test.len(), 3);
}

#[test]
fn columns_that_are_not_used_are_named() {
    let s = read("path,breed,width\nim/0.png,a,3\nim/1.png,b,4\n").unwrap();
    assert_eq!(s.classes.len(), 0);
    warned(
        &s,
        &["columns not used: `breed`, `width`; a column of labels is called label"],
    );
    // Numbers are no parts; two columns of labels are one too many.
    let s = read("path,fold,label,class\nim/0.png,0,a,x\nim/1.png,1,b,y\n").unwrap();
    assert_eq!(
        (s.train.len(), &s.classes[..]),
        (2, &["a", "b"].map(String::from)[..])
    );
    warned(&s, &["columns not used: `fold`, `class`"]);
    assert!(!s.warnings.iter().any(|w| w.contains("is called label")));
    let e = read("path,split\nim/0.png,0\n").unwrap_err();
    assert!(
        e.contains("line 2: split is `0`; expected one of train, "),
        "{e}"
    );
    let s = read("im/0.png,a,train,1,2\nim/1.png,b,train,1,2\n").unwrap();
    warned(&s, &["columns not used: the 2 behind the third"]);
    let s = read("path,label\nim/0.png,a\nim/1,2.png,b\nim/2.png,b\n").unwrap();
    warned(&s, &["lines with more cells than the first: 1", "im/1"]);
}

#[test]
fn files_that_are_listed_again_are_counted_and_taken_once() {
    let s = read(
        "path,label,split\nim/0.png,a,train\nim/1.png,b,train\n./im/0.png,a,train\nim/1.png,a,train\nim/2.png,a,train\n\
         im/2.png,a,test\nim/3.png,b,test\nim/3.png,b,train\nim/../im/0.png,a,train\n",
    );
    let s = s.unwrap();
    assert_eq!(
        (ids(&s.train), &s.train.labels[..]),
        (vec![0, 1], &[0, 1][..])
    );
    assert_eq!(
        (ids(&s.test), &s.test.labels[..]),
        (vec![2, 3], &[0, 1][..])
    );
    warned(
        &s,
        &[
            "lines that list a file again, which is taken once: 2 (first: ./im/0.png in lines 2 and 4)",
            "again with another label, the first being taken: 1 (first: im/1.png in lines 3 and 5)",
            "both to train and to test on, which are tested on alone: 2 (first: im/2.png in lines 6 and 7)",
        ],
    );
    assert_eq!(s.warnings.len(), 3, "{:?}", s.warnings);
}

#[test]
fn labels_that_are_missing_here_or_there() {
    // A test class without training images is no class.
    let s = read("im/0.png,a\nim/1.png,b\nim/2.png,a,test\nim/3.png,c,test\nim/4.png,,test\nim/5.png,B,val\n").unwrap();
    assert_eq!((s.classes.len(), ids(&s.test)), (2, vec![2, 5]));
    warned(
        &s,
        &[
            "left out: test class `c` (1 image of split test, val)",
            "left out: 1 image to test on without a label",
            "test class `B` is taken for training class `b`",
        ],
    );
    // Labels of test images alone serve evaluation.
    let text: String = (0..4).map(|i| format!("im/{i}.png,,train\n")).collect();
    let tests: String = (4..10)
        .map(|i| format!("im/{i}.png,{},val\n", i % 2))
        .collect();
    let s = read(text.clone() + &tests).unwrap();
    assert_eq!((ids(&s.train), s.train.labels.len()), (vec![0, 1, 2, 3], 0));
    assert_eq!((s.bank().len(), s.test.len(), s.unmeasured()), (4, 2, None));
    // Where there are no labels at all, test images stay what they are.
    let s = read(text + "im/4.png,,test\n").unwrap();
    assert_eq!((s.train.len(), s.test.len(), s.classes.len()), (4, 1, 0));
    assert!(s.warnings.is_empty(), "{:?}", s.warnings);
    let e = read("im/0.png,a\nim/1.png,\nim/2.png,b\n").unwrap_err();
    assert!(
        e.contains("some have none: 1 of 3") && e.contains("line 2"),
        "{e}"
    );
    let e = read("im/0.png,a,test\n").unwrap_err();
    assert!(e.contains("no training image"), "{e}");
}

#[test]
fn paths_may_be_relative_to_the_folder_of_images() {
    let dir = tempfile::tempdir().unwrap();
    paint(&dir.path().join("images/a.png"), 1, 1, [7; 3]);
    let path = dir.path().join("labels.csv");
    let s = list(&path, "image,label\nmissing.png,y\na.png,x\n").unwrap();
    assert_eq!(
        (ids(&s.train), s.train.name(0)),
        (vec![7], "images/a.png".into())
    );
    warned(&s, &["relative to images/ beside the list", "missing.png"]);
    // Without a head; and by the whole path.
    assert_eq!(list(&path, "a.png\n").unwrap().train.len(), 1);
    let whole = dir.path().join("images/a.png");
    assert_eq!(
        list(&path, format!("{}\n", whole.display()))
            .unwrap()
            .train
            .len(),
        1
    );
    let packed = dir.path().join("images.zip");
    assert!(list(&packed, "PK").unwrap_err().contains("unpack it"));
    assert!(list(&dir.path().join("a.tsv"), "path\tlabel\nimages/a.png\tx\n").is_ok());
}
