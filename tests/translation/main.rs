//! Every shader variant that the case table compiles, and those by cooperative matrices, through naga to all backends'
//! languages; and rules of their text that other compilers need.

mod rules;

use amcl_wgpu::check::{self, Harness};
use amcl_wgpu::device::{Choice, Device, Options, shader};
use amcl_wgpu::ops::tiles::TILES;
use naga::back::{glsl, hlsl, msl, spv};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use std::collections::BTreeMap;

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
    let name = words.next().and_then(|w| w.split(':').next()).unwrap();
    let mut defines: Vec<(&'static str, String)> = words
        .map(|w| w.split_once('=').unwrap())
        .filter(|(n, _)| !without.contains(n))
        .map(|(n, v)| (&*n.to_string().leak(), v.to_string()))
        .collect();
    defines.extend(with.iter().map(|(n, v)| (*n, v.to_string())));
    let file = format!("{}/shaders/{name}.wgsl", env!("CARGO_MANIFEST_DIR"));
    let source = std::fs::read_to_string(file).unwrap();
    let text = shader::preprocess(&source, &defines).unwrap();
    (format!("{name} {defines:?}"), text)
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
    let mut out = BTreeMap::new();
    for key in variants.keys().filter(|k| k.contains(" TILED=")) {
        let half = key.contains(" HALF=");
        let kinds: &[&[(&str, &str)]] = match half {
            true => &[
                &[
                    ("COOP", "16u"),
                    ("COOP16", ""),
                    ("BLOCKS", "1u"),
                    ("ABREAST", "4u"),
                    ("DEPTH", "32u"),
                    ("TALL_BLOCK", ""),
                ],
                &[
                    ("COOP", "16u"),
                    ("COOP16", ""),
                    ("BLOCKS", "1u"),
                    ("ABREAST", "2u"),
                    ("DEPTH", "32u"),
                    ("TALL_BLOCK", ""),
                    ("WIDE_BLOCK", ""),
                    ("TWICE_A", ""),
                ],
                &[
                    ("COOP", "16u"),
                    ("COOP16", ""),
                    ("BLOCKS", "2u"),
                    ("ABREAST", "4u"),
                    ("DEPTH", "16u"),
                ],
                &[
                    ("COOP", "8u"),
                    ("BLOCKS", "2u"),
                    ("ABREAST", "4u"),
                    ("DEPTH", "32u"),
                    ("TALL_BLOCK", ""),
                ],
            ],
            false => &[&[
                ("COOP", "8u"),
                ("BLOCKS", "1u"),
                ("ABREAST", "4u"),
                ("DEPTH", "32u"),
                ("TALL_BLOCK", ""),
            ]],
        };
        for kind in kinds {
            out.extend([other(key, &["COLS", "WIDE_M", "WIDE_N"], kind)]);
        }
    }
    assert!(out.len() > 20, "{}", out.len());
    out
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

fn hlsl(
    module: &naga::Module,
    info: &naga::valid::ModuleInfo,
    half: bool,
    subgroups: bool,
) -> Result<String, hlsl::Error> {
    let mut dx = hlsl::Options {
        fake_missing_bindings: true,
        ..Default::default()
    };
    if subgroups {
        dx.shader_model = hlsl::ShaderModel::V6_0;
    }
    if half {
        dx.shader_model = hlsl::ShaderModel::V6_2;
    }
    dx.special_constants_binding = Some(hlsl::BindTarget {
        space: 7,
        register: 0,
        ..Default::default()
    });
    let mut text = String::new();
    hlsl::Writer::new(&mut text, &dx, &hlsl::PipelineOptions::default())
        .write(module, info, None)?;
    Ok(text)
}

#[test]
fn zeros_of_two_aliases_collide_in_hlsl() {
    let translated = |zeros: &str| {
        let source = format!(
            "alias X = f32; alias E = f32; @group(0) @binding(0) var<storage, read_write> y: array<f32>;
            @compute @workgroup_size(1) fn main() {{ y[0] = select({zeros}, y[1] > 0.0); }}"
        );
        let module = naga::front::wgsl::parse_str(&source).unwrap();
        let info = Validator::new(ValidationFlags::all(), Capabilities::empty())
            .validate(&module)
            .unwrap();
        hlsl(&module, &info, false, false).unwrap()
    };
    let found = rules::defined_twice(&translated("X(), E()"));
    assert_eq!(found, ["defined twice: ZeroValuefloat()"]);
    assert!(rules::defined_twice(&translated("X(0.0), E(0.0)")).is_empty());
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
    let registers = compiled();
    let cooperative = by_cooperative_matrices(&registers);
    let lanes = by_other_subgroups(&registers);
    for (key, source) in registers.iter().chain(&cooperative).chain(&lanes) {
        for rule in rules::WGSL {
            let faults = rule(source);
            assert!(faults.is_empty(), "{key}: {}", faults.join("\n"));
        }
        let half = source.contains("enable f16;");
        let matrices = source.contains("enable wgpu_cooperative_matrix;");
        let subgroups = matrices || source.contains("subgroupBroadcast");
        let mut needs = Capabilities::empty();
        needs.set(Capabilities::SHADER_FLOAT16, half);
        needs.set(Capabilities::COOPERATIVE_MATRIX, matrices);
        needs.set(Capabilities::SUBGROUP, subgroups);
        let module = naga::front::wgsl::parse_str(source)
            .unwrap_or_else(|e| panic!("{key}: {}", e.emit_to_string(source)));
        let info = Validator::new(ValidationFlags::all(), needs)
            .validate(&module)
            .unwrap_or_else(|e| panic!("{key}: {e:?}"));
        let version = spv::Options {
            lang_version: match (matrices, subgroups) {
                (true, _) => (1, 6),
                (_, true) => (1, 3),
                _ => (1, 1),
            },
            ..spv::Options::default()
        };
        let words = spv::write_vec(&module, &info, &version, None)
            .unwrap_or_else(|e| panic!("{key} SPIR-V: {e}"));
        // The validator of common distributions does not know cooperative matrices.
        if validator && !matrices {
            spirv_val(key, &words);
        }
        let mut metal = msl::Options {
            fake_missing_bindings: true,
            ..Default::default()
        };
        metal.lang_version = (2, 4);
        // Metal has 8x8 alone.
        if !source.contains("const COOP = 16u;") {
            msl::write_string(&module, &info, &metal, &msl::PipelineOptions::default())
                .unwrap_or_else(|e| panic!("{key} MSL: {e}"));
        }
        // DirectX 12 has no cooperative matrices through wgpu, OpenGL neither these nor subgroups nor f16.
        if !matrices {
            let text =
                hlsl(&module, &info, half, subgroups).unwrap_or_else(|e| panic!("{key} HLSL: {e}"));
            let faults = rules::defined_twice(&text);
            assert!(faults.is_empty(), "{key} HLSL: {}", faults.join("\n"));
        }
        for entry in module.entry_points.iter().filter(|_| !half && !subgroups) {
            let mut text = String::new();
            let options = glsl::Options {
                version: glsl::Version::Desktop(430),
                ..Default::default()
            };
            let pipeline = glsl::PipelineOptions {
                shader_stage: entry.stage,
                entry_point: entry.name.clone(),
                multiview: None,
            };
            glsl::Writer::new(
                &mut text,
                &module,
                &info,
                &options,
                &pipeline,
                naga::proc::BoundsCheckPolicies::default(),
            )
            .and_then(|mut w| w.write())
            .unwrap_or_else(|e| panic!("{key} GLSL: {e}"));
        }
    }
}
