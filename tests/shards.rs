//! Tar shards and parquet files as data sets: the same labels, names, pixels and weights as those of a folder of the
//! same files; what is damaged or ambiguous is named.

use crate::common::images::{CLASSES, LAZY, folder, opened, trained, try_set as try_open, warned};
use crate::common::shards::{Image, PLAIN, Written, alike, images, parquet, samples, shards, tar};
use amcl_wgpu::data::survey::{Kind, survey};
use parquet::basic::{Compression, ZstdLevel};
use std::path::PathBuf;

/// Batches of 8 of 36 images in row groups of 5: as many of one class lie together as chance seldom gives.
const FULL: &str = "data.shuffle=full";

#[test]
fn tar_and_parquet_give_the_folders_classes_and_pixels_in_memory_and_not() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    folder(&at("files"));
    let plain = opened(&at("files"), &[]);
    // A tar of class folders, its members in an order that no listing has.
    let both: Vec<Image> = images(&at("files"), "test")
        .into_iter()
        .chain(images(&at("files"), "train"))
        .collect();
    let mut members: Vec<_> = both
        .iter()
        .map(|i| (format!("./{}", i.path), i.bytes.clone()))
        .collect();
    members.reverse();
    tar(&at("folders.tar"), &members);
    shards(&at("files"), &at("shards"));
    let write = |name: &str, how| {
        let (train, test) = (images(&at("files"), "train"), images(&at("files"), "test"));
        parquet(
            &at(name).join("data/train-00000-of-00002.parquet"),
            &train[..17],
            how,
        );
        parquet(
            &at(name).join("data/train-00001-of-00002.parquet"),
            &train[17..],
            how,
        );
        parquet(
            &at(name).join("data/test-00000-of-00001.parquet"),
            &test,
            how,
        );
    };
    write("snappy", PLAIN);
    let zstd = Compression::ZSTD(ZstdLevel::default());
    write(
        "zstd",
        Written {
            in_struct: false,
            compression: zstd,
            rows: 100,
            ..PLAIN
        },
    );
    write(
        "text",
        Written {
            numbers: false,
            compression: Compression::UNCOMPRESSED,
            ..PLAIN
        },
    );
    for name in ["folders.tar", "shards", "snappy", "zstd", "text"] {
        for set in [&[][..], &[LAZY]] {
            let s = opened(&at(name), set);
            assert_eq!(s.classes, CLASSES, "{name}");
            assert_eq!(s.train.resident(), set.is_empty(), "{name}");
            alike(&plain.train, &s.train);
            alike(&plain.test, &s.test);
        }
    }
    let s = opened(&at("folders.tar"), &[]);
    assert_eq!(
        s.train.names, plain.train.names,
        "names of members are those of files"
    );
    assert!(
        s.description
            .starts_with("a tar file, 36 training images of 3 classes"),
        "{}",
        s.description
    );
    let s = opened(&at("shards"), &[LAZY]);
    assert_eq!(s.train.name(20), "own-train-000001.tar/000020.png");
    assert!(
        s.description.contains("3 tar files") && s.description.contains("12 test images of test")
    );
    let s = opened(&at("snappy"), &[LAZY]);
    assert_eq!(s.train.name(18), "data/train-00001-of-00002.parquet/000001");
    warned(&s, &["images in `image`, labels in `label`"]);
    // One file, and a name with braces.
    let s = opened(&at("shards/own-test-000000.tar"), &[]);
    assert_eq!(
        (s.train.len() + s.test.len(), &s.classes[..]),
        (12, &CLASSES.map(String::from)[..])
    );
    let s = opened(&at("shards/own-train-{000000..000001}.tar"), &[]);
    assert_eq!(s.train.len() + s.test.len(), 36);
    let s = opened(&at("snappy/data/train-0000{0,1}-of-00002.parquet"), &[]);
    assert_eq!(s.train.len() + s.test.len(), 36);
}

#[test]
fn weights_are_the_same_to_the_bit_for_folder_tar_and_parquet_and_any_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    folder(&at("files"));
    shards(&at("files"), &at("shards"));
    let train = images(&at("files"), "train");
    parquet(&at("rows/train.parquet"), &train, PLAIN);
    parquet(
        &at("rows/test.parquet"),
        &images(&at("files"), "test"),
        PLAIN,
    );
    let want = trained(&at("files"), &[]).unwrap();
    for threads in ["data.threads=1", "data.threads=2", "data.threads=7"] {
        for name in ["files", "shards"] {
            assert_eq!(
                trained(&at(name), &[LAZY, threads]).unwrap(),
                want,
                "{name} {threads}"
            );
        }
        assert_eq!(
            trained(&at("rows"), &[LAZY, FULL, threads]).unwrap(),
            want,
            "{threads}"
        );
    }
    assert_eq!(
        trained(&at("rows"), &[]).unwrap(),
        want,
        "in memory, parquet is shuffled as all else is"
    );
    // The controls: by row groups the order is another one, and it too depends on no thread.
    let mixed: Vec<Image> = (0..36)
        .map(|i| &train[i * 12 % 36 + i / 3])
        .map(|i| Image {
            path: i.path.clone(),
            class: i.class,
            bytes: i.bytes.clone(),
        })
        .collect();
    parquet(&at("mixed/train.parquet"), &mixed, PLAIN);
    let [full, blocks] =
        [FULL, "data.shuffle=auto"].map(|o| trained(&at("mixed"), &[LAZY, o]).unwrap());
    assert_ne!(full, blocks);
    assert_eq!(
        trained(&at("mixed"), &[LAZY, "data.threads=7"]).unwrap(),
        blocks
    );
    assert_ne!(trained(&at("shards"), &[LAZY, "run.seed=2"]).unwrap(), want);
}

#[test]
fn bad_members_are_named_and_another_of_the_class_stands_in() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    folder(&at("files"));
    let mut train = images(&at("files"), "train");
    let half = train[13].bytes.len() / 2;
    train[13].bytes.truncate(half);
    tar(&at("shards/train-0.tar"), &samples(&train, 0));
    std::fs::write(at("shards/classes.txt"), CLASSES.join("\n")).unwrap();
    parquet(&at("rows/train.parquet"), &train, PLAIN);
    let test = images(&at("files"), "test");
    tar(&at("shards/test-0.tar"), &samples(&test, 0));
    parquet(&at("rows/test.parquet"), &test, PLAIN);
    for (name, member) in [
        ("shards", "train-0.tar/000013.png"),
        ("rows", "train.parquet/000013"),
    ] {
        let s = opened(&at(name), &[LAZY, "data.max_bad=0.5"]);
        let set = &s.train;
        let i = set.names.iter().position(|n| n == member).unwrap();
        let next = (1..)
            .map(|d| (i + d) % set.len())
            .find(|j| set.labels[*j] == 1)
            .unwrap();
        assert_eq!(set.image(i).unwrap(), set.image(next).unwrap(), "{name}");
        let told = s.train.new_faults();
        assert!(told.len() == 1 && told[0].starts_with(member), "{told:?}");
        // In memory it is left out, as a folder's is.
        let s = opened(&at(name), &[]);
        assert_eq!((s.train.len(), s.test.len()), (35, 12));
        warned(
            &s,
            &[&format!("{member}: "), "1 of 48 files could not be decoded"],
        );
        let e = trained(&at(name), &[LAZY, FULL, "data.max_bad=0"]).unwrap_err();
        assert!(e.contains("data.max_bad") && e.contains(member), "{e}");
    }
}

#[test]
fn labels_in_json_and_text_are_classes_and_captions_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    folder(&at("files"));
    let train = images(&at("files"), "train");
    let with = |name: &str, ending: &str, label: &dyn Fn(usize, &Image) -> String| {
        let two = |(i, image): (usize, &Image)| {
            let text = label(i, image).into_bytes();
            [
                (format!("{i:03}.png"), image.bytes.clone()),
                (format!("{i:03}.{ending}"), text),
            ]
        };
        tar(
            &at(name),
            &train.iter().enumerate().flat_map(two).collect::<Vec<_>>(),
        );
        opened(&at(name), &[])
    };
    let name = |i: &Image| CLASSES[i.class];
    for (ending, label) in [
        (
            "json",
            &(|_: usize, i: &Image| format!("{{\"label\": \"{}\", \"w\": 3}}", name(i)))
                as &dyn Fn(usize, &Image) -> String,
        ),
        ("cls", &|_, i| name(i).into()),
        ("txt", &|_, i| format!("{}\n", name(i))),
    ] {
        assert_eq!(with("a.tar", ending, label).classes, CLASSES, "{ending}");
    }
    let s = with("a.tar", "json", &|_, i| {
        format!("{{\"label\": {}}}", i.class + 8)
    });
    assert_eq!(
        s.classes,
        ["8", "9", "10"],
        "numbers without names, in their order"
    );
    let s = with("a.tar", "txt", &|i, _| format!("a photo, number {i}"));
    assert!(s.classes.is_empty());
    warned(
        &s,
        &["taken for captions, not for classes: 36 of 36 are unlike"],
    );
    // A mask beside an image is no image.
    let mut members = samples(&train, 0);
    members.insert(0, ("000000.mask.png".into(), train[5].bytes.clone()));
    tar(&at("b.tar"), &members);
    let s = opened(&at("b.tar"), &[]);
    assert_eq!(s.train.len() + s.test.len(), 36);
    warned(
        &s,
        &["left out: 1 further images beside one of the same name: `000000.mask.png`"],
    );
}

#[test]
fn a_hub_cache_is_followed_to_its_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    folder(&at("files"));
    let hub = at("datasets--own--bugs");
    parquet(
        &hub.join("blobs/1234"),
        &images(&at("files"), "train"),
        PLAIN,
    );
    parquet(
        &hub.join("blobs/5678"),
        &images(&at("files"), "test"),
        PLAIN,
    );
    let data = hub.join("snapshots/abc/data");
    std::fs::create_dir_all(&data).unwrap();
    std::fs::create_dir_all(hub.join("refs")).unwrap();
    let link = |blob: &str, name: &str| {
        #[cfg(unix)]
        std::os::unix::fs::symlink(format!("../../../blobs/{blob}"), data.join(name)).unwrap();
        #[cfg(windows)]
        std::fs::copy(hub.join("blobs").join(blob), data.join(name)).unwrap();
    };
    link("1234", "train-00000-of-00001.parquet");
    link("5678", "validation-00000-of-00001.parquet");
    let s = opened(&hub, &[]);
    warned(&s, &["the hub's only snapshot is read"]);
    std::fs::create_dir_all(hub.join("snapshots/old")).unwrap();
    let e = try_open(&hub, &[]).unwrap_err();
    assert!(
        e.contains("2 snapshots, and refs/main names none of them"),
        "{e}"
    );
    std::fs::write(hub.join("refs/main"), "abc\n").unwrap();
    let s = opened(&hub, &[LAZY]);
    warned(&s, &["the hub's snapshot abc is read, that of refs/main"]);
    let plain = opened(&at("files"), &[]);
    alike(&plain.train, &s.train);
    alike(&plain.test, &s.test);
}

#[test]
fn what_cannot_be_read_or_may_be_several_things_is_refused_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    folder(&at("files"));
    let train = images(&at("files"), "train");
    shards(&at("files"), &at("shards"));
    let refused = |path: &str, words: &str| {
        let e = try_open(&at(path), &[]).unwrap_err();
        assert!(e.contains(words) && !e.contains('\n'), "{path}: {e}");
    };
    let packed = [0x1f, 0x8b, 8, 0];
    std::fs::write(at("a.tar.gz"), packed).unwrap();
    std::fs::write(at("b.tgz"), packed).unwrap();
    std::fs::write(at("c.tar"), packed).unwrap();
    std::fs::create_dir(at("gz")).unwrap();
    std::fs::write(at("gz/train-0.tar.gz"), packed).unwrap();
    for path in ["a.tar.gz", "b.tgz", "c.tar", "gz"] {
        refused(
            path,
            "decompress it (gunzip, unzstd, unxz) to a .tar, or unpack it",
        );
    }
    std::fs::write(at("d.tar"), "no tar").unwrap();
    refused("d.tar", "no tar file, or a damaged one");
    tar(&at("e.tar"), &[("a.md".into(), b"words".to_vec())]);
    refused("e.tar", "there is no image in the tar file");
    refused("absent.tar", "there is no such folder or file");
    refused(
        "shards/own-train-{000000..000003}.tar",
        "2 are not there, the first",
    );
    tar(&at("tests/val-0.tar"), &samples(&train, 0));
    refused(
        "tests",
        "files of `val` alone, and none of training images (train)",
    );
    parquet(&at("mixed/train.parquet"), &train, PLAIN);
    tar(&at("mixed/train.tar"), &samples(&train, 0));
    refused("mixed", "name the folder of one kind");
    std::fs::write(at("f.parquet"), "PAR1 is not all of it").unwrap();
    refused("f.parquet", "f.parquet: ");
    let whole = std::fs::read(at("mixed/train.parquet")).unwrap();
    std::fs::write(at("g.parquet"), &whole[..whole.len() - 40]).unwrap();
    refused("g.parquet", "g.parquet: ");
    // Images that lie there as files are read; the tar files beside them are said not to be used.
    std::fs::copy(at("shards/own-test-000000.tar"), at("files/copy.tar")).unwrap();
    let s = opened(&at("files"), &[]);
    assert_eq!(s.train.len(), 36);
    warned(&s, &["not used: 1 .tar in the folder itself"]);
    // A folder of several parts with a file of none.
    std::fs::copy(at("shards/own-test-000000.tar"), at("shards/more.tar")).unwrap();
    let s = opened(&at("shards"), &[]);
    assert_eq!(s.train.len(), 36);
    warned(&s, &["not used: 1 files whose names tell no part"]);
}

#[test]
fn a_survey_looks_into_shards() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    folder(&at("files"));
    shards(&at("files"), &at("shards"));
    parquet(
        &at("rows/train.parquet"),
        &images(&at("files"), "train"),
        PLAIN,
    );
    let of = |name: &str| survey(at(name).to_str().unwrap()).unwrap().unwrap();
    let plain = of("files");
    assert_eq!((plain.images, plain.labelled), (36, true));
    assert_eq!(of("shards"), plain);
    assert_eq!(of("shards/own-train-{000000..000001}.tar"), plain);
    let rows = of("rows");
    assert_eq!((rows.images, rows.labelled), (36, true));
    let Kind::Files { side, sampled } = rows.kind else {
        panic!("{rows:?}")
    };
    // Four row groups of five rows.
    assert!(
        (20..=24).contains(&side) && sampled == 20,
        "{side} {sampled}"
    );
}

/// Writes pixels, labels and names of every set in the folder `AMCL_SHARDS`, for `tests/interop/shards.py`.
#[test]
#[ignore = "for tests/interop/run, which has Python"]
fn pixels_for_python() {
    let root = PathBuf::from(std::env::var("AMCL_SHARDS").unwrap());
    let entries = std::fs::read_dir(&root).unwrap().map(|e| e.unwrap().path());
    for path in entries.filter(|p| p.is_dir() || p.extension().is_some_and(|e| e == "tar")) {
        let s = opened(&path, &[LAZY, "data.stored_size=64"]);
        let beside = |ending: &str| {
            root.join(format!(
                "{}.{ending}",
                path.file_name().unwrap().to_str().unwrap()
            ))
        };
        let mut about = serde_json::json!({"classes": s.classes, "warnings": s.warnings});
        for (part, d) in [("train", &s.train), ("test", &s.test)] {
            let pixels: Vec<u8> = (0..d.len())
                .flat_map(|i| d.image(i).unwrap().into_owned())
                .collect();
            std::fs::write(beside(&format!("{part}.bin")), pixels).unwrap();
            about[part] = serde_json::json!({"labels": d.labels, "names": d.names});
        }
        std::fs::write(beside("json"), about.to_string()).unwrap();
    }
}
