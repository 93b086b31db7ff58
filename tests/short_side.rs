//! Images of which all is kept, their shorter side brought to size (`data.stored = "short_side"`).

use crate::common::images::{LAZY, config, opened, paint, photos, trained, try_open, warned};
use amcl_wgpu::data::augment::Policy;
use amcl_wgpu::data::fingerprint::Fingerprint;
use amcl_wgpu::data::inspect::{channels, decode_all};
use amcl_wgpu::data::pack::{Packing, Records, pack as pack_set};
use amcl_wgpu::data::packed::pack;
use amcl_wgpu::data::{Dataset, Split};
use amcl_wgpu::graph::host::HostExecutor;
use amcl_wgpu::graph::{Executor, Graph, HostData, TensorType};
use amcl_wgpu::ops::augment::{Augment, words};
use amcl_wgpu::reference::augment::ROW;
use image::{Rgb, RgbImage};
use std::path::Path;
use std::sync::atomic::AtomicBool;

const SHORT: &str = "data.stored=short_side";
const SIDE: &str = "data.stored_size=48";
static NEVER: AtomicBool = AtomicBool::new(false);

fn weights(data: &Path, set: &[&str]) -> String {
    trained(data, set).unwrap()
}

/// Packs a set as these settings say.
fn packed(data: &Path, out: &Path, records: Records, set: &[&str]) {
    let config = config(data, set);
    let packing = Packing {
        data: config.data_request(&|_, _| ()),
        out,
        records,
        shuffle: Some(3),
        shard_mib: 1,
        stop: &NEVER,
    };
    assert!(pack_set(&packing).unwrap().finished);
}

/// Heights and widths of all images, wherever they are.
fn sides(d: &Dataset) -> Vec<(usize, usize)> {
    (0..d.len()).map(|i| d.picture(i).unwrap().1).collect()
}

fn same_images(a: &Split, b: &Split, what: &str) {
    for (a, b) in [(&a.train, &b.train), (&a.test, &b.test)] {
        assert_eq!((&a.names, &a.labels), (&b.names, &b.labels), "{what}");
        let all: Vec<u32> = (0..a.len() as u32).rev().collect();
        assert!(pack(a, &all).unwrap() == pack(b, &all).unwrap(), "{what}");
    }
}

#[test]
fn in_memory_read_later_and_packed_images_are_the_same_to_the_bit() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    photos(&at("data"), 30);
    packed(&at("data"), &at("raw"), Records::Raw, &[SHORT, SIDE]);
    packed(&at("data"), &at("jpeg"), Records::Jpeg90, &[SHORT, SIDE]);
    let whole = opened(&at("data"), &[SHORT, SIDE]);
    let own = sides(&whole.train);
    assert!(own.iter().all(|(h, w)| *h.min(w) == 48 && *h.max(w) <= 96));
    let wide = own.iter().filter(|(h, w)| w > h).count();
    assert!((5..25).contains(&wide), "lying and standing ones: {own:?}");
    for (name, set) in [
        ("data", &[SHORT, SIDE, LAZY][..]),
        ("raw", &[SHORT, SIDE]),
        // Its side is known.
        ("raw", &[SHORT, LAZY]),
    ] {
        let other = opened(&at(name), set);
        assert_eq!(other.train.resident(), !set.contains(&LAZY));
        same_images(&whole, &other, name);
        assert_eq!(Fingerprint::of(&whole).train, Fingerprint::of(&other).train);
        same_images(
            &whole,
            &Split {
                train: other.train.loaded().unwrap(),
                ..other
            },
            "loaded",
        );
    }
    // A part of them, and the means of their pixels, which the room around an image is not of.
    let few = whole.train.select(&[7, 2]);
    assert_eq!(few.picture(1).unwrap(), whole.train.picture(2).unwrap());
    let lazy = opened(&at("data"), &[SHORT, SIDE, LAZY]);
    let of = |s: &Split| channels(&s.train).unwrap().0;
    assert_eq!(of(&whole), of(&lazy));
    let c = config(&at("data"), &[SHORT, SIDE]);
    let found = decode_all(&c.data_request(&|_, _| ())).unwrap().unwrap();
    assert_eq!(found.channels, of(&whole));
    // JPEG records have sides of their own too, and pixels of their own, stable.
    let [a, b] = [&[SHORT][..], &[SHORT, LAZY]].map(|set| opened(&at("jpeg"), set));
    same_images(&a, &b, "jpeg");
    assert_eq!(sides(&a.train), own);
    assert_ne!(a.train.images, whole.train.images);

    let resident = weights(&at("data"), &[SHORT, SIDE]);
    assert_eq!(
        weights(&at("data"), &[SHORT, SIDE, "data.resident_mib=0"]),
        resident
    );
    for threads in ["data.threads=1", "data.threads=2", "data.threads=7"] {
        for name in ["data", "raw"] {
            let lazy = weights(&at(name), &[SHORT, SIDE, LAZY, threads]);
            assert_eq!(lazy, resident, "{name}, {threads}");
        }
    }
    // Gradient caching asks for parts of a batch, twice.
    let parts = "optim.micro_batches=2";
    let [a, b] = [&[SHORT, SIDE, parts][..], &[SHORT, SIDE, parts, LAZY]];
    assert_eq!(weights(&at("data"), a), weights(&at("data"), b));
    // The control: squares are other images.
    assert_ne!(weights(&at("data"), &[SIDE]), resident);
}

/// The pixels of all training views of an epoch, of the images of a set.
fn views(s: &Split, epoch: u32) -> Vec<f32> {
    let (d, size) = (&s.train, 16);
    let ids: Vec<u32> = (0..d.len() as u32).collect();
    let images = pack(d, &ids).unwrap();
    let policy = Policy {
        families: "a".into(),
        ..Policy::default()
    };
    let rows = policy.two_views(images.sides.as_slice(), &ids, size, 4, epoch);
    let mut g = Graph::new();
    let x = g.input(
        "images",
        TensorType::u32([d.len(), words(d.height, d.width)]),
    );
    let table = g.input("table", TensorType::f32([2 * d.len(), ROW]));
    let op = Augment {
        height: d.height,
        width: d.width,
        size,
        filter: policy.interpolation,
        blur: false,
        mean: [0.0; 3],
        std: [1.0; 3],
    };
    let y = g.push1(op, &[x, table]).unwrap();
    let given = [
        (x, HostData::U32(images.words)),
        (table, HostData::F32(rows)),
    ];
    let mut exec = HostExecutor::<f32>::new();
    exec.evaluate(&g, &given, &[y]).unwrap()[0].to_f32()
}

#[test]
fn crops_reach_what_a_square_cuts_off() {
    let dir = tempfile::tempdir().unwrap();
    // Red ends left and right, and above and below; the square in the middle is gray.
    for (name, w, h) in [("wide", 128, 64), ("tall", 64, 128)] {
        let image = RgbImage::from_fn(w, h, |x, y| {
            let along = if w > h { x } else { y };
            let gray = (32..96).contains(&along);
            Rgb(if gray { [128; 3] } else { [255, 0, 0] })
        });
        let path = dir.path().join(name);
        std::fs::create_dir(&path).unwrap();
        image.save(path.join("a.png")).unwrap();
        image.save(path.join("b.png")).unwrap();
    }
    let set = ["data.stored_size=64", "run.seed=1"];
    let square = opened(dir.path(), &set);
    let short = opened(dir.path(), &[&set[..], &[SHORT]].concat());
    assert_eq!(square.train.len(), 2);
    let red = |s: &Split| {
        let all = (0..20)
            .flat_map(|epoch| views(s, epoch))
            .collect::<Vec<f32>>();
        let pixels = all.chunks(3).filter(|p| p[0] - p[1] > 0.9).count();
        pixels as f64 / (all.len() / 3) as f64
    };
    assert_eq!(red(&square), 0.0);
    // Half of such an image is red, and crops, which lie anywhere in it, see less of its ends than of its middle.
    let share = red(&short);
    assert!((0.1..0.6).contains(&share), "{share}");
}

#[test]
fn of_an_image_that_is_very_long_the_middle_is_kept_and_that_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let band = |x: u32| Rgb([(x / 20 * 20) as u8; 3]);
    std::fs::create_dir_all(dir.path().join("a")).unwrap();
    let long = RgbImage::from_fn(200, 10, |x, _| band(x));
    long.save(dir.path().join("a/long.png")).unwrap();
    let tall = RgbImage::from_fn(10, 200, |_, y| band(y));
    tall.save(dir.path().join("a/tall.png")).unwrap();
    paint(&dir.path().join("a/plain.png"), 30, 20, [7; 3]);
    let s = opened(dir.path(), &["data.stored_size=10", SHORT, "run.seed=2"]);
    let found = |name: &str| {
        let parts = [&s.train, &s.test];
        let at = |d: &&Dataset| d.names.iter().position(|n| n.contains(name));
        let d = parts.into_iter().find(|d| at(d).is_some()).unwrap();
        let (pixels, side) = d.picture(at(&d).unwrap()).unwrap();
        (pixels.into_owned(), side)
    };
    // Columns 90 to 109: ten of the band of 80, ten of that of 100.
    let row: Vec<u8> = [[80; 30], [100; 30]].concat();
    assert_eq!(found("long"), (row.repeat(10), (10, 20)));
    let column = [vec![80; 300], vec![100; 300]].concat();
    assert_eq!(found("tall"), (column, (20, 10)));
    assert_eq!(found("plain").1, (10, 15));
    warned(&s, &["2 of 3 images are more than twice as long as wide"]);
    // The control: of squares nothing is said.
    let s = try_open(dir.path(), 10).unwrap();
    assert!(
        !s.warnings.iter().any(|w| w.contains("twice")),
        "{:?}",
        s.warnings
    );
}

#[test]
fn what_is_not_kept_so_is_refused_and_squares_stay_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    photos(&at("data"), 10);
    packed(&at("data"), &at("short"), Records::Raw, &[SHORT, SIDE]);
    packed(&at("data"), &at("square"), Records::Raw, &[SIDE]);
    for (name, set, why) in [
        (
            "short",
            &[SIDE][..],
            "data.stored is \"short_side\", and \"square\" is asked for",
        ),
        (
            "square",
            &[SIDE, SHORT],
            "data.stored is \"square\", and \"short_side\" is asked for",
        ),
    ] {
        let e = config(&at(name), set).open_data(&|_, _| ()).unwrap_err();
        assert!(e.to_string().contains(why), "{e}");
    }
    // Programs that know squares alone refuse the files of the others, and read those of squares.
    for (name, version) in [("short", 2), ("square", 1)] {
        let shard = std::fs::read(at(name).join("shard-00000.pack")).unwrap();
        assert_eq!(shard[8..12], [version, 0, 0, 0]);
        let index = std::fs::read_to_string(at(name).join("pack.json")).unwrap();
        assert!(index.contains(&format!("\"version\": {version}")));
        assert_eq!(index.contains("\"stored\""), version == 2, "{index}");
    }
    let s = opened(Path::new("shapes"), &[SHORT, "data.shapes_train=20"]);
    warned(&s, &["changes nothing"]);
    assert_eq!(
        s.train.images,
        opened(Path::new("shapes"), &["data.shapes_train=20"])
            .train
            .images
    );
}
