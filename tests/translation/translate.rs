//! A variant's WGSL in the languages that drivers take, by naga: as wgpu's backends do it.

use naga::back::{glsl, hlsl, msl, spv};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};

/// What a text asks of the adapter beyond WebGPU's defaults.
#[derive(Clone, Copy)]
pub struct Needs {
    /// `f16`.
    pub half: bool,
    /// Subgroup operations, or cooperative matrices, which need them.
    pub subgroups: bool,
    /// Cooperative matrices.
    pub matrices: bool,
}

impl Needs {
    /// Of a text.
    pub fn of(source: &str) -> Self {
        let matrices = source.contains("enable wgpu_cooperative_matrix;");
        Self {
            half: source.contains("enable f16;"),
            subgroups: matrices || source.contains("subgroupBroadcast"),
            matrices,
        }
    }

    /// In a word, for lists.
    pub fn kind(self) -> &'static str {
        match self {
            Self { matrices: true, .. } => "cooperative",
            Self {
                subgroups: true, ..
            } => "subgroups",
            Self { half: true, .. } => "f16",
            _ => "plain",
        }
    }
}

/// A text in other languages. None: wgpu's backend for the language does not offer what the text needs.
pub struct Translated {
    /// Vulkan's.
    pub spirv: Vec<u32>,
    /// Metal's.
    pub msl: Option<String>,
    /// DirectX 12's.
    pub hlsl: Option<String>,
    /// OpenGL's.
    pub glsl: Option<String>,
}

fn parse(source: &str, needs: Needs) -> Result<(naga::Module, ModuleInfo), String> {
    let mut wanted = Capabilities::empty();
    wanted.set(Capabilities::SHADER_FLOAT16, needs.half);
    wanted.set(Capabilities::COOPERATIVE_MATRIX, needs.matrices);
    wanted.set(Capabilities::SUBGROUP, needs.subgroups);
    let module = naga::front::wgsl::parse_str(source).map_err(|e| e.emit_to_string(source))?;
    let mut validator = Validator::new(ValidationFlags::all(), wanted);
    let info = validator.validate(&module).map_err(|e| format!("{e:?}"))?;
    Ok((module, info))
}

/// A text in HLSL.
pub fn hlsl_of(source: &str, needs: Needs) -> Result<String, String> {
    let (module, info) = parse(source, needs)?;
    hlsl(&module, &info, needs)
}

fn hlsl(module: &naga::Module, info: &ModuleInfo, needs: Needs) -> Result<String, String> {
    let mut options = hlsl::Options {
        fake_missing_bindings: true,
        special_constants_binding: Some(hlsl::BindTarget {
            space: 7,
            register: 0,
            ..Default::default()
        }),
        ..Default::default()
    };
    if needs.subgroups {
        options.shader_model = hlsl::ShaderModel::V6_0;
    }
    if needs.half {
        options.shader_model = hlsl::ShaderModel::V6_2;
    }
    let mut text = String::new();
    hlsl::Writer::new(&mut text, &options, &hlsl::PipelineOptions::default())
        .write(module, info, None)
        .map_err(|e| format!("HLSL: {e}"))?;
    Ok(text)
}

fn msl(module: &naga::Module, info: &ModuleInfo) -> Result<String, String> {
    let options = msl::Options {
        fake_missing_bindings: true,
        lang_version: (2, 4),
        ..Default::default()
    };
    let written = msl::write_string(module, info, &options, &msl::PipelineOptions::default());
    Ok(written.map_err(|e| format!("MSL: {e}"))?.0)
}

fn spirv(module: &naga::Module, info: &ModuleInfo, needs: Needs) -> Result<Vec<u32>, String> {
    let options = spv::Options {
        lang_version: match (needs.matrices, needs.subgroups) {
            (true, _) => (1, 6),
            (_, true) => (1, 3),
            _ => (1, 1),
        },
        ..spv::Options::default()
    };
    spv::write_vec(module, info, &options, None).map_err(|e| format!("SPIR-V: {e}"))
}

/// All entry points, one behind the other.
fn glsl(module: &naga::Module, info: &ModuleInfo) -> Result<String, String> {
    let mut text = String::new();
    for entry in &module.entry_points {
        let options = glsl::Options {
            version: glsl::Version::Desktop(430),
            ..Default::default()
        };
        let pipeline = glsl::PipelineOptions {
            shader_stage: entry.stage,
            entry_point: entry.name.clone(),
            multiview: None,
        };
        let bounds = naga::proc::BoundsCheckPolicies::default();
        glsl::Writer::new(&mut text, module, info, &options, &pipeline, bounds)
            .and_then(|mut writer| writer.write())
            .map_err(|e| format!("GLSL: {e}"))?;
    }
    Ok(text)
}

impl Translated {
    /// A text in all languages that can say it.
    pub fn of(source: &str, needs: Needs) -> Result<Self, String> {
        let (module, info) = parse(source, needs)?;
        // Metal has 8x8 alone, DirectX 12 no cooperative matrices through wgpu, OpenGL neither these nor subgroups nor
        // f16.
        let metal = !source.contains("const COOP = 16u;");
        let gl = !needs.half && !needs.subgroups;
        Ok(Self {
            spirv: spirv(&module, &info, needs)?,
            msl: metal.then(|| msl(&module, &info)).transpose()?,
            hlsl: (!needs.matrices)
                .then(|| hlsl(&module, &info, needs))
                .transpose()?,
            glsl: gl.then(|| glsl(&module, &info)).transpose()?,
        })
    }
}
