//! All variants as files, for compilers that are not ours: `tests/portability/run` reads them.

use super::translate::{Needs, Translated, hlsl_of};
use super::{all_variants, with_zeros_of_two_aliases};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Where to: `variants.json`, and beside it a folder a language whose files have a variant's number for a name.
fn folder() -> PathBuf {
    let folder = std::env::var_os("AMCL_TEXTS");
    folder
        .expect("AMCL_TEXTS names the folder to write to")
        .into()
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

#[test]
#[ignore = "writes files for other compilers: tests/portability/run calls it"]
fn variants_are_written_for_other_compilers() {
    let folder = folder();
    let mut list = Vec::new();
    let mut controls = Vec::new();
    for (number, (key, source)) in all_variants().into_iter().enumerate() {
        let needs = Needs::of(&source);
        let texts = Translated::of(&source, needs).unwrap_or_else(|e| panic!("{key}: {e}"));
        let at =
            |language: &str, ending: &str| folder.join(format!("{language}/{number}.{ending}"));
        write(&at("spirv", "spv"), bytemuck::cast_slice(&texts.spirv));
        let languages = [
            (&texts.msl, "msl", "metal"),
            (&texts.hlsl, "hlsl", "hlsl"),
            (&texts.glsl, "glsl", "glsl"),
        ];
        for (text, language, ending) in languages {
            if let Some(text) = text {
                write(&at(language, ending), text.as_bytes());
            }
        }
        let head = key.split(' ').next().unwrap();
        let entry = head.split(':').nth(1).unwrap().to_string();
        // The control of the HLSL compiler: what it has refused once it must refuse again.
        if head == "batch_norm_grad:apply" && needs.kind() == "plain" && key.contains(" RELU=") {
            let old = hlsl_of(&with_zeros_of_two_aliases(&source), needs).unwrap();
            write(
                &folder.join(format!("control/{number}.hlsl")),
                old.as_bytes(),
            );
            controls.push(number);
        }
        list.push(json!({
            "number": number, "key": key, "entry": entry, "kind": needs.kind(), "half": needs.half, "wgsl": source,
        }));
    }
    assert!(!controls.is_empty());
    let all = json!({ "variants": list, "controls": controls });
    write(&folder.join("variants.json"), all.to_string().as_bytes());
}
