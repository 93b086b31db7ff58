//! What the tests of data share: image files, and how they are opened.

#![allow(dead_code, reason = "every test file uses a part")]

use amcl_wgpu::config::Config;
use amcl_wgpu::data::{DataError, Keeping, Reading, Request, Split, open};
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

/// Every one of `words` is in a warning.
pub fn warned(s: &Split, words: &[&str]) {
    for word in words {
        let said = s.warnings.iter().any(|w| w.contains(word));
        assert!(said, "`{word}` is not in {:?}", s.warnings);
    }
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
