//! Any bytes as an IDX file of images and one of labels.
#![no_main]
use libfuzzer_sys::fuzz_target;
use std::path::PathBuf;
use std::sync::OnceLock;

fn folder() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| tempfile::tempdir_in("/dev/shm").unwrap().keep())
}

fuzz_target!(|data: &[u8]| {
    let (at, rest) = data.split_first().map_or((0, data), |(b, r)| (usize::from(*b), r));
    let (labels, images) = rest.split_at(at.min(rest.len()));
    let names = ["train-images-idx3-ubyte".to_string(), "train-labels-idx1-ubyte".to_string()];
    std::fs::write(folder().join(&names[0]), images).unwrap();
    std::fs::write(folder().join(&names[1]), labels).unwrap();
    if let Ok(s) = amcl_wgpu::data::idx::open(folder(), &names) {
        assert!(s.train.labels.iter().all(|l| (*l as usize) < s.classes.len()));
    }
});
