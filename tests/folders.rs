//! Folders of images as users have them: which are training and test images, which are classes, and what is not used.

use crate::common::images;

use amcl_wgpu::data::{DataError, Split};
use images::{paint, try_open, warned};
use std::path::Path;

/// Images of the classes `names` below a folder.
fn classes(at: &Path, names: &[&str], each: u8) {
    for (class, name) in (0..).zip(names) {
        for i in 0..each {
            paint(&at.join(name).join(format!("{i}.png")), 4, 4, [class, i, 9]);
        }
    }
}

/// Images without labels.
fn flat(at: &Path, count: u8) {
    (0..count).for_each(|i| paint(&at.join(format!("{i}.png")), 4, 4, [i; 3]));
}

/// Opens what `make` made.
fn made(make: impl FnOnce(&Path)) -> Result<Split, String> {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    let path = dir.path().display().to_string();
    let e = |e: DataError| e.to_string().replace(&path, "D");
    try_open(dir.path(), 4).map_err(e)
}

const TWO: [&str; 2] = ["ant", "bee"];

/// Training images of two classes, three each, and test images, one each: in folders of whatever name and depth.
#[test]
fn splits_are_found_by_many_names_and_a_few_folders_down() {
    for (train, test, deeper) in [
        ("Training", "Testing", false),
        ("TRAIN", "VAL", false),
        ("train", "dev", false),
        ("train", "holdout", false),
        ("train", "Validation", false),
        ("train2017", "val2017", false),
        ("training_set/training_set", "test_set/test_set", true),
        ("seg_train/seg_train", "seg_test/seg_test", true),
        ("train_images", "test_images", false),
        ("TrainSet", "evalSet", false),
        ("archive/train", "archive/val", true),
        ("data/images/train", "data/images/test", true),
        (
            "A/ILSVRC/Data/CLS-LOC/train",
            "A/ILSVRC/Data/CLS-LOC/val",
            true,
        ),
    ] {
        let s = made(|d| {
            classes(&d.join(train), &TWO, 3);
            classes(&d.join(test), &TWO, 1);
        });
        let s = s.unwrap_or_else(|e| panic!("{train}: {e}"));
        assert_eq!((s.train.len(), s.test.len()), (6, 2), "{train}");
        assert_eq!(
            (&s.classes[..], &s.test.labels[..]),
            (&TWO.map(String::from)[..], &[0, 1][..])
        );
        assert_eq!(s.warnings.is_empty(), !deeper, "{train}: {:?}", s.warnings);
        assert!(s.train.names[0].starts_with(train), "{:?}", s.train.names);
        let name = test.rsplit('/').next().unwrap();
        assert!(
            s.description.contains("test images of"),
            "{name}: {}",
            s.description
        );
    }
    // A word that is a class's, though a split's is in it.
    let s = made(|d| classes(d, &["train_station", "bus stop"], 4)).unwrap();
    assert_eq!(s.classes, ["bus stop", "train_station"]);
}

#[test]
fn of_several_test_folders_the_one_taken_and_the_others_are_named() {
    let s = made(|d| {
        for (part, each) in [
            ("train", 3),
            ("val", 1),
            ("testing", 1),
            ("test", 2),
            ("holdout", 1),
        ] {
            classes(&d.join(part), &TWO, each);
        }
        flat(&d.join("extra"), 5);
    });
    let s = s.unwrap();
    assert_eq!((s.train.len(), s.test.len()), (6, 4));
    warned(
        &s,
        &[
            "the test images are those of test; not used: testing (2 images), holdout (2 images), val (2 images)",
            "not used: 5 .png in extra",
        ],
    );
    assert_eq!(s.warnings.len(), 2, "{:?}", s.warnings);
}

#[test]
fn class_folders_that_look_like_splits_are_refused_with_the_reason() {
    let flats =
        |names: &'static [&str]| move |d: &Path| names.iter().for_each(|n| flat(&d.join(n), 2));
    let e = made(flats(&["cat", "dog", "test"])).unwrap_err();
    assert!(e.contains("`test` bears a name of test images"), "{e}");
    let e = made(flats(&["bus", "car", "train"])).unwrap_err();
    assert!(
        e.contains("`train` holds images and no class folders") && e.contains("`bus`"),
        "{e}"
    );
    let e = made(|d| {
        ["Test", "val"]
            .iter()
            .for_each(|n| classes(&d.join(n), &TWO, 1));
    })
    .unwrap_err();
    assert!(e.contains("`Test`, `val` bear a name"), "{e}");
    let e = made(|d| {
        ["train", "Training"]
            .iter()
            .for_each(|n| classes(&d.join(n), &TWO, 1));
    });
    let e = e.unwrap_err();
    assert!(
        e.contains("`Training`, `train` all bear a name of training images"),
        "{e}"
    );
    let e = made(|d| {
        std::fs::create_dir(d.join("train")).unwrap();
        std::fs::write(d.join("train/0.heic"), "x").unwrap();
        classes(&d.join("test"), &TWO, 1);
    });
    let e = e.unwrap_err();
    assert!(
        e.contains("no image in `train` can be read; there are 1 .heic"),
        "{e}"
    );
    // Two data sets side by side; a split below each class.
    let e = made(|d| {
        for part in ["a/train", "a/test", "b/train", "b/test"] {
            flat(&d.join(part), 2);
        }
    });
    let e = e.unwrap_err();
    assert!(e.contains("no class") && e.contains("`a`, `b`"), "{e}");
}

#[test]
fn labelled_test_images_beside_unlabelled_training_images_serve_evaluation() {
    let s = made(|d| {
        flat(&d.join("train"), 7);
        classes(&d.join("val"), &TWO, 20);
    });
    let s = s.unwrap();
    assert_eq!((s.train.len(), s.train.labels.len()), (7, 0));
    assert_eq!((s.bank().len(), s.test.len(), s.classes.len()), (36, 4, 2));
    assert!(s.bank().names.iter().all(|n| !s.test.names.contains(n)));
    assert!(
        s.description.contains("10 % of every class"),
        "{}",
        s.description
    );
    assert_eq!(s.unmeasured(), None);
    // With two labelled folders nothing is held out.
    let s = made(|d| {
        flat(&d.join("train"), 7);
        classes(&d.join("test"), &TWO, 2);
        classes(&d.join("val"), &TWO, 3);
    });
    let s = s.unwrap();
    assert_eq!((s.bank().len(), s.test.len()), (6, 4));
    assert!(s.bank().names[0].starts_with("val"));
}

#[test]
fn files_that_are_not_used_are_counted_by_ending_and_place() {
    let s = made(|d| {
        classes(d, &TWO, 2);
        flat(d, 3);
        for (name, count) in [("owl", 4), ("elk", 1)] {
            std::fs::create_dir(d.join(name)).unwrap();
            (0..count)
                .for_each(|i| std::fs::write(d.join(name).join(format!("{i}.HEIC")), "x").unwrap());
        }
        std::fs::write(d.join("ant/LICENSE"), "x").unwrap();
        for litter in ["@eaDir", "lost+found", "$RECYCLE.BIN", "__MACOSX", ".git"] {
            flat(&d.join(litter), 1);
            flat(&d.join("ant").join(litter), 1);
        }
        std::fs::write(d.join("ant/Thumbs.db"), "x").unwrap();
    });
    let s = s.unwrap();
    assert_eq!((s.train.len() + s.test.len(), s.classes.len()), (4, 2));
    let line = s
        .warnings
        .iter()
        .find(|w| w.starts_with("not used"))
        .unwrap();
    assert_eq!(
        line,
        "not used: 5 .heic in elk and owl; 3 .png in the folder itself, beside folders of images; 1 without an \
         ending in ant; there is no decoder for heic (convert them to jpeg or png)"
    );
    warned(&s, &["no class: `elk`, `owl`"]);
    // Where nothing can be used, that is said of what there is.
    let e = made(|d| std::fs::write(d.join("images.zip"), "x").unwrap()).unwrap_err();
    assert!(e.contains("no images") && e.contains("1 .zip"), "{e}");
}

/// Masks and annotations beside the images are no classes, and neither is `images` itself.
#[test]
fn folders_of_annotations_are_no_classes() {
    for (images, masks) in [
        ("images", "annotations/trimaps"),
        ("JPEGImages", "SegmentationClass"),
    ] {
        let s = made(|d| {
            flat(&d.join(images), 4);
            flat(&d.join(masks), 4);
        });
        let s = s.unwrap();
        assert_eq!((s.train.len(), s.classes.len()), (4, 0));
        warned(&s, &[masks.split('/').next().unwrap()]);
    }
    let s = made(|d| {
        flat(&d.join("train/images"), 4);
        flat(&d.join("valid/images"), 4);
        std::fs::write(d.join("train/x.csv"), "x").unwrap();
    });
    assert_eq!(s.unwrap().classes.len(), 0);
}

#[test]
fn endings_of_all_formats() {
    let s = made(|d| {
        for ending in ["gif", "tif", "tiff", "ppm", "pgm", "qoi", "tga"] {
            let path = d.join(format!("a.{ending}"));
            if ending == "pgm" {
                let grey = image::GrayImage::from_pixel(5, 4, image::Luma([8]));
                grey.save(path).unwrap();
            } else {
                paint(&path, 5, 4, [8; 3]);
            }
        }
        for ending in ["jfif", "jpe", "JPG"] {
            paint(&d.join("x.jpg"), 5, 4, [8; 3]);
            std::fs::rename(d.join("x.jpg"), d.join(format!("b.{ending}"))).unwrap();
        }
    });
    let s = s.unwrap();
    assert_eq!(
        (s.train.len(), s.warnings.len()),
        (10, 0),
        "{:?}",
        s.warnings
    );
    assert!(s.train.images.iter().all(|v| v.abs_diff(8) <= 1));
}

#[test]
fn classes_that_mean_little_are_named() {
    let s = made(|d| {
        classes(&d.join("train"), &["ant", "bee", "cow"], 2);
        classes(&d.join("test"), &["Ant", "bee", "wasp"], 3);
    });
    let s = s.unwrap();
    assert_eq!(s.test.labels, [0, 0, 0, 1, 1, 1]);
    warned(
        &s,
        &[
            "test class `Ant` is taken for training class `ant`",
            "left out: test class `wasp` (3 images of test)",
            "no test images of `cow`",
        ],
    );
    assert_eq!(s.warnings.len(), 3, "{:?}", s.warnings);
    // In two spellings, each with images, both may be meant.
    let s = made(|d| {
        classes(d, &["Ant", "ant"], 2);
        classes(d, &["bee"], 1);
    });
    warned(
        &s.unwrap(),
        &["capitals alone: `Ant`, `ant`", "have one image", "`bee`"],
    );
    let s = made(|d| classes(d, &["ant"], 5)).unwrap();
    warned(&s, &["one class alone, `ant`"]);
    assert!(s.unmeasured().unwrap().contains("means nothing"));
    let s = made(|d| {
        classes(d, &TWO, 2);
        classes(&d.join("cow"), &["calf", "heifer"], 2);
    });
    let s = s.unwrap();
    assert_eq!(s.classes.len(), 3);
    warned(&s, &["names of those below are not used (2 in `cow`)"]);
}

#[test]
fn binary_sets_are_found_a_few_folders_down() {
    let record = [&[3u8][..], &[9; 3072]].concat();
    let set = |d: &Path| {
        std::fs::create_dir_all(d).unwrap();
        std::fs::write(d.join("data_batch_1.bin"), record.repeat(20)).unwrap();
    };
    let s = made(|d| set(&d.join("cifar/cifar-10-batches-bin"))).unwrap();
    assert_eq!(s.train.len() + s.test.len(), 20);
    warned(&s, &["cifar-10-batches-bin"]);
    let e = made(|d| ["a", "b"].iter().for_each(|n| set(&d.join(n)))).unwrap_err();
    assert!(e.contains("several data sets") && e.contains("D/b"), "{e}");
    let e = made(|d| {
        std::fs::create_dir(d.join("cifar-10-batches-py")).unwrap();
        for name in ["data_batch_1", "batches.meta"] {
            std::fs::write(d.join("cifar-10-batches-py").join(name), "x").unwrap();
        }
    });
    assert!(e.unwrap_err().contains("data download cifar10"));
}
