//! The parsers on the fuzzers' seeds, on a part of the corpora that they grew, and on every case in which one failed
//! (`fuzz/seeds`). To fuzz on: `cargo +nightly fuzz run TARGET fuzz/corpus/TARGET fuzz/seeds/TARGET`.

#[path = "../fuzz/bodies.rs"]
mod bodies;

/// A parser's name and what is done with it.
type Target = (&'static str, fn(&[u8]));

#[test]
fn parsers_take_any_bytes() {
    let targets: &[Target] = &[
        ("cifar", bodies::cifar),
        ("stl10", bodies::stl10),
        ("idx", bodies::idx),
        ("weights", bodies::weights),
        ("config", bodies::config),
        ("checkpoint", bodies::checkpoint),
        ("header", bodies::header),
        ("list", bodies::list),
        ("experiment", bodies::experiment),
        ("metrics", bodies::metrics),
        ("tar_index", bodies::tar_index),
        ("parquet", bodies::parquet),
        ("packed", bodies::packed),
    ];
    for (name, body) in targets {
        let folder = format!("{}/fuzz/seeds/{name}", env!("CARGO_MANIFEST_DIR"));
        let mut count = 0;
        for e in std::fs::read_dir(&folder).unwrap() {
            let data = std::fs::read(e.unwrap().path()).unwrap();
            body(&data);
            // Cut short, and with a bit turned.
            body(&data[..data.len() / 2]);
            let mut turned = data.clone();
            if let Some(b) = turned.get_mut(data.len() / 3) {
                *b ^= 0x10;
            }
            body(&turned);
            count += 1;
        }
        assert!(count > 1, "{folder}: {count} seeds");
    }
}
