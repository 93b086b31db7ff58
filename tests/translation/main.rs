//! Every shader variant that the case table compiles, and those by cooperative matrices, through naga to all backends'
//! languages; and rules of their text that other compilers need.

mod files;
mod rules;
mod translate;

use amcl_wgpu::check::{self, Harness};
use amcl_wgpu::device::{Choice, Cooperative, Device, Limits, Options, shader};
use amcl_wgpu::ops::tiles::TILES;
use std::collections::{BTreeMap, BTreeSet};
use translate::{Needs, Translated, hlsl_of};

fn device(options: Options) -> std::sync::Arc<Device> {
    let name = std::env::var("AMCL_TEST_DEVICE").unwrap_or_else(|_| "llvmpipe".into());
    let choice: Choice = name
        .parse()
        .expect("AMCL_TEST_DEVICE is a device as --device takes it");
    Device::open(&choice, options)
        .unwrap_or_else(|e| panic!("this test needs a Vulkan adapter: {e}"))
}

/// Key and text of every variant: the kernels for CPU drivers, those for GPUs, and each of their tiles forced in turn
/// on all products and convolutions. Nothing is run: `tests/kernels` does that.
fn compiled() -> BTreeMap<String, String> {
    let mut variants = BTreeMap::new();
    let tiles = (0..TILES.len()).filter(|t| !TILES[*t].is_cooperative());
    let tiles = tiles.map(|t| (true, Some(t)));
    for (gpu_kernels, forced_tile) in [(false, None), (true, None)].into_iter().chain(tiles) {
        let device = device(Options {
            checked: true,
            gpu_kernels,
            forced_tile,
            ..Options::default()
        });
        let harness = Harness::Gpu(device.clone());
        for c in check::table() {
            if forced_tile.is_none() || c.is_tiled() {
                let compiled = harness.compile(&c);
                compiled.unwrap_or_else(|e| panic!("{} (tile {forced_tile:?}): {e}", c.title()));
            }
        }
        variants.extend(device.shader_variants());
    }
    assert!(!variants.is_empty());
    variants
}

/// Key and text of a variant without some of its defines, and with others.
fn other(key: &str, without: &[&str], with: &[(&'static str, &str)]) -> (String, String) {
    let mut words = key.split(' ');
    let mut key = words.next().unwrap().to_string();
    let name = key.split(':').next().unwrap();
    let mut defines: Vec<(&'static str, String)> = words
        .map(|w| w.split_once('=').unwrap())
        .filter(|(n, _)| !without.contains(n))
        .map(|(n, v)| (&*n.to_string().leak(), v.to_string()))
        .collect();
    defines.extend(with.iter().map(|(n, v)| (*n, v.to_string())));
    let file = format!("{}/shaders/{name}.wgsl", env!("CARGO_MANIFEST_DIR"));
    let source = std::fs::read_to_string(file).unwrap();
    let text = shader::preprocess(&source, &defines).unwrap();
    for (name, value) in &defines {
        key += &format!(" {name}={value}");
    }
    (key, text)
}

/// The variants whose threads share what they read, for subgroups of the other size.
fn by_other_subgroups(variants: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let shared = variants
        .iter()
        .filter(|(_, text)| text.contains("subgroupBroadcast"));
    let other = |(key, _): (&String, _)| match key.contains(" LANES_8=") {
        true => other(key, &["LANES_8"], &[]),
        false => other(key, &[], &[("LANES_8", "")]),
    };
    let out: BTreeMap<String, String> = shared.map(other).collect();
    // A hardware GPU has none of these kernels.
    let expected = device(Options::default()).limits.is_cpu;
    assert!(!expected || out.len() > 4, "{}", out.len());
    out
}

/// The tiled variants again, by each kind of cooperative matrix that suits their operands: no adapter that tests can
/// count on has them.
fn by_cooperative_matrices(variants: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let kinds = [(16, true), (8, true), (8, false)];
    let mut limits = Limits {
        cooperative: kinds.map(|(size, half)| Cooperative { size, half }).into(),
        ..Limits::of("nvidia").unwrap()
    };
    // What the tiles define between them is taken out of a variant, and put in as the tile has it.
    let of_tiles: BTreeSet<&str> = TILES
        .iter()
        .flat_map(|t| t.defines(&limits))
        .map(|(name, _)| name)
        .collect();
    let of_tiles: Vec<&str> = of_tiles.into_iter().collect();
    let mut out = BTreeMap::new();
    for (i, tile) in TILES.iter().enumerate().filter(|t| t.1.is_cooperative()) {
        // Every other one as with subgroups of up to 64.
        limits.subgroup = (32, 32 << (i % 2));
        let defines = tile.defines(&limits);
        let with: Vec<(&'static str, &str)> =
            defines.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let tiled = variants.keys().filter(|k| k.contains(" TILED="));
        let own = tiled.filter(|k| tile.suits(&limits, k.contains(" HALF=")));
        out.extend(own.map(|key| other(key, &of_tiles, &with)));
    }
    assert!(out.len() > 20, "{}", out.len());
    out
}

/// All variants: those of the table, and those that no adapter of the tests asks for.
fn all_variants() -> BTreeMap<String, String> {
    let mut all = compiled();
    let more = [by_cooperative_matrices(&all), by_other_subgroups(&all)];
    all.extend(more.into_iter().flatten());
    all
}

/// Text of a kernel's batch norm gradient as it stood before two aliases of one type had zeros with a value: naga
/// names both helpers alike.
fn with_zeros_of_two_aliases(source: &str) -> String {
    source.replace("X(0.0)", "X()").replace("E(0.0)", "E()")
}

fn spirv_val(key: &str, words: &[u32]) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytemuck::cast_slice(words)).unwrap();
    let out = std::process::Command::new("spirv-val")
        .args(["--target-env", "vulkan1.1"])
        .arg(file.path())
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{key}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
}

#[test]
fn zeros_of_two_aliases_collide_in_hlsl() {
    let translated = |zeros: &str| {
        let source = format!(
            "alias X = f32; alias E = f32; @group(0) @binding(0) var<storage, read_write> y: array<f32>;
            @compute @workgroup_size(1) fn main() {{ y[0] = select({zeros}, y[1] > 0.0); }}"
        );
        hlsl_of(&source, Needs::of(&source)).unwrap()
    };
    let found = rules::defined_twice(&translated("X(), E()"));
    assert_eq!(found, ["defined twice: ZeroValuefloat()"]);
    assert!(rules::defined_twice(&translated("X(0.0), E(0.0)")).is_empty());
}

/// The same in the kernel where it was found: DXC refuses the text that naga makes of it (`tests/portability/run dxc`).
#[test]
fn the_old_gradient_of_batch_norm_collides_in_hlsl() {
    let path = format!(
        "{}/shaders/batch_norm_grad.wgsl",
        env!("CARGO_MANIFEST_DIR")
    );
    let kernel = std::fs::read_to_string(path).unwrap();
    let flags: [(&[&'static str], _); 2] = [
        (&["APPLY", "RELU"], "ZeroValuefloat()"),
        (&["APPLY", "RELU", "VEC4"], "ZeroValuefloat4()"),
    ];
    for (flags, helper) in flags {
        let defines: Vec<_> = flags.iter().map(|d| (*d, String::new())).collect();
        let source = shader::preprocess(&kernel, &defines).unwrap();
        let faults = |source: &str| {
            let text = hlsl_of(source, Needs::of(source)).unwrap();
            rules::defined_twice(&text)
        };
        assert_eq!(faults(&source), [""; 0]);
        let old = faults(&with_zeros_of_two_aliases(&source));
        assert_eq!(old, [format!("defined twice: {helper}")]);
    }
}

#[test]
fn every_variant_translates_to_all_backends() {
    let validator = std::process::Command::new("spirv-val")
        .arg("--version")
        .output()
        .is_ok();
    if !validator {
        println!("spirv-val is not installed: SPIR-V is checked by naga alone");
    }
    for (key, source) in all_variants() {
        for rule in rules::WGSL {
            let faults = rule(&source);
            assert!(faults.is_empty(), "{key}: {}", faults.join("\n"));
        }
        let needs = Needs::of(&source);
        let all = Translated::of(&source, needs).unwrap_or_else(|e| panic!("{key}: {e}"));
        // The validator of common distributions does not know cooperative matrices.
        if validator && !needs.matrices {
            spirv_val(&key, &all.spirv);
        }
        let faults = all.hlsl.as_deref().map(rules::defined_twice);
        let faults = faults.unwrap_or_default();
        assert!(faults.is_empty(), "{key} HLSL: {}", faults.join("\n"));
    }
}
