//! Any bytes as STL-10's labels and folds beside three images, and as images.
#![no_main]
use amcl_wgpu::data::{Request, stl10};
use libfuzzer_sys::fuzz_target;
use std::path::PathBuf;
use std::sync::OnceLock;

const IMAGE: usize = 96 * 96 * 3;

fn folder() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| tempfile::tempdir_in("/dev/shm").unwrap().keep())
}

fuzz_target!(|data: &[u8]| {
    let (mode, rest) = data.split_first().map_or((0, data), |(b, r)| (*b, r));
    let (labels, folds) = rest.split_at(rest.len().min(3));
    let images = if mode % 4 == 0 { rest.to_vec() } else { vec![7; 3 * IMAGE] };
    std::fs::write(folder().join("train_X.bin"), images).unwrap();
    std::fs::write(folder().join("train_y.bin"), labels).unwrap();
    std::fs::write(folder().join("fold_indices.txt"), folds).unwrap();
    let names = ["train_X.bin".to_string(), "train_y.bin".to_string()];
    let r = Request { path: "", seed: 0, shapes: (0, 0), stored_size: 96, unlabeled: false, fold: Some(usize::from(mode / 16)), progress: &|_, _| () };
    if let Ok(s) = stl10::open(&r, folder(), &names) {
        assert_eq!(s.train.len(), s.train.labels.len());
        assert!(s.train.labels.iter().all(|l| *l < 10));
    }
});
