//! The tiles of products and convolutions on GPUs (`shaders/lib/tile.wgsl`): their shapes, and which suits a product.

use crate::device::recording::{Kernel, Recorder};

/// Threads side by side, and whether a thread has two blocks of rows, of columns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tile {
    cols: usize,
    wide_m: bool,
    wide_n: bool,
    /// Speed on a full device, relative to the largest tile: by the reads of workgroup memory that a multiply-add needs, not measured.
    speed: f64,
}

const fn tile(cols: usize, wide_m: bool, wide_n: bool, speed: f64) -> Tile {
    Tile {
        cols,
        wide_m,
        wide_n,
        speed,
    }
}

/// All shapes, rows by columns: 128x128, 128x64, 64x128, 64x64, 128x32.
pub const TILES: [Tile; 5] = [
    tile(16, true, true, 1.0),
    tile(16, true, false, 0.85),
    tile(16, false, true, 0.85),
    tile(16, false, false, 0.65),
    tile(8, false, false, 0.65),
];

/// Tiles that the device is assumed to compute at a time; known of no adapter through WebGPU.
pub(super) const AT_A_TIME: usize = 128;

impl Tile {
    /// Rows.
    pub fn rows(&self) -> usize {
        256 / self.cols * if self.wide_m { 8 } else { 4 }
    }

    /// Columns.
    pub fn columns(&self) -> usize {
        self.cols * if self.wide_n { 8 } else { 4 }
    }

    /// Tiles of an m x n matrix.
    pub(super) fn count(&self, m: usize, n: usize) -> usize {
        m.div_ceil(self.rows()) * n.div_ceil(self.columns())
    }

    /// The kernel with this tile.
    pub(super) fn of(&self, kernel: Kernel) -> Kernel {
        kernel
            .flag("TILED", true)
            .define("COLS", format!("{}u", self.cols))
            .flag("WIDE_M", self.wide_m)
            .flag("WIDE_N", self.wide_n)
    }

    /// The tile for `batch` products of m rows and n columns: the device's choice for `key`, else the one that should take the least time by the table.
    pub(super) fn choose(rec: &Recorder<'_>, key: &str, batch: usize, m: usize, n: usize) -> Self {
        match rec.choice(key) {
            Some(i) if i < TILES.len() => TILES[i],
            _ => Self::by_table(batch, m, n),
        }
    }

    fn by_table(batch: usize, m: usize, n: usize) -> Self {
        let time = |t: &Self| {
            let rounds = (batch * t.count(m, n)).div_ceil(AT_A_TIME);
            (rounds * t.rows() * t.columns()) as f64 / t.speed
        };
        TILES
            .into_iter()
            .min_by(|a, b| time(a).total_cmp(&time(b)))
            .unwrap_or(TILES[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_follow_the_shape() {
        let shape = |batch, m, n| {
            let t = Tile::by_table(batch, m, n);
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
    fn tiles_fit_the_portable_limit_of_workgroup_memory() {
        for t in TILES {
            // Columns of both operands, 16 values of k, f32; and a thread fetches at most one block of each operand.
            assert!((t.rows() + t.columns()) * 16 * 4 <= 16384, "{t:?}");
            assert!(t.rows() <= 256 && t.columns() <= 256, "{t:?}");
        }
    }
}
