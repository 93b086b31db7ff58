//! Tar shards and parquet files as data sets: the same labels, names, pixels and weights as those of a folder of the
//! same files; what is damaged or ambiguous is named.

use crate::common::images::{config, paint, warned};
use amcl_wgpu::data::survey::{Kind, survey};
use amcl_wgpu::data::{Dataset, Split};
use amcl_wgpu::device::Choice;
use amcl_wgpu::train::Trainer;
use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const CLASSES: [&str; 3] = ["ant", "bee", "cow"];

/// Twelve images of each of three classes to train on, four of each to test on.
fn folder(root: &Path) {
    for (class, name) in CLASSES.iter().enumerate() {
        for i in 0..16 {
            let part = if i < 12 { "train" } else { "test" };
            let level = |k: usize| ((class * 16 + i) * k % 256) as u8;
            let file = root.join(part).join(name).join(format!("{i:02}.png"));
            paint(&file, 20 + i as u32, 24, [level(5), level(11), level(23)]);
        }
    }
}

/// An image of that folder: its path in it, its class, its bytes.
struct Image {
    path: String,
    class: usize,
    bytes: Vec<u8>,
}

/// Images of a part, in their order.
fn images(root: &Path, part: &str) -> Vec<Image> {
    let mut out = Vec::new();
    for (class, name) in CLASSES.iter().enumerate() {
        let folder = root.join(part).join(name);
        let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        files.sort();
        out.extend(files.into_iter().map(|f| Image {
            path: format!("{part}/{name}/{}", f.file_name().unwrap().to_str().unwrap()),
            class,
            bytes: std::fs::read(f).unwrap(),
        }));
    }
    out
}

/// A tar file of these members.
fn tar(file: &Path, members: &[(String, Vec<u8>)]) {
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let mut out = tar::Builder::new(File::create(file).unwrap());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        out.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    out.finish().unwrap();
}

/// Members of WebDataset: an image and its class's number.
fn samples(images: &[Image], first: usize) -> Vec<(String, Vec<u8>)> {
    let two = |(i, image): (usize, &Image)| {
        let key = format!("{:06}", first + i);
        [
            (format!("{key}.png"), image.bytes.clone()),
            (
                format!("{key}.cls"),
                format!("{}\n", image.class).into_bytes(),
            ),
        ]
    };
    images.iter().enumerate().flat_map(two).collect()
}

/// Shards of the folder: two to train on, one to test on, and the names of the classes.
fn shards(root: &Path, out: &Path) {
    let train = images(root, "train");
    tar(&out.join("own-train-000000.tar"), &samples(&train[..20], 0));
    tar(
        &out.join("own-train-000001.tar"),
        &samples(&train[20..], 20),
    );
    tar(
        &out.join("own-test-000000.tar"),
        &samples(&images(root, "test"), 0),
    );
    std::fs::write(out.join("classes.txt"), CLASSES.join("\n")).unwrap();
}

/// How a parquet file is written.
#[derive(Clone, Copy)]
struct Written {
    /// Bytes of images, in a struct or alone.
    in_struct: bool,
    compression: Compression,
    /// Rows of a row group.
    rows: usize,
    /// Names of the classes stand in the metadata, and labels are numbers; else they are texts.
    numbers: bool,
}

const PLAIN: Written = Written {
    in_struct: true,
    compression: Compression::SNAPPY,
    rows: 5,
    numbers: true,
};

/// A parquet file of these images, as `datasets` writes them.
fn parquet(file: &Path, images: &[Image], how: Written) {
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let image = match how.in_struct {
        true => "optional group image { optional binary bytes; optional binary path (UTF8); }",
        false => "optional binary jpg;",
    };
    let label = match how.numbers {
        true => "optional int64 label;",
        false => "optional binary label (UTF8);",
    };
    let schema = parse_message_type(&format!("message schema {{ {image} {label} }}")).unwrap();
    let names = CLASSES.map(|c| format!("\"{c}\"")).join(", ");
    let label_type = format!(r#"{{"names": [{names}], "_type": "ClassLabel"}}"#);
    let types = format!(r#"{{"image": {{"_type": "Image"}}, "label": {label_type}}}"#);
    let features = format!(r#"{{"info": {{"features": {types}}}}}"#);
    let properties = WriterProperties::builder()
        .set_compression(how.compression)
        .set_key_value_metadata(
            how.numbers
                .then(|| vec![KeyValue::new("huggingface".into(), features)]),
        )
        .build();
    let out = File::create(file).unwrap();
    let mut out = SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties)).unwrap();
    for rows in images.chunks(how.rows) {
        let mut group = out.next_row_group().unwrap();
        let bytes =
            |column: Vec<Vec<u8>>| column.into_iter().map(ByteArray::from).collect::<Vec<_>>();
        let mut texts = vec![rows.iter().map(|i| i.bytes.clone()).collect::<Vec<_>>()];
        if how.in_struct {
            texts.push(rows.iter().map(|i| i.path.clone().into_bytes()).collect());
        }
        let levels = vec![if how.in_struct { 2 } else { 1 }; rows.len()];
        for text in texts {
            let mut c = group.next_column().unwrap().unwrap();
            c.typed::<ByteArrayType>()
                .write_batch(&bytes(text), Some(&levels), None)
                .unwrap();
            c.close().unwrap();
        }
        let mut c = group.next_column().unwrap().unwrap();
        let one = vec![1; rows.len()];
        if how.numbers {
            let all: Vec<i64> = rows.iter().map(|i| i.class as i64).collect();
            c.typed::<Int64Type>()
                .write_batch(&all, Some(&one), None)
                .unwrap();
        } else {
            let all = rows
                .iter()
                .map(|i| CLASSES[i.class].as_bytes().to_vec())
                .collect();
            c.typed::<ByteArrayType>()
                .write_batch(&bytes(all), Some(&one), None)
                .unwrap();
        }
        c.close().unwrap();
        group.close().unwrap();
    }
    out.close().unwrap();
}

fn try_open(data: &Path, set: &[&str]) -> Result<Split, String> {
    config(data, set)
        .open_data(&|_, _| ())
        .map_err(|e| e.to_string())
}

fn opened(data: &Path, set: &[&str]) -> Split {
    try_open(data, set).unwrap()
}

/// Hash of the weights after two epochs.
fn trained(data: &Path, set: &[&str]) -> Result<String, String> {
    let out = tempfile::tempdir().unwrap();
    let run = Trainer::new(config(data, set))
        .device(Choice::Cpu)
        .out(out.path().join("run"));
    run.run().map(|o| o.weights).map_err(|e| e.to_string())
}

const LAZY: &str = "data.memory_mib=0";
/// Batches of 8 of 36 images in row groups of 5: as many of one class lie together as chance seldom gives.
const FULL: &str = "data.shuffle=full";

/// The same labels and pixels, in the same order.
fn alike(a: &Dataset, b: &Dataset) {
    assert_eq!((a.len(), &a.labels), (b.len(), &b.labels));
    for i in 0..a.len() {
        assert_eq!(
            a.image(i).unwrap(),
            b.image(i).unwrap(),
            "{} {}",
            a.name(i),
            b.name(i)
        );
    }
}

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
fn a_tar_cut_in_a_member_is_used_as_far_as_it_goes() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("own.tar");
    folder(&dir.path().join("files"));
    let train = images(&dir.path().join("files"), "train");
    tar(&file, &samples(&train, 0));
    let whole = std::fs::read(&file).unwrap();
    let begin = whole.windows(10).position(|w| w == b"000030.png").unwrap();
    let cut = |at: usize| {
        std::fs::write(&file, &whole[..at]).unwrap();
        opened(&file, &[])
    };
    let s = cut(begin + 512 + 9);
    assert_eq!(s.train.len() + s.test.len(), 30);
    warned(
        &s,
        &["own.tar: it is cut short: of `000030.png`, its last member, 9 of "],
    );
    // In a header, behind an image whose label was to come.
    let s = cut(begin + 1024 + 100);
    assert_eq!(s.train.len() + s.test.len(), 30);
    warned(
        &s,
        &["own.tar: there is no member where one should be, at byte"],
    );
    warned(
        &s,
        &["left out: 1 image of train without a label (first: 000030.png)"],
    );
    // Not in a member: nothing is said of a tar without its end.
    let s = cut(begin);
    assert_eq!(
        (s.train.len() + s.test.len(), s.warnings.len()),
        (30, 0),
        "{:?}",
        s.warnings
    );
    // A header with a bit turned.
    let mut turned = whole.clone();
    turned[begin + 100] ^= 1;
    std::fs::write(&file, &turned).unwrap();
    warned(
        &opened(&file, &[]),
        &["there is no member where one should be, at byte"],
    );
    turned[0] ^= 1;
    std::fs::write(&file, &turned).unwrap();
    let e = try_open(&file, &[]).unwrap_err();
    assert!(e.contains("no tar file, or a damaged one"), "{e}");
}

/// A member as old programs write it: no magic, a name of up to 100 bytes; with one, a prefix of up to 155 more.
fn by_hand(prefix: &str, name: &str, kind: u8, bytes: &[u8]) -> Vec<u8> {
    let mut h = [0u8; 512];
    h[..name.len()].copy_from_slice(name.as_bytes());
    let number = |h: &mut [u8; 512], at: usize, n: usize, width: usize| {
        h[at..at + width].copy_from_slice(format!("{n:0width$o}").as_bytes());
    };
    number(&mut h, 100, 0o644, 7);
    number(&mut h, 124, bytes.len(), 11);
    h[156] = kind;
    if !prefix.is_empty() {
        h[257..265].copy_from_slice(b"ustar\x0000");
        h[345..345 + prefix.len()].copy_from_slice(prefix.as_bytes());
    }
    h[148..156].fill(b' ');
    let sum = h.iter().map(|b| usize::from(*b)).sum();
    number(&mut h, 148, sum, 6);
    let mut out = [&h[..], bytes].concat();
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

#[test]
fn old_headers_long_names_pax_and_links_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("own.tar");
    paint(&dir.path().join("a.png"), 4, 4, [9, 8, 7]);
    let image = std::fs::read(dir.path().join("a.png")).unwrap();
    let long = format!("ant/{}.png", "l".repeat(180));
    let pax = |key: &str, value: &str| {
        // The length counts its own digits.
        let rest = format!(" {key}={value}\n");
        let length = (rest.len()..)
            .find(|n| n.to_string().len() + rest.len() == *n)
            .unwrap();
        format!("{length}{rest}")
    };
    let unicode = "bee/ж.png";
    let members = [
        by_hand("", "ant/old.png", 0, &image),
        by_hand("bee", "prefix.png", b'0', &image),
        by_hand("", "././@LongLink", b'L', format!("{long}\0").as_bytes()),
        by_hand("x", "cut-name", b'0', &image),
        by_hand("x", "pax", b'x', pax("path", unicode).as_bytes()),
        by_hand("x", "other", b'0', &image),
        by_hand("", "bee", b'5', &[]),
        by_hand("", "bee/._prefix.png", b'0', b"what macOS adds"),
        by_hand("", "bee/readme.md", b'0', b"words"),
        vec![0; 1024],
    ];
    // The GNU header of a long name has its magic.
    let mut bytes = members.concat();
    let at = bytes
        .windows(13)
        .position(|w| w == b"././@LongLink")
        .unwrap();
    bytes[at + 257..at + 265].copy_from_slice(b"ustar  \0");
    bytes[at + 148..at + 156].fill(b' ');
    let sum: usize = bytes[at..at + 512].iter().map(|b| usize::from(*b)).sum();
    bytes[at + 148..at + 154].copy_from_slice(format!("{sum:06o}").as_bytes());
    std::fs::write(&file, &bytes).unwrap();
    let s = opened(&file, &[]);
    let mut names: Vec<String> = [&s.train, &s.test]
        .iter()
        .flat_map(|d| d.names.clone())
        .collect();
    names.sort();
    let mut want = [
        "ant/old.png".to_string(),
        "bee/prefix.png".into(),
        long,
        unicode.into(),
    ];
    want.sort();
    assert_eq!(names, want);
    warned(&s, &["not used: members that are no images: 1 .md"]);

    // A hard link is its target once more; a symbolic link is counted.
    let mut out = tar::Builder::new(File::create(&file).unwrap());
    let mut header = tar::Header::new_ustar();
    header.set_size(image.len() as u64);
    header.set_mode(0o644);
    out.append_data(&mut header, "ant/a.png", &image[..])
        .unwrap();
    for (kind, name) in [
        (tar::EntryType::Link, "bee/b.png"),
        (tar::EntryType::Symlink, "bee/c.png"),
    ] {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_size(0);
        out.append_link(&mut header, name, "ant/a.png").unwrap();
    }
    out.finish().unwrap();
    drop(out);
    let s = opened(&file, &[]);
    assert_eq!(
        (s.train.len() + s.test.len(), &s.classes[..]),
        (2, &["ant".to_string(), "bee".into()][..])
    );
    warned(
        &s,
        &["own.tar: 1 links, which lead to no member are left out"],
    );
}

#[test]
fn tar_files_of_classes_and_tar_files_in_a_tar_file_are_read_as_imagenet_is_packed() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    folder(&at("files"));
    let train = images(&at("files"), "train");
    let synsets = ["n01440764", "n01443537", "n01484850"];
    let of = |class: usize| -> Vec<(String, Vec<u8>)> {
        let own = train.iter().filter(|i| i.class == class).enumerate();
        own.map(|(i, image)| (format!("{}_{i}.png", synsets[class]), image.bytes.clone()))
            .collect()
    };
    for (class, synset) in synsets.iter().enumerate() {
        tar(&at("D/train").join(format!("{synset}.tar")), &of(class));
    }
    let inner: Vec<_> = synsets
        .iter()
        .map(|s| {
            (
                format!("{s}.tar"),
                std::fs::read(at("D/train").join(format!("{s}.tar"))).unwrap(),
            )
        })
        .collect();
    tar(&at("ILSVRC2012_img_train.tar"), &inner);
    let plain = opened(&at("files/train"), &[]);
    for path in ["D", "ILSVRC2012_img_train.tar"] {
        for set in [&[][..], &[LAZY]] {
            let s = opened(&at(path), set);
            assert_eq!(s.classes, synsets, "{path}");
            let sorted = |d: &Dataset| {
                let mut all: Vec<_> = (0..d.len())
                    .map(|i| (d.labels[i], d.image(i).unwrap().into_owned()))
                    .collect();
                all.sort();
                all
            };
            // The names have other digits, and so another order.
            let both = |s: &Split| {
                [sorted(&s.train), sorted(&s.test)]
                    .concat()
                    .into_iter()
                    .collect::<std::collections::BTreeSet<_>>()
            };
            assert_eq!(both(&s), both(&plain), "{path}");
        }
    }
    warned(
        &opened(&at("D"), &[]),
        &["the tar files are named as classes are"],
    );
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
fn an_index_is_kept_beside_a_large_tar_file_and_is_made_anew_when_that_changes() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("many.tar");
    let kept = dir.path().join("many.tar.index");
    paint(&dir.path().join("a.png"), 2, 2, [9, 8, 7]);
    let image = std::fs::read(dir.path().join("a.png")).unwrap();
    let members = |n: usize| -> Vec<_> {
        (0..n)
            .map(|i| (format!("{}/{i}.png", i % 2), image.clone()))
            .collect()
    };
    let count = || {
        let s = opened(&file, &["data.stored_size=8"]);
        s.train.len() + s.test.len()
    };
    tar(&file, &members(1000));
    assert_eq!((count(), kept.exists()), (1000, false));
    tar(&file, &members(1100));
    assert_eq!((count(), kept.exists()), (1100, true));
    // It is read instead of the headers: an index of another tar file with this one's stamp is believed.
    let text = std::fs::read_to_string(&kept).unwrap();
    assert_eq!(count(), 1100);
    let (head, body) = text.split_once('\n').unwrap();
    let fewer = body.replacen("\"1/1.png\"", "\"1/one.png\"", 1);
    let stamp = head.rsplit_once(' ').unwrap().0;
    std::fs::write(
        &kept,
        format!("{stamp} {:08x}\n{fewer}", crc32c::crc32c(fewer.as_bytes())),
    )
    .unwrap();
    let names = |s: &Split| {
        [&s.train, &s.test]
            .iter()
            .any(|d| d.names.iter().any(|n| n == "1/one.png"))
    };
    assert!(names(&opened(&file, &[])));
    // With a sum that is wrong it is not, and it is written again.
    std::fs::write(&kept, format!("{head}\n{fewer}")).unwrap();
    assert!(!names(&opened(&file, &[])));
    assert_eq!(std::fs::read_to_string(&kept).unwrap(), text);
    tar(&file, &members(1200));
    assert_eq!(count(), 1200);
    // A file of another program stays as it is.
    std::fs::write(&kept, "other").unwrap();
    let s = opened(&file, &[]);
    warned(&s, &["the index of 1 tar files is made anew at each start"]);
    assert_eq!(std::fs::read_to_string(&kept).unwrap(), "other");
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
