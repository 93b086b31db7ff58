//! See `bodies::parquet`.
#![no_main]
#[path = "../bodies.rs"]
mod bodies;
// A panic inside the parquet library is caught and becomes an error; the fuzzer's hook would end the process before.
libfuzzer_sys::fuzz_target!(
    init: std::panic::set_hook(Box::new(|_| ())),
    |data: &[u8]| bodies::parquet(data)
);
