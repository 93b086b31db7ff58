//! Twin of `shaders/mix_images.wgsl`.

use super::Scalar;
use rayon::prelude::*;

/// Numbers of a table's row.
pub const ROW: usize = 5;

/// How images are mixed.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    /// Height, width, channels of an image.
    pub shape: [usize; 3],
    /// Image i takes image n-1-i of the others, else i.
    pub reversed: bool,
}

impl Mix {
    /// y [n,h,w,c] of `x`, `others` (alike) and a table [n, ROW] of share, top, left, height, width: inside the box
    /// the other's pixels, elsewhere `share x + (1 - share) other`.
    pub fn run<T: Scalar>(&self, x: &[T], others: &[T], table: &[T], y: &mut [T]) {
        let [h, w, c] = self.shape;
        let (image, n) = (h * w * c, table.len() / ROW);
        y.par_chunks_mut(image)
            .zip(x.par_chunks(image))
            .zip(table.par_chunks(ROW))
            .enumerate()
            .for_each(|(i, ((y, x), row))| {
                let from = if self.reversed { n - 1 - i } else { i };
                let other = &others[from * image..(from + 1) * image];
                let at = |k: usize| row[k].f64() as usize;
                let (rows, columns) = (at(1)..at(1) + at(3), at(2)..at(2) + at(4));
                for (j, ((y, x), o)) in y.iter_mut().zip(x).zip(other).enumerate() {
                    let inside = rows.contains(&(j / (w * c))) && columns.contains(&(j / c % w));
                    *y = match inside {
                        true => *o,
                        false => row[0] * *x + (T::one() - row[0]) * *o,
                    };
                }
            });
    }
}
