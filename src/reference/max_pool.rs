//! Twin of `shaders/max_pool.wgsl`.

use super::Scalar;
use rayon::prelude::*;

/// Shapes and window of a pooling: x [n,h,w,c], y [n,oh,ow,c].
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Rows of x.
    pub h: usize,
    /// Columns of x.
    pub w: usize,
    /// Channels.
    pub c: usize,
    /// Rows of y.
    pub oh: usize,
    /// Columns of y.
    pub ow: usize,
    /// Side of the square window.
    pub kernel: usize,
    /// Distance between windows.
    pub stride: usize,
    /// Border on each side, at most half the window.
    pub padding: usize,
}

impl Window {
    /// Real rows (or columns) of window `i`, of `n` there are.
    pub fn range(&self, i: usize, n: usize) -> std::ops::Range<usize> {
        (i * self.stride).saturating_sub(self.padding)
            ..(i * self.stride + self.kernel - self.padding).min(n)
    }
}

/// Maximum of each window and its place `h*W + w`, the first one in row-major order; a NaN wins.
pub fn max_pool<T: Scalar>(p: &Window, x: &[T], y: &mut [T], argmax: &mut [u32]) {
    let row = p.ow * p.c;
    y.par_chunks_mut(row)
        .zip(argmax.par_chunks_mut(row))
        .enumerate()
        .for_each(|(line, (y, argmax))| {
            let image = line / p.oh * p.h * p.w;
            let rows = p.range(line % p.oh, p.h);
            for (j, (y, argmax)) in y.chunks_mut(p.c).zip(argmax.chunks_mut(p.c)).enumerate() {
                let columns = p.range(j, p.w);
                let start = rows.start * p.w + columns.start;
                y.copy_from_slice(&x[(image + start) * p.c..][..p.c]);
                argmax.fill(start as u32);
                for at in rows
                    .clone()
                    .flat_map(|h| columns.clone().map(move |w| h * p.w + w))
                {
                    let x = &x[(image + at) * p.c..][..p.c];
                    for c in 0..p.c {
                        if x[c] > y[c] || x[c].is_nan() {
                            y[c] = x[c];
                            argmax[c] = at as u32;
                        }
                    }
                }
            }
        });
}

#[cfg(test)]
mod tests {
    use super::{Window, max_pool};

    /// torch.nn.functional.max_pool2d of 1..9 negated, 3x3, stride 2, padding 1: padding never wins.
    #[test]
    fn padding_is_minus_infinity() {
        let p = Window {
            h: 3,
            w: 3,
            c: 1,
            oh: 2,
            ow: 2,
            kernel: 3,
            stride: 2,
            padding: 1,
        };
        let x: Vec<f64> = (1..10).map(|v| -f64::from(v)).collect();
        let (mut y, mut at) = ([0.0; 4], [9; 4]);
        max_pool(&p, &x, &mut y, &mut at);
        assert_eq!(y, [-1.0, -2.0, -4.0, -5.0]);
        assert_eq!(at, [0, 1, 3, 4]);
    }

    #[test]
    fn a_nan_wins() {
        let p = Window {
            h: 1,
            w: 3,
            c: 1,
            oh: 1,
            ow: 1,
            kernel: 3,
            stride: 1,
            padding: 1,
        };
        let (mut y, mut at) = ([0.0f32], [0]);
        max_pool(&p, &[1.0, f32::NAN, 3.0], &mut y, &mut at);
        assert!(y[0].is_nan() && at[0] == 1);
    }
}
