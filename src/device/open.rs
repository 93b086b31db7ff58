//! Opening a device: the features that it is asked for, its limits, its pipeline cache, the watch over its errors.

use super::adapter::{self, Cooperative};
use super::view::BINDING_ALIGN;
use super::{
    AdapterReport, Choice, Device, DeviceError, Health, Limits, Options, TileChoices, lock,
};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};

/// Features that are used where the adapter has them.
const WANTED: [wgpu::Features; 5] = [
    wgpu::Features::TIMESTAMP_QUERY,
    wgpu::Features::SUBGROUP,
    wgpu::Features::SHADER_F16,
    wgpu::Features::PIPELINE_CACHE,
    wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX,
];

impl Device {
    /// Opens the chosen adapter with all the limits it offers.
    ///
    /// # Errors
    /// [`DeviceError::NoAdapter`] or [`DeviceError::Open`], saying what to install or choose.
    pub fn open(choice: &Choice, options: Options) -> Result<Arc<Self>, DeviceError> {
        let (adapter, report) = adapter::find(choice)?;
        let (features, cooperative) = features(&adapter, &options);
        let (device, queue) = request(&adapter, features, !cooperative.is_empty(), &report)?;
        let health = watch(&device);
        let cache = options
            .pipeline_cache
            .as_deref()
            .filter(|_| features.contains(wgpu::Features::PIPELINE_CACHE))
            .and_then(|folder| pipeline_cache(&adapter, &device, folder));
        let tiles = TileChoices {
            all: options.forced_tile,
            ..TileChoices::default()
        };
        Ok(Arc::new(Self {
            limits: limits(&adapter, features, cooperative, &report, &options),
            device,
            queue,
            report,
            options,
            tiles: Mutex::new(tiles),
            tile_keys: Mutex::default(),
            pipelines: Mutex::new(HashMap::new()),
            cache,
            allocated: AtomicU64::new(0),
            mutated: AtomicBool::new(false),
            health,
        }))
    }
}

/// The features to ask for, and the cooperative matrices that kernels may use with them.
fn features(adapter: &wgpu::Adapter, options: &Options) -> (wgpu::Features, Vec<Cooperative>) {
    let offered = adapter.features();
    let mut features = wgpu::Features::empty();
    for f in WANTED.into_iter().filter(|f| offered.contains(*f)) {
        features |= f;
    }
    let unwanted = std::env::var_os("AMCL_NO_COOPERATIVE").is_some_and(|v| !v.is_empty());
    let cooperative = match options.no_cooperative || unwanted {
        true => Vec::new(),
        false => adapter::cooperative(adapter, &features),
    };
    if cooperative.is_empty() {
        features.remove(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX);
    }
    (features, cooperative)
}

/// Asks the driver for the device.
fn request(
    adapter: &wgpu::Adapter,
    features: wgpu::Features,
    cooperative: bool,
    report: &AdapterReport,
) -> Result<(wgpu::Device, wgpu::Queue), DeviceError> {
    let mut experimental = wgpu::ExperimentalFeatures::disabled();
    if cooperative {
        // SAFETY: the feature is experimental because wgpu's validation of it is incomplete. Only the kernels of
        // `tile_coop.wgsl` use it. Their accesses all lie within their workgroup arrays, and their results are compared
        // with the twin's before they are used (`check::self_test`).
        experimental = unsafe { wgpu::ExperimentalFeatures::enabled() };
    }
    let wanted = wgpu::DeviceDescriptor {
        label: Some("amcl-wgpu"),
        required_features: features,
        required_limits: adapter.limits(),
        experimental_features: experimental,
        // Tensors are pooled by the plan; large suballocation blocks would only waste memory.
        memory_hints: wgpu::MemoryHints::MemoryUsage,
        trace: wgpu::Trace::Off,
    };
    pollster::block_on(adapter.request_device(&wanted)).map_err(|e| DeviceError::Open {
        adapter: report.name.clone(),
        reason: e.to_string(),
    })
}

/// Keeps what the driver reports of the device: its loss, and errors of calls.
fn watch(device: &wgpu::Device) -> Arc<Mutex<Health>> {
    let health = Arc::new(Mutex::new(Health::default()));
    let h = health.clone();
    device.set_device_lost_callback(move |reason, message| {
        if reason != wgpu::DeviceLostReason::Destroyed {
            lock(&h).lost = Some(format!("{reason:?}: {message}"));
        }
    });
    let h = health.clone();
    device.on_uncaptured_error(Arc::new(move |e: wgpu::Error| {
        lock(&h).keep(&e);
    }));
    health
}

/// The driver's pipeline cache, with what an earlier program left in its file, and the file. None where the driver has
/// no key for one.
fn pipeline_cache(
    adapter: &wgpu::Adapter,
    device: &wgpu::Device,
    folder: &Path,
) -> Option<(wgpu::PipelineCache, PathBuf)> {
    let path = folder.join(wgpu::util::pipeline_cache_key(&adapter.get_info())?);
    let data = std::fs::read(&path).ok();
    // SAFETY: the data was written by this program under the driver's own key; with `fallback` the driver ignores data
    // that it does not recognise.
    let cache = unsafe {
        device.create_pipeline_cache(&wgpu::PipelineCacheDescriptor {
            label: Some("pipelines"),
            data: data.as_deref(),
            fallback: true,
        })
    };
    Some((cache, path))
}

/// Largest binding that kernels are given, bytes. Metal and some Vulkan drivers report more than 32 bits hold; shaders
/// count elements, and Metal's length of a buffer counts bytes, in 32 bits.
const MOST_BOUND: u64 = u32::MAX as u64;

/// The largest binding to use where the adapter reports `reported` bytes and buffers of at most `buffer` bytes, or
/// less where a test asks for less. A multiple of the strictest alignment, so that splits can use all of it.
fn binding(reported: u64, buffer: u64, pretended: Option<usize>) -> usize {
    let most = reported.min(buffer).min(MOST_BOUND);
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    pretended.unwrap_or(most).min(most) / BINDING_ALIGN * BINDING_ALIGN
}

/// What ops may rely on.
fn limits(
    adapter: &wgpu::Adapter,
    features: wgpu::Features,
    cooperative: Vec<Cooperative>,
    report: &AdapterReport,
    options: &Options,
) -> Limits {
    let limits = adapter.limits();
    let own = Limits {
        max_binding: binding(
            limits.max_storage_buffer_binding_size,
            limits.max_buffer_size,
            options.max_binding,
        ),
        max_buffer: limits.max_buffer_size,
        max_groups: limits.max_compute_workgroups_per_dimension,
        workgroup_memory: limits.max_compute_workgroup_storage_size,
        subgroups: features.contains(wgpu::Features::SUBGROUP),
        f16: features.contains(wgpu::Features::SHADER_F16),
        timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
        cooperative,
        faulty_tiles: options.without_tiles.clone(),
        subgroup: report.subgroup,
        is_cpu: report.kind == "cpu" && !options.gpu_kernels,
        modest_compiler: report.name.contains("SwiftShader"),
    };
    match &options.like {
        None => own,
        Some(like) => own.within(like),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{DeviceError, Health};
    use super::*;

    #[test]
    fn bindings_are_counted_in_32_bits() {
        const GIB: u64 = 1 << 30;
        // What Metal reports of a large machine; and a driver whose buffers are smaller than its bindings.
        assert_eq!(binding(96 * GIB, 96 * GIB, None), (1 << 32) - 256);
        assert_eq!(binding(4 * GIB, 2 * GIB, None), 2 << 30);
        assert_eq!(
            binding(u64::MAX, u64::MAX, Some(70_000)),
            70_000 / 256 * 256
        );
        // Below the limits nothing is changed, and a test cannot pretend to more than there is.
        assert_eq!(binding(128 << 20, GIB, None), 128 << 20);
        assert_eq!(binding(128 << 20, GIB, Some(GIB as usize)), 128 << 20);
    }

    fn out_of_memory() -> wgpu::Error {
        wgpu::Error::OutOfMemory {
            source: "no room".into(),
        }
    }

    #[test]
    fn running_out_of_memory_is_told_once_and_loss_always() {
        let mut h = Health::default();
        assert!(h.take("nothing").is_ok());
        h.keep(&out_of_memory());
        // What follows from it is not told in its place.
        h.keep(&wgpu::Error::Validation {
            source: "invalid".into(),
            description: "buffer is invalid".into(),
        });
        assert!(matches!(
            h.take("a step"),
            Err(DeviceError::OutOfMemory { .. })
        ));
        assert!(h.take("the next step").is_ok());
        // A later error is not taken for the one before it.
        h.keep(&wgpu::Error::Validation {
            source: "invalid".into(),
            description: "a binding is missing".into(),
        });
        assert!(matches!(
            h.take("a step"),
            Err(DeviceError::Validation { .. })
        ));
        h.lost = Some("unplugged".into());
        h.keep(&out_of_memory());
        for _ in 0..2 {
            assert!(matches!(h.take("a step"), Err(DeviceError::Lost { .. })));
        }
    }
}
