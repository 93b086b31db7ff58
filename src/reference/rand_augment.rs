//! Twin of `shaders/rand_augment.wgsl`: image operations of PIL and timm on levels 0..255.

use super::Scalar;
use super::augment::Filter;
use super::scratch::{self, split};
use rayon::prelude::*;

/// Numbers of one operation in a table's row: its kind ([`Kind`]), then up to six of its own.
pub const ENTRY: usize = 7;

/// Kinds of operations, with the numbers that they take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    None = 0,
    /// `ImageOps.autocontrast`: each channel's range is stretched to 0..255.
    AutoContrast = 1,
    /// `ImageOps.equalize`: each channel's histogram is levelled.
    Equalize = 2,
    /// `ImageOps.invert`.
    Invert = 3,
    /// `ImageOps.posterize`: multiples of a number (a power of two) are kept.
    Posterize = 4,
    /// `ImageOps.solarize`: levels from a number on are inverted.
    Solarize = 5,
    /// timm's `solarize_add`: a number is added to levels below 128.
    SolarizeAdd = 6,
    /// `ImageEnhance.Color`: away from the pixel's gray by a factor.
    Color = 7,
    /// `ImageEnhance.Contrast`: away from the image's mean gray by a factor.
    Contrast = 8,
    /// `ImageEnhance.Brightness`: a factor.
    Brightness = 9,
    /// `ImageEnhance.Sharpness`: away from the smoothed image by a factor.
    Sharpness = 10,
    /// `Image.transform(AFFINE)`: the pixel at (x, y) shows what is at (a x + b y + c, d x + e y + f) of
    /// the image, centres at halves; the six are a to f. What is outside has the fill's levels.
    Affine = 11,
}

/// PIL cuts a level's fraction off. What is whole in exact arithmetic may be just below in f32: so much is added.
const ABOVE: f64 = 1.0 / 1024.0;

/// What the operations need besides images and table.
#[derive(Clone, Copy, Debug)]
pub struct RandAugment<T> {
    /// Side of the images.
    pub size: usize,
    /// Operations of each image, one after the other.
    pub layers: usize,
    /// How an image that moves is seen. Bicubic is PIL's `transform`: a cubic convolution with a = -1, where its
    /// `resize` has -1/2.
    pub filter: Filter,
    /// Channel means, subtracted at the end; the fill is their nearest levels.
    pub mean: [T; 3],
    /// Reciprocals of the channel deviations.
    pub inv_std: [T; 3],
}

type Pixel<T> = [T; 3];

/// A level of a number.
fn level<T: Scalar>(v: T) -> T {
    (v.max(T::zero()).min(T::of(255.0)) + T::of(ABOVE)).floor()
}

/// `other` moved by a factor through `v`.
fn blend<T: Scalar>(v: Pixel<T>, other: Pixel<T>, factor: T) -> Pixel<T> {
    std::array::from_fn(|c| level(other[c] + factor * (v[c] - other[c])))
}

/// Between two pixels, the share `part` of the way.
fn linear<T: Scalar>([a, b]: [Pixel<T>; 2], part: T) -> Pixel<T> {
    std::array::from_fn(|c| a[c] + part * (b[c] - a[c]))
}

/// Between the middle two of four pixels, the share `part` of the way: PIL's `BICUBIC` of `Image.transform`.
fn cubic<T: Scalar>(p: [Pixel<T>; 4], part: T) -> Pixel<T> {
    std::array::from_fn(|c| {
        let [a, b, e, f] = p.map(|p| p[c]);
        let (square, third) = (T::of(2.0) * (a - b) + e - f, b - a + f - e);
        b + part * (e - a + part * (square + part * third))
    })
}

/// PIL's gray level of whole levels.
fn gray<T: Scalar>(v: Pixel<T>) -> T {
    let [r, g, b] = v.map(|v| v.f64() as u32);
    T::of(f64::from((r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16))
}

/// The table of levels of one channel, of its histogram.
fn table(kind: u32, bins: &[u32; 256]) -> [u32; 256] {
    let first = bins.iter().position(|n| *n > 0).unwrap_or(0);
    let last = bins.iter().rposition(|n| *n > 0).unwrap_or(0);
    if kind == Kind::AutoContrast as u32 && last > first {
        return std::array::from_fn(|i| {
            let i = i.clamp(first, last) - first;
            (i * 255 / (last - first)) as u32
        });
    }
    let step = (bins.iter().sum::<u32>() - bins[last]) / 255;
    if kind == Kind::Equalize as u32 && first < last && step > 0 {
        let mut n = step / 2;
        return std::array::from_fn(|i| {
            let level = (n / step).min(255);
            n += bins[i];
            level
        });
    }
    std::array::from_fn(|i| i as u32)
}

impl<T: Scalar> RandAugment<T> {
    fn fill(&self) -> Pixel<T> {
        self.mean
            .map(|m| (m * T::of(255.0) + T::of(0.5)).floor().min(T::of(255.0)))
    }

    /// One operation, of its entry of the table.
    fn apply(&self, entry: &[T], x: &[Pixel<T>], y: &mut [Pixel<T>]) {
        let (size, kind) = (self.size, entry[0].f64() as u32);
        let mut bins = [[0u32; 256]; 3];
        let mut total = 0u64;
        let levelled = [Kind::AutoContrast, Kind::Equalize].map(|k| k as u32);
        let (levelled, contrast) = (levelled.contains(&kind), kind == Kind::Contrast as u32);
        for v in x.iter().filter(|_| levelled) {
            for (bins, v) in bins.iter_mut().zip(v) {
                bins[v.f64() as usize & 255] += 1;
            }
        }
        for v in x.iter().filter(|_| contrast) {
            total += gray(*v).f64() as u64;
        }
        let n = x.len() as u64;
        let mean = T::of((total / n + u64::from(2 * (total % n) >= n)) as f64);
        let tables = bins.map(|b| if levelled { table(kind, &b) } else { [0; 256] });
        let (a, top) = (entry[1], T::of(255.0));
        let each = |v: Pixel<T>| -> Pixel<T> {
            match kind {
                1 | 2 => {
                    std::array::from_fn(|c| T::of(f64::from(tables[c][v[c].f64() as usize & 255])))
                }
                3 => v.map(|v| top - v),
                4 => v.map(|v| (v / a).floor() * a),
                5 => v.map(|v| if v < a { v } else { top - v }),
                6 => v.map(|v| {
                    if v < T::of(128.0) {
                        (v + a).min(top)
                    } else {
                        v
                    }
                }),
                7 => blend(v, [gray(v); 3], a),
                8 => blend(v, [mean; 3], a),
                9 => blend(v, [T::zero(); 3], a),
                _ => v,
            }
        };
        for (i, y) in y.iter_mut().enumerate() {
            *y = match kind {
                10 => blend(x[i], self.smooth(x, i), a),
                11 => self.moved(x, i % size, i / size, &entry[1..]),
                _ => each(x[i]),
            };
        }
    }

    /// PIL's `SMOOTH` at pixel i; the border stays.
    fn smooth(&self, x: &[Pixel<T>], i: usize) -> Pixel<T> {
        let (size, row, column) = (self.size, i / self.size, i % self.size);
        let inner = 1..size.max(2) - 1;
        if !inner.contains(&row) || !inner.contains(&column) {
            return x[i];
        }
        let mut sum = [T::zero(); 3];
        for r in row - 1..=row + 1 {
            for c in column - 1..=column + 1 {
                let w = if (r, c) == (row, column) { 5.0 } else { 1.0 };
                for (s, v) in sum.iter_mut().zip(x[r * size + c]) {
                    *s += T::of(w) * v;
                }
            }
        }
        sum.map(|s| level(s / T::of(13.0) + T::of(0.5)))
    }

    /// The image at the place that shows at (column, row).
    fn moved(&self, x: &[Pixel<T>], column: usize, row: usize, m: &[T]) -> Pixel<T> {
        let (half, side) = (T::of(0.5), T::of(self.size as f64));
        let (u, v) = (T::of(column as f64) + half, T::of(row as f64) + half);
        let at = [m[0] * u + m[1] * v + m[2], m[3] * u + m[4] * v + m[5]];
        if at.iter().any(|p| *p < T::zero() || *p >= side) {
            return self.fill();
        }
        let at = at.map(|p| p - half);
        let whole = at.map(|p| p.floor().f64() as isize);
        let part: [T; 2] = std::array::from_fn(|k| at[k] - at[k].floor());
        let inside = |p: isize| p.clamp(0, self.size as isize - 1) as usize;
        let pixel = |r: isize, c: isize| x[inside(r) * self.size + inside(c)];
        let [column, row] = whole;
        let value = match self.filter {
            Filter::Bilinear => {
                let line = |r| linear([0, 1].map(|i| pixel(r, column + i)), part[0]);
                linear([0, 1].map(|i| line(row + i)), part[1])
            }
            Filter::Bicubic => {
                let line = |r| cubic([-1, 0, 1, 2].map(|i| pixel(r, column + i)), part[0]);
                cubic([-1, 0, 1, 2].map(|i| line(row + i)), part[1])
            }
        };
        value.map(level)
    }

    /// Images `x` [n,size,size,3] of numbers in [0,1] become whole levels, go through the operations of their rows of
    /// `table` [n, layers ENTRY], and are normalised into `y`.
    pub fn run(&self, x: &[T], table: &[T], y: &mut [T]) {
        let image = self.size * self.size * 3;
        y.par_chunks_mut(image)
            .zip(x.par_chunks(image))
            .zip(table.par_chunks(self.layers * ENTRY))
            .for_each(|((y, x), row)| {
                let mut memory = scratch::local::<T>(2 * image);
                let [from, to] = split(&mut memory, [image; 2]);
                for (v, x) in from.iter_mut().zip(x) {
                    let v255 = x.max(T::zero()).min(T::one()) * T::of(255.0);
                    *v = (v255 + T::of(0.5)).floor();
                }
                let (mut from, mut to) = (from.as_chunks_mut().0, to.as_chunks_mut().0);
                for entry in row.chunks(ENTRY) {
                    self.apply(entry, from, to);
                    std::mem::swap(&mut from, &mut to);
                }
                for (y, v) in y.chunks_exact_mut(3).zip(&*from) {
                    for c in 0..3 {
                        y[c] = (v[c] / T::of(255.0) - self.mean[c]) * self.inv_std[c];
                    }
                }
            });
    }
}
