//! Tar files of every kind: cut ones, old ones, tar files in tar files, large ones with an index.

use crate::common::images::{LAZY, folder, opened, paint, try_set as try_open, warned};
use crate::common::shards::{images, samples, tar};
use amcl_wgpu::data::{Dataset, Split};
use std::fs::File;

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
