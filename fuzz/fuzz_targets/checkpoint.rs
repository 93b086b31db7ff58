//! Any bytes as a checkpoint of a small model.
#![no_main]
use amcl_wgpu::graph::{States, TensorType};
use amcl_wgpu::train::checkpoint::read_latest;
use libfuzzer_sys::fuzz_target;
use std::path::PathBuf;
use std::sync::OnceLock;

fn folder() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| tempfile::tempdir_in("/dev/shm").unwrap().keep())
}

fuzz_target!(|data: &[u8]| {
    let mut states = States::new();
    states.add("params", "w", TensorType::f32([70]));
    states.add("control", "halt", TensorType::u32([1]));
    std::fs::write(folder().join("step-00000001.safetensors"), data).unwrap();
    if let Ok((groups, _)) = read_latest(folder(), &states, &[], |_| ()) {
        assert_eq!(groups.len(), 2);
    }
});
