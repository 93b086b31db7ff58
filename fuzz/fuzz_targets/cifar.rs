//! Any bytes as a CIFAR batch: the first byte chooses CIFAR-10 or CIFAR-100.
#![no_main]
use libfuzzer_sys::fuzz_target;
use std::path::PathBuf;
use std::sync::OnceLock;

fn folder() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| tempfile::tempdir_in("/dev/shm").unwrap().keep())
}

fuzz_target!(|data: &[u8]| {
    let (ten, rest) = data.split_first().map_or((true, data), |(b, r)| (b % 2 == 0, r));
    let names: Vec<String> = if ten { vec!["data_batch_1.bin".into(), "test_batch.bin".into()] } else { vec!["train.bin".into(), "test.bin".into()] };
    for n in &names {
        std::fs::write(folder().join(n), rest).unwrap();
    }
    if let Ok(s) = amcl_wgpu::data::cifar::open(folder(), &names) {
        assert_eq!(s.train.len(), s.train.labels.len());
        assert!(s.train.labels.iter().all(|l| (*l as usize) < s.classes.len()));
    }
});
