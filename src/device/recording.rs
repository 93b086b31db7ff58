//! Kernels, and the recording of dispatches: data that needs no device. `device/replay.rs` runs it, and so does the
//! player of an exported page.

pub use super::view::{BINDING_ALIGN, BufferId, View, row_chunks, row_chunks_of};
use super::{Device, DeviceError, Limits, shader};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// A shader variant and its entry point.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// File name without ending. No two kernels of a device share one.
    pub name: &'static str,
    /// WGSL text before preprocessing.
    pub source: &'static str,
    /// Entry point.
    pub entry: &'static str,
    /// Flags and constants.
    pub defines: Vec<(&'static str, String)>,
}

impl Kernel {
    /// A kernel without defines, of a text that need not be a file of this crate. Buffers stand at group 0 in the order
    /// of [`Recorder::dispatch`], the parameters at group 1, binding 0.
    ///
    /// The text may `#import` the files of `shaders/lib`: `grid` has `group_index`, which numbers the workgroups.
    /// It is compiled without bounds checks, so it has to guard its indices itself.
    pub fn new(name: &'static str, source: &'static str, entry: &'static str) -> Self {
        Self {
            name,
            source,
            entry,
            defines: Vec::new(),
        }
    }

    /// Adds a constant, or a flag when `value` is empty.
    #[must_use]
    pub fn define(mut self, name: &'static str, value: impl ToString) -> Self {
        self.defines.push((name, value.to_string()));
        self
    }

    /// Adds a flag when `on`.
    #[must_use]
    pub fn flag(self, name: &'static str, on: bool) -> Self {
        if on { self.define(name, "") } else { self }
    }

    pub(crate) fn key(&self) -> String {
        let mut s = format!("{}:{}", self.name, self.entry);
        for (n, v) in &self.defines {
            s.push_str(&format!(" {n}={v}"));
        }
        s
    }
}

/// `kernel!("conv2d", "main")`: the kernel of `shaders/conv2d.wgsl`, below the package that the call stands in.
#[macro_export]
macro_rules! kernel {
    ($name:literal, $entry:literal) => {
        $crate::device::recording::Kernel::new(
            $name,
            include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/shaders/",
                $name,
                ".wgsl"
            )),
            $entry,
        )
    };
}

/// Workgroups as (x, y), folded when there are more than one dimension holds; x*y >= groups.
pub fn fold_grid(groups: usize, max: u32) -> (u32, u32) {
    let max = max as usize;
    if groups <= max {
        return (groups as u32, 1);
    }
    let y = groups.div_ceil(max);
    (groups.div_ceil(y) as u32, y as u32)
}

/// The text of a kernel variant, complete: WGSL that is compiled as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shader {
    /// Kernel, entry point and defines: no two shaders of a recording share one.
    pub key: String,
    /// The kernel's name ([`Kernel::name`]).
    pub name: String,
    /// Entry point.
    pub entry: String,
    /// The text after preprocessing.
    pub wgsl: String,
    /// It reads the step block (group 1, binding 1).
    pub step: bool,
}

impl Shader {
    /// Preprocesses a kernel.
    ///
    /// # Errors
    /// [`DeviceError::Shader`]: an unknown import or directive.
    pub(crate) fn new(kernel: &Kernel, key: String) -> Result<Self, DeviceError> {
        match shader::preprocess(kernel.source, &kernel.defines) {
            Ok(wgsl) => Ok(Self {
                key,
                name: kernel.name.to_string(),
                entry: kernel.entry.to_string(),
                step: uses_step(&wgsl),
                wgsl,
            }),
            Err(reason) => Err(DeviceError::Shader {
                kernel: key,
                reason,
            }),
        }
    }
}

/// A range of a buffer that a dispatch reads or writes: buffer, first byte, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding(pub BufferId, pub u64, pub u64);

/// One dispatch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dispatch {
    /// Number of its shader.
    pub shader: usize,
    /// Workgroups, x and y.
    pub grid: (u32, u32),
    /// Group 0, in order of binding.
    pub bind: Vec<Binding>,
    /// The words of its uniform block (group 1, binding 0).
    pub params: Vec<u32>,
    /// Op and place in the model.
    pub label: String,
}

/// Dispatches in their order, with the texts that they run: all that a device needs beside the buffers and the step
/// block.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recording {
    /// Each once, in the order of their first use.
    pub shaders: Vec<Shader>,
    /// In the order in which they run.
    pub dispatches: Vec<Dispatch>,
}

impl Recording {
    /// Nothing recorded.
    pub fn is_empty(&self) -> bool {
        self.dispatches.is_empty()
    }
}

/// Collects the dispatches of a plan.
pub struct Recorder<'a> {
    limits: &'a Limits,
    /// Has tiles of its own, and remembers which were asked for.
    device: Option<&'a Device>,
    recording: Recording,
    /// The kernels' texts before preprocessing, and their numbers, by key.
    known: HashMap<String, (&'static str, usize)>,
    label: String,
}

impl<'a> Recorder<'a> {
    /// An empty recorder, for a device.
    pub fn new(device: &'a Device) -> Self {
        Self {
            device: Some(device),
            ..Self::without_device(&device.limits)
        }
    }

    /// An empty recorder for a device that is not there: what the adapter allows is all that is known of it.
    pub fn without_device(limits: &'a Limits) -> Self {
        Self {
            limits,
            device: None,
            recording: Recording::default(),
            known: HashMap::new(),
            label: String::new(),
        }
    }

    /// Names the dispatches that follow (op and place in the model).
    pub fn set_label(&mut self, label: String) {
        self.label = label;
    }

    /// What the device allows.
    pub fn limits(&self) -> &Limits {
        self.limits
    }

    /// The tile that the device's choices name for the kernel and shape `key`; none: the table in `ops::tiles` decides.
    pub fn tile_for(&self, key: &str) -> Option<usize> {
        self.device.and_then(|d| d.tile_for(key))
    }

    /// Records one dispatch of `groups` workgroups: `buffers` at group 0 in order, `params` (whole words) as the uniform
    /// at group 1, binding 0.
    ///
    /// # Errors
    /// [`DeviceError::Binding`] when a view exceeds the adapter's binding limit; a shader that does not preprocess.
    pub fn dispatch<P: bytemuck::Pod>(
        &mut self,
        kernel: &Kernel,
        params: &P,
        buffers: &[&View],
        groups: usize,
    ) -> Result<(), DeviceError> {
        if groups == 0 {
            return Ok(());
        }
        let mut bind = Vec::with_capacity(buffers.len());
        for v in buffers {
            if v.bytes() > self.limits.max_binding {
                return Err(DeviceError::Binding {
                    op: self.label.clone(),
                    bytes: v.bytes() as u64,
                    limit: self.limits.max_binding as u64,
                });
            }
            if v.offset % BINDING_ALIGN as u64 != 0 {
                return Err(DeviceError::Validation {
                    during: self.label.clone(),
                    reason: format!(
                        "a view of shape {:?} starts at byte {}, not a multiple of 256",
                        v.dims, v.offset
                    ),
                });
            }
            bind.push(Binding(v.buffer, v.offset, v.bytes() as u64));
        }
        let dispatch = Dispatch {
            shader: self.shader(kernel)?,
            grid: fold_grid(groups, self.limits.max_groups),
            bind,
            params: bytemuck::pod_collect_to_vec(bytemuck::bytes_of(params)),
            label: self.label.clone(),
        };
        self.recording.dispatches.push(dispatch);
        Ok(())
    }

    /// The number of a kernel's shader, which is made at its first use.
    fn shader(&mut self, kernel: &Kernel) -> Result<usize, DeviceError> {
        let key = kernel.key();
        if let Some((text, at)) = self.known.get(&key) {
            return match *text == kernel.source {
                true => Ok(*at),
                false => Err(DeviceError::name_taken(key)),
            };
        }
        let at = self.recording.shaders.len();
        self.recording
            .shaders
            .push(Shader::new(kernel, key.clone())?);
        self.known.insert(key, (kernel.source, at));
        Ok(at)
    }

    /// What was recorded.
    pub fn finish(self) -> Recording {
        self.recording
    }
}

/// Does a variant, after preprocessing, declare the step block (an entry point that imports it must use it)?
fn uses_step(wgsl: &str) -> bool {
    wgsl.contains("var<uniform> step:")
}

#[cfg(test)]
mod tests {
    use super::{fold_grid, row_chunks_of};
    use crate::device::Limits;

    fn limits(max_binding: usize) -> Limits {
        Limits {
            max_binding,
            max_buffer: u64::MAX,
            max_groups: 65535,
            workgroup_memory: 16384,
            subgroups: false,
            f16: false,
            timestamps: false,
            cooperative: Vec::new(),
            faulty_tiles: Vec::new(),
            subgroup: (32, 32),
            is_cpu: true,
            modest_compiler: false,
        }
    }

    #[test]
    fn grids_cover_all_groups_within_the_limit() {
        for n in [1, 65535, 65536, 65537, 1 << 20, 65535 * 65535] {
            let (x, y) = fold_grid(n, 65535);
            assert!(
                x <= 65535 && y <= 65535 && x as usize * y as usize >= n,
                "{n}: {x} {y}"
            );
            assert!(
                (x as usize * y as usize) < n + y as usize,
                "{n}: wasteful {x} {y}"
            );
        }
    }

    #[test]
    fn chunks_cover_fit_and_align() {
        for (rows, a, b, max) in [
            (10, 3, 64, 1024),
            (100, 5, 7, 4096),
            (7, 64, 64, 512),
            (5, 1, 1, 1 << 20),
        ] {
            let chunks = row_chunks_of(&[(&[rows, a], 4), (&[rows, b], 4)], &limits(max));
            assert_eq!(chunks.first().map(|c| c.start), Some(0));
            assert_eq!(chunks.last().map(|c| c.end), Some(rows));
            for w in chunks.windows(2) {
                assert_eq!(w[0].end, w[1].start);
            }
            for c in &chunks {
                for row in [a, b] {
                    assert_eq!(c.start * row * 4 % 256, 0, "{rows} {a} {b}: {c:?}");
                }
            }
        }
    }
}
