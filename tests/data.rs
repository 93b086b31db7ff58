//! Folders as users have them, and what is wrong with some.

use crate::common::images;

use amcl_wgpu::data::{Keeping, Reading, Request, open};
use images::{paint, try_open};
use std::sync::Mutex;

#[test]
fn formats_shapes_and_classes() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    for (i, ending) in ["png", "jpg", "bmp", "webp"].iter().enumerate() {
        paint(
            &d.join(format!("cat/{i}.{ending}")),
            20 + i as u32,
            9,
            [200, 100, 50],
        );
    }
    for i in 0..20 {
        paint(&d.join(format!("dog/deep/er/{i}.PNG")), 1, 1, [0, 0, 255]);
    }
    std::fs::write(d.join("dog/notes.txt"), "no image").unwrap();
    std::fs::create_dir(d.join("empty class")).unwrap();
    paint(&d.join(".hidden/0.png"), 4, 4, [0; 3]);
    let s = try_open(d, 8).unwrap();
    assert_eq!(s.classes, ["cat", "dog"]);
    assert_eq!((s.train.height, s.train.width), (8, 8));
    // No split of its own: a tenth of each class, at least one, is held out.
    assert_eq!((s.train.len(), s.test.len()), (21, 3));
    assert!(
        s.description.contains("held out") && s.description.contains("2 classes"),
        "{}",
        s.description
    );
    assert_eq!(
        s.warnings[1..],
        ["not used: 1 .txt in dog"],
        "the hidden folder is not counted"
    );
    assert!(s.warnings[0].starts_with("no class: `empty class`"));
    for i in 0..s.train.len() {
        let want = [[200, 100, 50], [0, 0, 255]][s.train.labels[i] as usize];
        // JPEG moves colours by a few levels.
        let near = s.train.image(i).unwrap()[..3]
            .iter()
            .zip(want)
            .all(|(a, b)| a.abs_diff(b) <= 6);
        assert!(near, "{:?}", &s.train.image(i).unwrap()[..3]);
    }
}

#[test]
fn a_split_of_its_own_is_kept_and_classes_are_matched_by_name() {
    for test in ["test", "val", "valid", "Val"] {
        let dir = tempfile::tempdir().unwrap();
        let d = dir.path();
        for (class, n) in [("ant", 3), ("bee", 4)] {
            (0..n).for_each(|i| paint(&d.join(format!("train/{class}/{i}.png")), 8, 8, [1; 3]));
        }
        paint(&d.join(test).join("bee/0.png"), 8, 8, [1; 3]);
        paint(&d.join(test).join("wasp/0.png"), 8, 8, [1; 3]);
        let s = try_open(d, 8).unwrap();
        assert_eq!(
            (s.train.len(), s.test.len(), s.test.labels[0]),
            (7, 1, 1),
            "{test}"
        );
        assert!(
            s.warnings.iter().any(|w| w.contains("wasp")),
            "{:?}",
            s.warnings
        );
    }
}

#[test]
fn tiny_imagenets_annotations_name_the_test_classes() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    paint(&d.join("train/n01/images/a.jpg"), 8, 8, [1; 3]);
    paint(&d.join("train/n02/images/b.jpg"), 8, 8, [1; 3]);
    paint(&d.join("val/images/v.jpg"), 8, 8, [1; 3]);
    std::fs::write(
        d.join("val/val_annotations.txt"),
        "v.jpg\tn02\t0\t0\t7\t7\n",
    )
    .unwrap();
    // Its test images bear no labels; as a folder they would go before val/.
    paint(&d.join("test/images/t.jpg"), 8, 8, [1; 3]);
    let s = try_open(d, 8).unwrap();
    assert_eq!((s.train.len(), s.test.len(), s.test.labels[0]), (2, 1, 1));
    assert!(s.warnings[0].starts_with("not used: "), "{:?}", s.warnings);
    // Where no folder of test images has labels, that is said, and a part is held out.
    std::fs::remove_file(d.join("val/val_annotations.txt")).unwrap();
    let s = try_open(d, 8).unwrap();
    let idle = s.warnings.iter().filter(|w| w.contains("without labels"));
    assert_eq!(idle.count(), 2, "{:?}", s.warnings);
}

#[test]
fn what_is_there_and_not_used_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    std::fs::write(d.join("train_X.bin"), vec![1; 20 * 27648]).unwrap();
    std::fs::write(
        d.join("train_y.bin"),
        (0..20).map(|i| i / 2 + 1).collect::<Vec<u8>>(),
    )
    .unwrap();
    std::fs::write(d.join("unlabeled_X.bin"), vec![1; 3 * 27648]).unwrap();
    let s = try_open(d, 8).unwrap();
    assert!(
        s.description.contains("3 unlabelled ones are there too"),
        "{}",
        s.description
    );
    // Images of several sizes: those of the files, not only what they are brought to.
    let dir = tempfile::tempdir().unwrap();
    paint(&dir.path().join("a.png"), 30, 10, [9; 3]);
    paint(&dir.path().join("b.png"), 12, 12, [9; 3]);
    let s = try_open(dir.path(), 8).unwrap();
    assert!(
        s.description.contains("sides of 10 to 30"),
        "{}",
        s.description
    );
}

#[test]
fn flat_folders_have_no_labels() {
    let dir = tempfile::tempdir().unwrap();
    (0..5).for_each(|i| paint(&dir.path().join(format!("{i}.png")), 30, 10, [9, 8, 7]));
    let s = try_open(dir.path(), 8).unwrap();
    assert_eq!(
        (
            s.train.len(),
            s.train.labels.len(),
            s.test.len(),
            s.classes.len()
        ),
        (5, 0, 0, 0)
    );
    assert!(s.description.contains("not labelled"), "{}", s.description);
}

#[test]
fn the_order_is_that_of_the_names() {
    let orders: Vec<Vec<u8>> = [[3, 1, 2, 0], [0, 1, 2, 3]]
        .iter()
        .map(|order| {
            let dir = tempfile::tempdir().unwrap();
            order
                .iter()
                .for_each(|i| paint(&dir.path().join(format!("{i}.png")), 1, 1, [*i as u8; 3]));
            try_open(dir.path(), 1).unwrap().train.images
        })
        .collect();
    assert_eq!(orders[0], orders[1]);
    assert_eq!(orders[0], [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]);
}

/// The header of a PNG with these sides, and nothing behind it.
fn bomb(side: u32) -> Vec<u8> {
    let mut ihdr = b"IHDR".to_vec();
    ihdr.extend(side.to_be_bytes());
    ihdr.extend(side.to_be_bytes());
    ihdr.extend([8, 2, 0, 0, 0]);
    let crc = ihdr.iter().fold(!0u32, |c, b| {
        (0..8).fold(c ^ u32::from(*b), |c, _| {
            if c & 1 == 1 {
                c >> 1 ^ 0xEDB8_8320
            } else {
                c >> 1
            }
        })
    });
    let mut out = b"\x89PNG\r\n\x1a\n\0\0\0\x0d".to_vec();
    out.extend(&ihdr);
    out.extend((!crc).to_be_bytes());
    out
}

#[test]
fn bad_files_are_named_and_counted_and_fatal_only_together() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    std::fs::write(d.join("a lie.png"), "not an image").unwrap();
    std::fs::write(d.join("bomb.png"), bomb(60_000)).unwrap();
    std::fs::write(d.join("empty.jpg"), "").unwrap();
    let e = try_open(d, 8).unwrap_err().to_string();
    assert!(
        e.contains("none of 3 images") && e.contains("a lie.png"),
        "{e}"
    );
    paint(&d.join("good.png"), 8, 8, [1; 3]);
    // A JPEG under a PNG's name is a JPEG.
    paint(&d.join("x.jpg"), 8, 8, [1; 3]);
    std::fs::rename(d.join("x.jpg"), d.join("x.png")).unwrap();
    let seen = Mutex::new((0, 0));
    let s = open(&Request {
        unlabeled: false,
        fold: None,
        path: d.to_str().unwrap(),
        seed: 1,
        shapes: (0, 0),
        stored_size: 8,
        reading: Reading::default(),
        list: None,
        keeping: Keeping::default(),
        progress: &|done, all| {
            let mut s = seen.lock().unwrap();
            *s = (s.0.max(done), all);
        },
    })
    .unwrap();
    assert_eq!(s.train.len(), 2);
    assert_eq!(*seen.lock().unwrap(), (5, 5));
    for what in ["a lie.png", "bomb.png", "empty.jpg", "3 of 5"] {
        assert!(
            s.warnings.iter().any(|w| w.contains(what)),
            "{what}: {:?}",
            s.warnings
        );
    }
}

#[test]
fn nothing_there_is_explained() {
    let dir = tempfile::tempdir().unwrap();
    let e = try_open(dir.path(), 8).unwrap_err().to_string();
    assert!(e.contains("no images") && e.contains("png"), "{e}");
    let e = try_open(&dir.path().join("missing"), 8)
        .unwrap_err()
        .to_string();
    assert!(e.contains("missing"), "{e}");
}

#[cfg(unix)]
#[test]
fn links_that_lead_back_and_names_that_are_no_unicode() {
    use std::os::unix::ffi::OsStringExt;
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    paint(&d.join("a/0.png"), 8, 8, [1; 3]);
    std::os::unix::fs::symlink(d.join("a"), d.join("a/again")).unwrap();
    let odd = std::ffi::OsString::from_vec(b"caf\xe9.png".to_vec());
    std::fs::copy(d.join("a/0.png"), d.join("a").join(odd)).unwrap();
    let s = try_open(d, 8).unwrap();
    assert_eq!(s.train.len() + s.test.len(), 2);
    assert!(
        s.warnings.iter().any(|w| w.contains("loop")),
        "{:?}",
        s.warnings
    );
}
