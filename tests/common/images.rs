//! What the tests of data share: image files, and how they are opened.

#![allow(dead_code, reason = "every test file uses a part")]

use amcl_wgpu::config::Config;
use amcl_wgpu::data::{DataError, Keeping, Reading, Request, Split, open};
use amcl_wgpu::device::Choice;
use amcl_wgpu::train::Trainer;
use image::{ImageFormat, Rgb, RgbImage};
use std::path::Path;

/// Opens a folder or list, its images brought to `size`.
pub fn try_open(path: &Path, size: usize) -> Result<Split, DataError> {
    open_as(path, size, Reading::default())
}

/// As [`try_open`], with a say in how files become pixels.
pub fn open_as(path: &Path, size: usize, reading: Reading) -> Result<Split, DataError> {
    open(&Request {
        unlabeled: false,
        fold: None,
        path: path.to_str().unwrap(),
        seed: 1,
        shapes: (0, 0),
        stored_size: size,
        reading,
        list: None,
        keeping: Keeping::default(),
        progress: &|_, _| (),
    })
}

/// Writes an image of one colour, in the format of its ending.
pub fn paint(path: &Path, w: u32, h: u32, colour: [u8; 3]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let format = ImageFormat::from_path(path).unwrap();
    RgbImage::from_pixel(w, h, Rgb(colour))
        .save_with_format(path, format)
        .unwrap();
}

/// The classes of [`folder`].
pub const CLASSES: [&str; 3] = ["ant", "bee", "cow"];
/// Images stay where they are.
pub const LAZY: &str = "data.memory_mib=0";

/// Twelve images of each of three classes to train on, four of each to test on.
pub fn folder(root: &Path) {
    for (class, name) in CLASSES.iter().enumerate() {
        for i in 0..16 {
            let part = if i < 12 { "train" } else { "test" };
            let level = |k: usize| ((class * 16 + i) * k % 256) as u8;
            let file = root.join(part).join(name).join(format!("{i:02}.png"));
            paint(&file, 20 + i as u32, 24, [level(5), level(11), level(23)]);
        }
    }
}

/// Waves and noise, JPEGs and PNGs of several sizes: `count` to train on in two classes, a fifth of that to test on.
pub fn photos(root: &Path, count: u32) {
    let mut state = 7u32;
    for i in 0..count + count / 5 {
        let part = if i < count { "train" } else { "test" };
        let kind = if i % 3 == 0 { "png" } else { "jpg" };
        let path = root.join(format!(
            "{part}/{}/{i:03}.{kind}",
            ["cat", "dog"][i as usize % 2]
        ));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let image = RgbImage::from_fn(100 + i % 70, 140 - i % 50, |x, y| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let wave = (f64::from(x) / 9.0 + f64::from(y * (i + 1)) / 31.0).sin();
            Rgb([60, 90, 120]
                .map(|base| (f64::from(base) + 50.0 * wave) as u8 + (state >> 29) as u8))
        });
        image.save(path).unwrap();
    }
}

/// Every one of `words` is in a warning.
pub fn warned(s: &Split, words: &[&str]) {
    for word in words {
        let said = s.warnings.iter().any(|w| w.contains(word));
        assert!(said, "`{word}` is not in {:?}", s.warnings);
    }
}

/// Opens the data of [`config`].
pub fn try_set(data: &Path, set: &[&str]) -> Result<Split, String> {
    let opened = config(data, set).open_data(&|_, _| ());
    opened.map_err(|e| e.to_string())
}

/// As [`try_set`], of what opens.
pub fn opened(data: &Path, set: &[&str]) -> Split {
    try_set(data, set).unwrap()
}

/// Hash of the weights that [`config`] ends with on the CPU.
pub fn trained(data: &Path, set: &[&str]) -> Result<String, String> {
    let out = tempfile::tempdir().unwrap();
    let run = Trainer::new(config(data, set)).device(Choice::Cpu);
    let run = run.out(out.path().join("run")).run();
    run.map(|o| o.weights).map_err(|e| e.to_string())
}

/// A run of seconds on these data: SimCLR with a small network at 16 px, two epochs.
pub fn config(data: &Path, set: &[&str]) -> Config {
    let own = [
        format!("data.path={}", toml::Value::from(data.to_str().unwrap())),
        "model.width=4".into(),
        "heads.hidden=8".into(),
        "heads.out=8".into(),
        "optim.batch_size=8".into(),
        "run.epochs=2".into(),
        "model.image_size=16".into(),
    ];
    let set: Vec<String> = own
        .into_iter()
        .chain(set.iter().map(ToString::to_string))
        .collect();
    Config::parse("", &set).unwrap()
}
