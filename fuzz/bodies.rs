//! What each fuzz target does with any bytes; `tests/corpus.rs` does the same with the kept ones.
#![allow(dead_code, missing_docs, reason = "each target uses one of these")]

use amcl_wgpu::config::Config;
use amcl_wgpu::data::{Reading, Request, cifar, idx, stl10};
use amcl_wgpu::graph::state::Group;
use amcl_wgpu::graph::{States, TensorType};
use amcl_wgpu::methods::loss_file::LossFile;
use amcl_wgpu::nn::model::PARAMS;
use amcl_wgpu::run::checkpoint::read_latest;
use amcl_wgpu::run::weights;
use std::path::PathBuf;
use std::sync::OnceLock;

/// A folder of this process's own.
fn folder() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| tempfile::tempdir().unwrap().keep())
}

/// A CIFAR batch: the first byte chooses CIFAR-10 or CIFAR-100.
pub fn cifar(data: &[u8]) {
    let (ten, rest) = data
        .split_first()
        .map_or((true, data), |(b, r)| (b % 2 == 0, r));
    let train = if ten { "data_batch_1.bin" } else { "train.bin" };
    let test = if ten { "test_batch.bin" } else { "test.bin" };
    let names = [train.to_string(), test.to_string()];
    for n in &names {
        std::fs::write(folder().join(n), rest).unwrap();
    }
    if let Ok(s) = cifar::open(folder(), &names) {
        assert_eq!(s.train.len(), s.train.labels.len());
        let known = |l: &u32| (*l as usize) < s.classes.len();
        assert!(s.train.labels.iter().all(known));
    }
}

/// STL-10's labels and folds beside three images, or its images.
pub fn stl10(data: &[u8]) {
    const IMAGE: usize = 96 * 96 * 3;
    let (mode, rest) = data.split_first().map_or((0, data), |(b, r)| (*b, r));
    let (labels, folds) = rest.split_at(rest.len().min(3));
    let images = if mode % 4 == 0 {
        rest.to_vec()
    } else {
        vec![7; 3 * IMAGE]
    };
    std::fs::write(folder().join("train_X.bin"), images).unwrap();
    std::fs::write(folder().join("train_y.bin"), labels).unwrap();
    std::fs::write(folder().join("fold_indices.txt"), folds).unwrap();
    let names = ["train_X.bin".to_string(), "train_y.bin".to_string()];
    let r = Request {
        path: "",
        seed: 0,
        shapes: (0, 0),
        stored_size: 96,
        unlabeled: false,
        fold: Some(usize::from(mode / 16)),
        reading: Reading::default(),
        progress: &|_, _| (),
    };
    if let Ok(s) = stl10::open(&r, folder(), &names) {
        assert_eq!(s.train.len(), s.train.labels.len());
        assert!(s.train.labels.iter().all(|l| *l < 10));
    }
}

/// An IDX file of images and one of labels; the first byte says where one ends.
pub fn idx(data: &[u8]) {
    let (at, rest) = data
        .split_first()
        .map_or((0, data), |(b, r)| (usize::from(*b), r));
    let (labels, images) = rest.split_at(at.min(rest.len()));
    let names = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"].map(String::from);
    std::fs::write(folder().join(&names[0]), images).unwrap();
    std::fs::write(folder().join(&names[1]), labels).unwrap();
    if let Ok(s) = idx::open(folder(), &names) {
        assert!(s.train.len() == s.train.labels.len() && !s.train.is_empty());
        let known = |l: &u32| (*l as usize) < s.classes.len();
        assert!(s.train.labels.iter().all(known));
    }
}

/// A safetensors file: of weights, and of a loss with its inputs.
pub fn weights(data: &[u8]) {
    if let Ok(named) = weights::parse(data) {
        let whole = |w: &amcl_wgpu::nn::import::Weights| {
            w.shape.iter().product::<usize>() == w.values.len()
        };
        assert!(named.values().all(whole));
    }
    let _ = LossFile::parse(data);
}

/// A configuration, its first line an override: what is accepted must resolve to itself.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (over, text) = text.split_once('\n').unwrap_or(("", text));
    if let Ok(c) = Config::parse(text, &[over.to_string()]) {
        let _ = c.to_toml();
    }
    if let Ok(c) = Config::parse(text, &[]) {
        let again = Config::parse(&c.to_toml().unwrap(), &[]).unwrap();
        assert_eq!(format!("{c:?}"), format!("{again:?}"));
    }
}

/// A checkpoint of a small model.
pub fn checkpoint(data: &[u8]) {
    const CONTROL: Group = Group::saved("control");
    let mut states = States::new();
    states.add(PARAMS, "w", TensorType::f32([70]));
    states.add(CONTROL, "halt", TensorType::u32([1]));
    std::fs::write(folder().join("step-00000001.safetensors"), data).unwrap();
    if let Ok((groups, _)) = read_latest(folder(), &states, &[], |_| ()) {
        assert_eq!(groups.len(), 2);
    }
}
