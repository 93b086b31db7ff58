//! Listing adapters and choosing one.

use super::DeviceError;
use crate::settings::near;

/// What the user asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The first hardware GPU; none: the caller falls back to the CPU executor.
    Auto,
    /// The CPU executor: no adapter at all.
    Cpu,
    /// The first hardware GPU, or an error.
    Gpu,
    /// The n-th adapter of the list.
    Index(usize),
    /// The first adapter whose name or driver contains this text, ignoring case (software drivers too).
    Name(String),
}

/// As `--device` takes it.
impl std::fmt::Display for Choice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Gpu => f.write_str("gpu"),
            Self::Index(n) => write!(f, "gpu:{n}"),
            Self::Name(name) => write!(f, "{name:?}"),
        }
    }
}

impl std::str::FromStr for Choice {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        Ok(match s {
            "auto" => Self::Auto,
            "cpu" => Self::Cpu,
            "gpu" => Self::Gpu,
            "" => {
                return Err(
                    "a device is auto, cpu, gpu, gpu:N or part of an adapter's name".into(),
                );
            }
            _ => match s.strip_prefix("gpu:") {
                Some(n) => Self::Index(
                    n.parse()
                        .map_err(|_| format!("`{s}`: gpu:N needs a number, as `devices` lists"))?,
                ),
                None => Self::Name(s.to_string()),
            },
        })
    }
}

/// What is known of an adapter before it is opened.
#[derive(Clone, Debug, serde::Serialize)]
pub struct AdapterReport {
    /// Position in the list (`gpu:N`).
    pub index: usize,
    /// Name.
    pub name: String,
    /// `discrete`, `integrated`, `virtual`, `cpu` or `other`.
    pub kind: &'static str,
    /// `vulkan`, `metal`, `dx12`, `gl`.
    pub backend: String,
    /// Driver name and version.
    pub driver: String,
    /// Largest storage binding, bytes.
    pub max_binding: u64,
    /// Largest buffer, bytes.
    pub max_buffer: u64,
    /// Storage buffers that a shader can bind.
    pub storage_buffers: u32,
    /// Workgroup memory, bytes.
    pub workgroup_memory: u32,
    /// Threads of a workgroup.
    pub threads: u32,
    /// Workgroups in a dimension of a dispatch.
    pub groups: u32,
    /// Subgroup operations in shaders.
    pub subgroups: bool,
    /// Smallest and largest subgroup.
    pub subgroup: (u32, u32),
    /// Shader `f16`.
    pub f16: bool,
    /// Timestamps.
    pub timestamps: bool,
    /// Cooperative matrix shapes.
    pub cooperative: Vec<String>,
    /// Which of the portable limits it stays below, in words; none: the adapter is usable.
    pub lacks: Vec<String>,
    /// Meets the portable limits (8 storage buffers, 16 KiB workgroup memory, 256 invocations).
    pub usable: bool,
}

/// A product of cooperative matrices: size x size x size, of halves or of f32, sums in f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cooperative {
    /// 8 or 16.
    pub size: u32,
    /// Operands are f16.
    pub half: bool,
}

/// The products of cooperative matrices that the adapter offers and kernels can use, on a device that is opened with
/// these features.
pub(super) fn cooperative(adapter: &wgpu::Adapter, features: &wgpu::Features) -> Vec<Cooperative> {
    use wgpu::CooperativeScalarType::{F16, F32};
    let (f16, needed) = (
        features.contains(wgpu::Features::SHADER_F16),
        wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX | wgpu::Features::SUBGROUP,
    );
    // lavapipe (Mesa 26) offers 8x8 whatever the width of its vectors. With subgroups of another size than 8 it refuses
    // to open, or crashes while it compiles.
    let info = adapter.get_info();
    let unsound = info.device_type == wgpu::DeviceType::Cpu
        && (info.subgroup_min_size, info.subgroup_max_size) != (8, 8);
    let memory = adapter.limits().max_compute_workgroup_storage_size;
    if !features.contains(needed) || memory < 31 << 10 || unsound {
        return Vec::new();
    }
    adapter
        .cooperative_matrix_properties()
        .iter()
        .filter(|c| c.m_size == c.n_size && c.n_size == c.k_size && c.cr_type == F32)
        .filter(|c| c.ab_type == F16 && f16 || c.ab_type == F32 && c.m_size == 8)
        .filter(|c| matches!(c.m_size, 8 | 16))
        .map(|c| Cooperative {
            size: c.m_size,
            half: c.ab_type == F16,
        })
        .collect()
}

fn report(index: usize, adapter: &wgpu::Adapter) -> AdapterReport {
    let info = adapter.get_info();
    let limits = adapter.limits();
    let features = adapter.features();
    let lacks = lacks(&limits);
    AdapterReport {
        index,
        name: info.name.clone(),
        kind: match info.device_type {
            wgpu::DeviceType::DiscreteGpu => "discrete",
            wgpu::DeviceType::IntegratedGpu => "integrated",
            wgpu::DeviceType::VirtualGpu => "virtual",
            wgpu::DeviceType::Cpu => "cpu",
            wgpu::DeviceType::Other => "other",
        },
        backend: info.backend.to_string(),
        driver: format!("{} {}", info.driver, info.driver_info)
            .trim()
            .to_string(),
        max_binding: limits.max_storage_buffer_binding_size,
        max_buffer: limits.max_buffer_size,
        storage_buffers: limits.max_storage_buffers_per_shader_stage,
        workgroup_memory: limits.max_compute_workgroup_storage_size,
        threads: limits.max_compute_invocations_per_workgroup,
        groups: limits.max_compute_workgroups_per_dimension,
        subgroups: features.contains(wgpu::Features::SUBGROUP),
        subgroup: (info.subgroup_min_size, info.subgroup_max_size),
        f16: features.contains(wgpu::Features::SHADER_F16),
        timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
        cooperative: adapter
            .cooperative_matrix_properties()
            .iter()
            .map(|c| {
                format!(
                    "{}x{}x{} {:?}->{:?}",
                    c.m_size, c.n_size, c.k_size, c.ab_type, c.cr_type
                )
            })
            .collect(),
        usable: lacks.is_empty(),
        lacks,
    }
}

/// The limits that every kernel's portable variant relies on and these stay below, in words.
fn lacks(limits: &wgpu::Limits) -> Vec<String> {
    let all = |l: &wgpu::Limits| {
        [
            l.max_storage_buffers_per_shader_stage,
            l.max_compute_workgroup_storage_size,
            l.max_compute_invocations_per_workgroup,
            l.max_compute_workgroups_per_dimension,
        ]
    };
    let names = [
        "storage buffers a shader",
        "bytes of workgroup memory",
        "threads a workgroup",
        "workgroups a dimension",
    ];
    let (has, needed) = (all(limits), all(&wgpu::Limits::default()));
    let each = names.into_iter().zip(has.into_iter().zip(needed));
    each.filter(|(_, (has, needed))| has < needed)
        .map(|(name, (has, needed))| format!("{has} {name} ({needed} needed)"))
        .collect()
}

/// The environment variable that says which backends are asked for adapters: names of [`BACKENDS`] with commas between.
const VARIABLE: &str = "WGPU_BACKEND";

/// Backends by the names that the variable takes. GL is asked only when it is named: its limits are lower, it has
/// neither f16 nor subgroups, and what has it mostly has Vulkan too.
const BACKENDS: [(&str, wgpu::Backends); 4] = [
    ("vulkan", wgpu::Backends::VULKAN),
    ("metal", wgpu::Backends::METAL),
    ("dx12", wgpu::Backends::DX12),
    ("gl", wgpu::Backends::GL),
];

/// The backends that the variable's value names; all but GL where it is not set or empty.
fn backends(asked: &str) -> Result<wgpu::Backends, DeviceError> {
    if asked.trim().is_empty() {
        return Ok(wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12);
    }
    let mut out = wgpu::Backends::empty();
    for name in asked.split(',').map(|n| n.trim().to_lowercase()) {
        let known = BACKENDS.iter().find(|(n, _)| *n == name);
        let (_, backend) = known.ok_or_else(|| {
            let hint = near(&name, BACKENDS.iter().map(|b| b.0));
            DeviceError::Backend {
                name: name.clone(),
                hint: hint.map_or(String::new(), |n| format!(": did you mean {n}?")),
                known: BACKENDS.map(|b| b.0).join(", "),
            }
        })?;
        out |= *backend;
    }
    Ok(out)
}

/// What the environment asks for; empty where it asks for nothing.
fn asked() -> String {
    std::env::var_os(VARIABLE).map_or(String::new(), |v| v.to_string_lossy().into_owned())
}

fn adapters() -> Result<Vec<(wgpu::Adapter, AdapterReport)>, DeviceError> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = backends(&asked())?;
    descriptor.flags = wgpu::InstanceFlags::empty();
    let instance = wgpu::Instance::new(descriptor);
    let list = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    let numbered = list.into_iter().enumerate();
    Ok(numbered
        .map(|(i, a)| {
            let r = report(i, &a);
            (a, r)
        })
        .collect())
}

/// All adapters that the machine shows, of the backends that the environment variable `WGPU_BACKEND` names (`vulkan`,
/// `metal`, `dx12`, `gl`, with commas between); without it, of all but GL.
///
/// # Errors
/// [`DeviceError::Backend`]: the variable names a backend that does not exist.
pub fn list_adapters() -> Result<Vec<AdapterReport>, DeviceError> {
    Ok(adapters()?.into_iter().map(|(_, r)| r).collect())
}

/// What to say where there are no adapters at all.
pub fn none_found() -> String {
    match asked().as_str() {
        "" => "no Vulkan, Metal or DX12 adapter was found; install a GPU driver, or Mesa's software Vulkan \
               (Debian/Ubuntu: mesa-vulkan-drivers), or use --device cpu"
            .into(),
        asked => format!(
            "no adapter of the backends in {VARIABLE}={asked} was found; unset it to look for all but GL, or use \
             --device cpu"
        ),
    }
}

/// The adapters of a list, for an error's text.
fn described(list: &[(wgpu::Adapter, AdapterReport)]) -> String {
    if list.is_empty() {
        return none_found();
    }
    let names: Vec<String> = list
        .iter()
        .map(|(_, r)| format!("gpu:{} {} ({}, {})", r.index, r.name, r.kind, r.backend))
        .collect();
    format!("found: {}", names.join("; "))
}

/// Position in the list of the adapter for `choice`.
fn position(list: &[(wgpu::Adapter, AdapterReport)], choice: &Choice) -> Option<usize> {
    let reports = || list.iter().map(|a| &a.1);
    match choice {
        Choice::Auto | Choice::Gpu => {
            // Discrete before integrated before the rest, in the driver's order within a kind.
            let kinds = ["discrete", "integrated", "virtual", "other"];
            let rank = |r: &AdapterReport| kinds.iter().position(|k| *k == r.kind);
            let hardware = |r: &AdapterReport| r.kind != "cpu" && r.usable;
            let usable = reports().enumerate().filter(|(_, r)| hardware(r));
            usable.min_by_key(|(_, r)| rank(r)).map(|(i, _)| i)
        }
        Choice::Cpu => None,
        Choice::Index(n) => reports().position(|r| r.index == *n),
        Choice::Name(text) => {
            let text = text.to_lowercase();
            // `lavapipe` is the Vulkan driver whose device calls itself llvmpipe.
            let text = match text.as_str() {
                "lavapipe" => "llvmpipe",
                other => other,
            };
            reports().position(|r| {
                r.name.to_lowercase().contains(text) || r.driver.to_lowercase().contains(text)
            })
        }
    }
}

/// The adapter that `choice` names.
///
/// # Errors
/// [`DeviceError::NoAdapter`] with the adapters that there are; [`DeviceError::Backend`].
pub(super) fn find(choice: &Choice) -> Result<(wgpu::Adapter, AdapterReport), DeviceError> {
    let mut list = adapters()?;
    let Some(i) = position(&list, choice) else {
        let what = match choice {
            Choice::Auto | Choice::Gpu => "no hardware GPU".to_string(),
            Choice::Cpu => "the CPU executor has no adapter".to_string(),
            Choice::Index(n) => format!("no adapter gpu:{n}"),
            Choice::Name(t) => {
                let names = list.iter().flat_map(|(_, r)| r.name.split_whitespace());
                let words = names.chain(["auto", "cpu", "gpu", "lavapipe"]);
                let hint = near(t, words).map_or(String::new(), |n| format!("; did you mean {n}?"));
                format!("no adapter whose name contains `{t}`{hint}")
            }
        };
        let text = format!("{what}; {}", described(&list));
        return Err(DeviceError::NoAdapter(text));
    };
    let (adapter, report) = list.swap_remove(i);
    if !report.usable {
        return Err(DeviceError::NoAdapter(format!(
            "the adapter `{}` ({}) offers less than WebGPU's default limits: {}",
            report.name,
            report.backend,
            report.lacks.join(", ")
        )));
    }
    Ok((adapter, report))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_are_chosen_by_name_and_wrong_names_refused() {
        use wgpu::Backends as B;
        assert_eq!(backends("").unwrap(), B::VULKAN | B::METAL | B::DX12);
        assert_eq!(backends("gl").unwrap(), B::GL);
        assert_eq!(backends(" Vulkan, dx12 ").unwrap(), B::VULKAN | B::DX12);
        for (asked, name, hint) in [
            ("vulcan", "vulcan", "did you mean vulkan?"),
            ("vulkan,", "``", ""),
            ("gl,cuda", "cuda", ""),
        ] {
            let e = backends(asked).unwrap_err().to_string();
            let whole =
                e.contains(name) && e.contains(hint) && e.contains("vulkan, metal, dx12, gl");
            assert!(whole && e.contains("WGPU_BACKEND"), "{e}");
        }
    }

    #[test]
    fn what_an_adapter_lacks_is_named() {
        assert_eq!(lacks(&wgpu::Limits::default()), [""; 0]);
        // WebGL 2 has no compute shaders at all.
        let none = lacks(&wgpu::Limits::downlevel_webgl2_defaults());
        assert_eq!(none.len(), 4, "{none:?}");
        let few = wgpu::Limits {
            max_storage_buffers_per_shader_stage: 4,
            ..wgpu::Limits::default()
        };
        assert_eq!(lacks(&few), ["4 storage buffers a shader (8 needed)"]);
    }
}
