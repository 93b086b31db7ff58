//! The tiles of products and convolutions on GPUs (`shaders/lib/tile.wgsl`, `tile_coop.wgsl`): their shapes, and which
//! one suits a product.

use crate::device::recording::{Kernel, Recorder};
use crate::device::{Cooperative, Limits};

/// The block of a product that a workgroup computes: in registers, or by cooperative matrices.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tile {
    shape: Shape,
    pace: Pace,
    /// Multiply-adds a second of a full device, relative to the 128x128 tile by registers (1.0). It orders the tiles
    /// where none has been timed ([`Tile::select`]).
    ///
    /// 16x16 fragments: measured on an H200. All others are estimates. A thread with a block of a x b outputs reads a +
    /// b numbers of workgroup memory for a b multiply-adds (8x8: 0.25 each, 8x4: 0.375, 4x4: 0.5), and more reads are
    /// slower, though less than in proportion, since arithmetic hides a part of them.
    speed: f64,
}

/// How the next blocks come into workgroup memory.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Pace {
    /// They are fetched when these are multiplied: fewest registers.
    InTurn,
    /// They are fetched while these are multiplied.
    Ahead,
    /// As `Ahead`, into a second buffer: one barrier a block instead of two.
    TwoBuffers,
    /// As `Ahead`, with 64 values of k a block (fragments): half as many blocks, and barriers.
    Deep,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Shape {
    /// `cols` threads lie side by side, of 256. A thread computes 8 rows (`wide_m`) or 4, and 8 columns (`wide_n`) or
    /// 4.
    Registers {
        cols: usize,
        wide_m: bool,
        wide_n: bool,
    },
    /// 8 blocks of fragments of this kind, `abreast` of them side by side, each block `block` fragments high and wide.
    Fragments {
        kind: Cooperative,
        abreast: usize,
        block: (usize, usize),
    },
}

const fn registers(cols: usize, wide_m: bool, wide_n: bool, pace: Pace, speed: f64) -> Tile {
    let shape = Shape::Registers {
        cols,
        wide_m,
        wide_n,
    };
    Tile { shape, pace, speed }
}

const fn fragments(
    (size, half): (u32, bool),
    abreast: usize,
    block: (usize, usize),
    pace: Pace,
    speed: f64,
) -> Tile {
    let kind = Cooperative { size, half };
    let shape = Shape::Fragments {
        kind,
        abreast,
        block,
    };
    Tile { shape, pace, speed }
}

/// Fragments of 16x16 halves, of 8x8 halves, of 8x8 f32.
const HALVES_16: (u32, bool) = (16, true);
const HALVES_8: (u32, bool) = (8, true);
const SINGLES_8: (u32, bool) = (8, false);

/// All tiles, rows by columns. By registers: 128x128, 128x64, 64x128, 64x64, 128x32, the first three with prefetching
/// too, the first with two buffers as well. By cooperative matrices: 128x128, 64x128, 256x64 and 256x128 of 16x16
/// fragments of halves, the last two without prefetching too, 128x128 and 256x128 with two buffers, 128x128 with deep
/// blocks; 64x64 of 8x8 fragments of halves, and of f32, each with two buffers too, and 64x128 of halves with deep
/// blocks.
///
/// Those with two buffers and with deep blocks were timed nowhere yet: they have the speed of the same tile without.
pub const TILES: [Tile; 23] = [
    registers(16, true, true, Pace::InTurn, 1.0),
    registers(16, true, false, Pace::InTurn, 0.85),
    registers(16, false, true, Pace::InTurn, 0.85),
    registers(16, false, false, Pace::InTurn, 0.65),
    registers(8, false, false, Pace::InTurn, 0.65),
    registers(16, true, true, Pace::Ahead, 1.0),
    registers(16, true, false, Pace::Ahead, 0.85),
    registers(16, false, true, Pace::Ahead, 0.85),
    registers(16, true, true, Pace::TwoBuffers, 1.0),
    fragments(HALVES_16, 4, (4, 2), Pace::Ahead, 4.0),
    fragments(HALVES_16, 4, (2, 2), Pace::Ahead, 2.5),
    fragments(HALVES_16, 2, (4, 2), Pace::Ahead, 3.3),
    fragments(HALVES_16, 2, (4, 4), Pace::Ahead, 5.2),
    fragments(HALVES_16, 2, (4, 2), Pace::InTurn, 3.2),
    fragments(HALVES_16, 2, (4, 4), Pace::InTurn, 5.1),
    fragments(HALVES_16, 4, (4, 2), Pace::TwoBuffers, 4.0),
    fragments(HALVES_16, 2, (4, 4), Pace::TwoBuffers, 5.2),
    fragments(HALVES_16, 4, (4, 2), Pace::Deep, 4.0),
    fragments(HALVES_8, 4, (4, 2), Pace::Ahead, 1.5),
    fragments(SINGLES_8, 4, (4, 2), Pace::Ahead, 1.5),
    fragments(HALVES_8, 4, (4, 2), Pace::TwoBuffers, 1.5),
    fragments(SINGLES_8, 4, (4, 2), Pace::TwoBuffers, 1.5),
    fragments(HALVES_8, 4, (4, 4), Pace::Deep, 1.5),
];

/// Tiles that a device is assumed to compute at a time. WebGPU does not tell the number of an adapter's processors.
pub(super) const AT_A_TIME: usize = 128;

impl Tile {
    /// Rows.
    pub fn rows(&self) -> usize {
        match self.shape {
            Shape::Registers { cols, wide_m, .. } => 256 / cols * if wide_m { 8 } else { 4 },
            Shape::Fragments {
                kind,
                abreast,
                block,
                ..
            } => 8 / abreast * block.0 * kind.size as usize,
        }
    }

    /// Columns.
    pub fn columns(&self) -> usize {
        match self.shape {
            Shape::Registers { cols, wide_n, .. } => cols * if wide_n { 8 } else { 4 },
            Shape::Fragments {
                kind,
                abreast,
                block,
                ..
            } => abreast * block.1 * kind.size as usize,
        }
    }

    /// Made of cooperative matrices.
    pub fn is_cooperative(&self) -> bool {
        matches!(self.shape, Shape::Fragments { .. })
    }

    /// Blocks come into two buffers in turn.
    pub fn has_two_buffers(&self) -> bool {
        self.pace == Pace::TwoBuffers
    }

    /// Can a device run it on operands that lie in f16 (`half`) or f32?
    pub fn suits(&self, limits: &Limits, half: bool) -> bool {
        match self.shape {
            Shape::Registers { .. } => self.fits(self.depths()[0], limits),
            Shape::Fragments { kind, .. } => {
                let fits = self.fits(self.depths()[0], limits);
                let mut faulty = limits.faulty_tiles.iter().filter_map(|t| TILES.get(*t));
                let sound = faulty.all(|t| t != self);
                kind.half == half && fits && sound && limits.cooperative.contains(&kind)
            }
        }
    }

    /// Numbers of values of k that can be multiplied at a time: the least, and the one that is taken if it fits.
    fn depths(&self) -> [usize; 2] {
        match (self.shape, self.pace) {
            (Shape::Registers { .. }, _) => [16, 16],
            (_, Pace::Deep) => [64, 64],
            _ => [16, 32],
        }
    }

    fn fits(&self, depth: usize, limits: &Limits) -> bool {
        self.memory(depth) <= limits.workgroup_memory as usize
    }

    /// Fragments of sums are handed over one by one, which takes less memory.
    fn is_singly(&self) -> bool {
        matches!(self.pace, Pace::TwoBuffers | Pace::Deep)
    }

    /// Bytes of workgroup memory at most, with `depth` values of k at a time. Operands that lie in storage k by k are
    /// padded more than others (`tile.wgsl`, `tile_coop.wgsl`), which is counted for all.
    fn memory(&self, depth: usize) -> usize {
        let buffers = if self.pace == Pace::TwoBuffers { 2 } else { 1 };
        let sides = buffers * (self.rows() + self.columns());
        match self.shape {
            Shape::Registers { .. } => sides * depth * 4,
            Shape::Fragments { kind, .. } => {
                let size = kind.size as usize;
                let pitch = if self.is_singly() { size } else { 2 * size + 4 };
                sides * (depth + 8) * if kind.half { 2 } else { 4 } + 8 * size * pitch * 4
            }
        }
    }

    /// Values of k that are multiplied at a time.
    pub(super) fn depth(&self, limits: &Limits) -> usize {
        let [least, most] = self.depths();
        if self.fits(most, limits) { most } else { least }
    }

    /// Tiles of an m x n matrix.
    pub(super) fn count(&self, m: usize, n: usize) -> usize {
        m.div_ceil(self.rows()) * n.div_ceil(self.columns())
    }

    /// What a kernel with this tile is compiled with on a device with these limits, names and values.
    pub fn defines(&self, limits: &Limits) -> Vec<(&'static str, String)> {
        let (depth, mut out) = (self.depth(limits), Vec::new());
        let mut flag = |name: &'static str, on: bool| out.extend(on.then(|| (name, String::new())));
        flag("TILED", true);
        flag("PREFETCH", self.pace != Pace::InTurn);
        flag("TWO_BUFFERS", self.pace == Pace::TwoBuffers);
        match self.shape {
            Shape::Registers {
                cols,
                wide_m,
                wide_n,
            } => {
                flag("WIDE_M", wide_m);
                flag("WIDE_N", wide_n);
                out.push(("COLS", format!("{cols}u")));
            }
            Shape::Fragments {
                kind,
                abreast,
                block,
            } => {
                flag("COOP16", kind.size == 16);
                flag("TALL_BLOCK", block.0 == 4);
                flag("WIDE_BLOCK", block.1 == 4);
                flag("SINGLY", self.is_singly());
                flag("TWICE_A", self.rows() * depth / 16 > 256);
                flag("TWICE_B", self.columns() * depth / 16 > 256);
                // A workgroup of 256 threads has 256 / largest subgroup subgroups at least; they share 8 blocks.
                let blocks = (limits.subgroup.1 / 32).max(1);
                out.extend([
                    ("COOP", format!("{}u", kind.size)),
                    ("ABREAST", format!("{abreast}u")),
                    ("DEPTH", format!("{depth}u")),
                    ("BLOCKS", format!("{blocks}u")),
                ]);
            }
        }
        out
    }

    /// The kernel with this tile. Operands lie in storage k by k, or else A row by row (`a_by_rows`, when A is
    /// transposed) and B column by column (`b_by_columns`).
    pub(super) fn of(
        &self,
        kernel: Kernel,
        (a_by_rows, b_by_columns): (bool, bool),
        limits: &Limits,
    ) -> Kernel {
        let defines = self.defines(limits).into_iter();
        defines
            .fold(kernel, |kernel, (name, value)| kernel.define(name, value))
            .flag("A_BY_ROWS", a_by_rows)
            .flag("B_BY_COLUMNS", b_by_columns)
    }

    /// The tile for `batch` products of m rows and n columns: the device's choice for `key`, or else the one that
    /// should take the least time by [`Tile`]'s speeds.
    pub(super) fn select(
        rec: &Recorder<'_>,
        key: &str,
        half: bool,
        [batch, m, n]: [usize; 3],
    ) -> Self {
        let chosen = rec.tile_for(key).and_then(|i| TILES.get(i));
        match chosen.filter(|t| t.suits(rec.limits(), half)) {
            Some(t) => *t,
            None => Self::by_table(rec.limits(), half, [batch, m, n]),
        }
    }

    fn by_table(limits: &Limits, half: bool, [batch, m, n]: [usize; 3]) -> Self {
        let time = |t: &Self| {
            let rounds = (batch * t.count(m, n)).div_ceil(AT_A_TIME);
            (rounds * t.rows() * t.columns()) as f64 / t.speed
        };
        TILES
            .into_iter()
            .filter(|t| t.suits(limits, half))
            .min_by(|a, b| time(a).total_cmp(&time(b)))
            .unwrap_or(TILES[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(cooperative: Vec<Cooperative>) -> Limits {
        Limits {
            max_binding: 1 << 27,
            max_buffer: 1 << 28,
            max_groups: 65535,
            workgroup_memory: 32768,
            subgroups: true,
            f16: true,
            timestamps: false,
            cooperative,
            faulty_tiles: Vec::new(),
            subgroup: (32, 64),
            is_cpu: false,
            modest_compiler: false,
        }
    }

    #[test]
    fn cooperative_tiles_are_for_the_operands_that_the_device_multiplies() {
        let half = |size| Cooperative { size, half: true };
        let table = |c: Vec<Cooperative>, half| Tile::by_table(&limits(c), half, [1, 4096, 4096]);
        assert!(!table(Vec::new(), true).is_cooperative());
        assert!(!table(vec![half(16)], false).is_cooperative());
        let t = table(vec![half(8), half(16)], true);
        assert!(t.is_cooperative() && t.rows() == 128);
        assert_eq!(table(vec![half(8)], true).rows(), 64);
        let single = Cooperative {
            size: 8,
            half: false,
        };
        assert!(table(vec![half(16), single], false).is_cooperative());
        // 256 threads in subgroups of 64 are four: each takes two of the eight blocks.
        let kernel = t.of(
            crate::kernel!("gemm", "tiled"),
            (false, true),
            &limits(vec![half(16)]),
        );
        assert!(kernel.defines.contains(&("BLOCKS", "2u".to_string())));
    }

    #[test]
    fn tiles_follow_the_shape() {
        let shape = |batch, m, n| {
            let t = Tile::by_table(&limits(Vec::new()), false, [batch, m, n]);
            (t.rows(), t.columns())
        };
        assert_eq!(shape(1, 4096, 4096), (128, 128));
        // Too few large tiles to fill the device.
        assert_eq!(shape(1, 512, 512), (64, 64));
        // Many pixels, few channels.
        assert_eq!(shape(1, 1 << 19, 64), (128, 64));
        assert_eq!(shape(1, 1 << 19, 32), (128, 32));
    }

    #[test]
    fn tiles_fit_workgroup_memory() {
        let large = Limits {
            workgroup_memory: 48 << 10,
            ..limits(Vec::new())
        };
        for t in TILES {
            // Tiles by registers fit what every adapter has, with two buffers 32 KiB. Tiles by matrices fit 48 KiB,
            // and some fit the 31 KiB that `device::adapter` asks for.
            let most = if t.pace == Pace::TwoBuffers { 2 } else { 1 } * 16384;
            assert!(t.is_cooperative() || t.memory(16) <= most, "{t:?}");
            assert!(t.memory(t.depth(&large)) <= 48 << 10, "{t:?}");
            // A thread fetches at most two blocks of each operand, one with tiles by registers.
            let of_thread = 256 * if t.is_cooperative() { 2 } else { 1 };
            for side in [t.rows(), t.columns()] {
                assert!(side * t.depth(&large) / 16 <= of_thread, "{t:?}");
            }
            assert!(t.is_cooperative() || t.suits(&large, false));
        }
        let web = Limits::web();
        assert!(TILES.iter().any(|t| !t.suits(&web, false)));
        assert!(TILES[..8].iter().all(|t| t.suits(&web, false)));
        let small = |size| {
            TILES.iter().any(|t| {
                matches!(t.shape, Shape::Fragments { kind, .. } if kind.size == size)
                    && t.memory(16) <= 31 << 10
            })
        };
        assert!(small(16) && small(8));
    }

    /// `quotient` of `shaders/lib/place.wgsl`, with reciprocals that are as wrong as WGSL allows and one unit more.
    #[test]
    fn quotients_by_reciprocals_are_exact() {
        let quotient = |x: u32, reciprocal: f32| ((x as f32 + 0.5) * reciprocal) as u32;
        let near = |value: f32, ulp: i32| f32::from_bits((value.to_bits() as i32 + ulp) as u32);
        for size in (1..600u32).chain([1000, 4097, 65_535, 262_144, 1_048_575]) {
            let last = (1 << 20) - 1;
            let step = (last / size / 500).max(1);
            for whole in (0..=last / size).step_by(step as usize) {
                for x in [whole * size, (whole * size + size - 1).min(last)] {
                    for ulp in -3..=3 {
                        let reciprocal = near(1.0 / size as f32, ulp);
                        assert_eq!(quotient(x, reciprocal), x / size, "{x} / {size}");
                    }
                }
            }
        }
    }
}
