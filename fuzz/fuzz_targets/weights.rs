//! Any bytes as a safetensors file: of weights, and of a loss with its inputs.
#![no_main]
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(named) = amcl_wgpu::train::weights::parse(data) {
        assert!(named.values().all(|w| w.shape.iter().product::<usize>() == w.values.len()));
    }
    let _ = amcl_wgpu::methods::loss_file::LossFile::parse(data);
});
