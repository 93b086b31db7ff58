//! What an adapter allows, and what is taken of adapters that are not there.

use super::Cooperative;
use super::view::BINDING_ALIGN;
use crate::settings::did_you_mean;

/// Device limits that matter to ops.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest storage binding, bytes.
    pub max_binding: usize,
    /// Largest buffer, bytes.
    pub max_buffer: u64,
    /// Workgroups per dispatch dimension.
    pub max_groups: u32,
    /// Workgroup memory, bytes.
    pub workgroup_memory: u32,
    /// Subgroup operations usable.
    pub subgroups: bool,
    /// `f16` in shaders usable.
    pub f16: bool,
    /// GPU timestamps usable.
    pub timestamps: bool,
    /// Cooperative matrices that kernels may use.
    pub cooperative: Vec<Cooperative>,
    /// Tiles ([`crate::ops::tiles::TILES`]) that are not to be used: they failed their test.
    pub faulty_tiles: Vec<usize>,
    /// Threads of the smallest and of the largest subgroup.
    pub subgroup: (u32, u32),
    /// A CPU driver (lavapipe, SwiftShader): kernels that suit CPUs are preferred.
    pub is_cpu: bool,
    /// Its compiler takes gigabytes of memory for long kernels (SwiftShader's), so that short ones are preferred.
    pub modest_compiler: bool,
}

/// Adapters by name, for plans without one: what `Limits::of` knows.
const KNOWN: [&str; 5] = ["web", "intel", "apple", "amd", "nvidia"];

impl Limits {
    /// What these limits and others both allow. Kernels for CPU drivers are `other`'s choice.
    pub fn within(self, other: &Self) -> Self {
        let both = |c: &Cooperative| other.cooperative.contains(c);
        Self {
            max_binding: self.max_binding.min(other.max_binding),
            max_buffer: self.max_buffer.min(other.max_buffer),
            max_groups: self.max_groups.min(other.max_groups),
            workgroup_memory: self.workgroup_memory.min(other.workgroup_memory),
            subgroups: self.subgroups && other.subgroups,
            f16: self.f16 && other.f16,
            timestamps: self.timestamps && other.timestamps,
            cooperative: self.cooperative.into_iter().filter(both).collect(),
            faulty_tiles: self.faulty_tiles,
            subgroup: match self.subgroups && other.subgroups {
                true => self.subgroup,
                false => other.subgroup,
            },
            is_cpu: other.is_cpu,
            modest_compiler: self.modest_compiler,
        }
    }

    /// WebGPU's default limits (W3C, "WebGPU", 3.6.2), which every browser grants: no subgroups, no f16, no timestamps.
    pub fn web() -> Self {
        Self {
            max_binding: 128 << 20,
            max_buffer: 256 << 20,
            max_groups: 65_535,
            workgroup_memory: 16 << 10,
            subgroups: false,
            f16: false,
            timestamps: false,
            cooperative: Vec::new(),
            faulty_tiles: Vec::new(),
            subgroup: (4, 128),
            is_cpu: false,
            modest_compiler: false,
        }
    }

    /// What adapters of a maker are taken to offer where none is at hand: `web`, `intel`, `apple`, `amd`, `nvidia`. These
    /// are floors, so that what is planned by them fits; the adapter itself may offer more. Vulkan's bindings and
    /// buffers end at 2 GiB in wgpu (outside NVIDIA's driver buffers may be larger); Metal's at a share of the memory.
    ///
    /// # Errors
    /// Another name; the text lists those that there are.
    pub fn of(name: &str) -> Result<Self, String> {
        let halves = vec![Cooperative {
            size: 16,
            half: true,
        }];
        let large = Self {
            max_binding: (2 << 30) - BINDING_ALIGN,
            max_buffer: (2 << 30) - BINDING_ALIGN as u64,
            workgroup_memory: 32 << 10,
            subgroups: true,
            f16: true,
            timestamps: true,
            subgroup: (32, 32),
            ..Self::web()
        };
        Ok(match name {
            "web" => Self::web(),
            "intel" => Self {
                subgroup: (8, 32),
                ..large
            },
            "apple" => large,
            "amd" => Self {
                subgroup: (32, 64),
                ..large
            },
            "nvidia" => Self {
                workgroup_memory: 48 << 10,
                cooperative: halves,
                ..large
            },
            _ => {
                let known = did_you_mean(name, KNOWN.into_iter());
                return Err(format!("no limits are known by the name `{name}`; {known}"));
            }
        })
    }

    /// How many neighbouring threads (8 or 4) can share what they read by subgroup broadcasts
    /// (`shaders/lib/lanes.wgsl`). 0 on GPUs, whose kernels share through workgroup memory, and on CPU drivers with
    /// smaller subgroups.
    pub fn lanes(&self) -> u32 {
        match self.subgroup.0 {
            0..4 => 0,
            _ if !self.is_cpu || !self.subgroups => 0,
            4..8 => 4,
            _ => 8,
        }
    }

    /// Columns that a thread of a product or a convolution sums up where threads share what they read ([`lanes`]): 32,
    /// so that what is read of the other operand serves twice as many, where at most an eighth of them would be
    /// computed for nothing and 16 groups remain for the processors, else 16. `rows`: groups one below the other.
    ///
    /// [`lanes`]: Self::lanes
    pub fn shared_columns(&self, columns: usize, rows: usize) -> usize {
        let wide = columns.next_multiple_of(32);
        match self.lanes() == 8 && wide - columns <= columns / 8 && rows * wide / 32 >= 16 {
            true => 32,
            false => 16,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{KNOWN, Limits};

    #[test]
    fn names_are_known_and_no_maker_offers_less_than_the_web() {
        let web = Limits::web();
        for name in KNOWN {
            let l = Limits::of(name).unwrap();
            assert!(
                l.max_binding >= web.max_binding && l.max_buffer >= web.max_buffer,
                "{name}"
            );
            assert!(
                l.workgroup_memory >= web.workgroup_memory && !l.is_cpu,
                "{name}"
            );
        }
        let wrong = Limits::of("aple").unwrap_err();
        assert!(wrong.contains("did you mean apple"), "{wrong}");
    }
}
