//! Any text as a configuration: what is accepted must resolve to itself.
#![no_main]
use amcl_wgpu::train::config::Config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (over, text) = text.split_once('\n').unwrap_or(("", text));
    if let Ok(c) = Config::parse(text, &[over.to_string()]) {
        let _ = c.to_toml();
    }
    if let Ok(c) = Config::parse(text, &[]) {
        let again = Config::parse(&c.to_toml().unwrap(), &[]).unwrap();
        assert_eq!(format!("{c:?}"), format!("{again:?}"));
    }
});
