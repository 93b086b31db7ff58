//! Twin of `shaders/augment.wgsl`: the augmentations of `torchvision.transforms.functional` on float images.

use super::Scalar;
use super::scratch::{self, split};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Floats that describe one view; a row of the op's table.
pub const ROW: usize = 16;
/// Row entry: first row of the crop. Then: first column, height, width.
pub const TOP: usize = 0;
/// Row entry: 1 mirrors left and right.
pub const FLIP: usize = 4;
/// Row entry: order of the colour adjustments, four digits of base 5, the first in the lowest (see [`Adjust`]).
pub const ORDER: usize = 5;
/// Row entry: factors of brightness, contrast, saturation, and the hue's shift in turns.
pub const FACTORS: usize = 6;
/// Row entry: 1 makes the view gray.
pub const GRAY: usize = 10;
/// Row entry: radius of the Gaussian blur in pixels, 0 for none; then its deviation.
pub const RADIUS: usize = 11;
/// Row entry: deviation of the blur in pixels.
pub const SIGMA: usize = 12;
/// Row entry: values at or over this threshold are inverted; over 1 for none.
pub const SOLARISE: usize = 13;
/// Row entry: width of the stored image in pixels, from which its rows are found.
pub const WIDTH: usize = 14;

/// How a crop is brought to the view's size. Both filters widen when the image shrinks (antialiasing), as those of
/// Pillow and torchvision do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// A triangle that reaches one pixel far.
    #[default]
    Bilinear,
    /// Keys' cubic convolution (1981) with a = -1/2, which reaches two pixels far: Pillow's `BICUBIC`, which
    /// torchvision takes for Pillow's images. It overshoots at edges, so values are clamped to `[0, 1]` after each
    /// axis, where Pillow rounds to bytes as well. Nothing is rounded here: a value and Pillow's byte are 1.13 levels
    /// apart at most, half a level for the second rounding and 5/8 for the first (the sizes of a pixel's weights sum to
    /// 1.25 at most).
    Bicubic,
}

impl Filter {
    /// Its name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bilinear => "bilinear",
            Self::Bicubic => "bicubic",
        }
    }

    /// How far it reaches, in pixels of the larger of both sizes.
    fn reach(self) -> usize {
        match self {
            Self::Bilinear => 1,
            Self::Bicubic => 2,
        }
    }

    /// Weight at a distance.
    fn weight<T: Scalar>(self, distance: T) -> T {
        let d = distance.abs();
        let of = T::of;
        match self {
            Self::Bilinear => (T::one() - d).max(T::zero()),
            Self::Bicubic if d < T::one() => (of(1.5) * d - of(2.5)) * d * d + T::one(),
            Self::Bicubic if d < of(2.0) => ((of(2.5) - of(0.5) * d) * d - of(4.0)) * d + of(2.0),
            Self::Bicubic => T::zero(),
        }
    }

    /// A weighted mean of values in `[0, 1]`, brought back to them where the filter overshoots.
    fn bounded<T: Scalar>(self, v: T) -> T {
        match self {
            Self::Bilinear => v,
            Self::Bicubic => clamp(v),
        }
    }
}

/// Digits of the row entry [`ORDER`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adjust {
    /// `adjust_brightness`.
    Brightness = 0,
    /// `adjust_contrast`.
    Contrast = 1,
    /// `adjust_saturation`.
    Saturation = 2,
    /// `adjust_hue`.
    Hue = 3,
    /// Nothing.
    None = 4,
}

/// The row entry [`ORDER`] of a sequence.
pub fn order_code(order: [Adjust; 4]) -> f32 {
    order.iter().rev().fold(0, |code, a| code * 5 + *a as u32) as f32
}

/// Shapes and constants of an augmentation.
#[derive(Clone, Copy, Debug)]
pub struct Shape<T> {
    /// Images; view r shows image r mod images.
    pub images: usize,
    /// Side of the views.
    pub size: usize,
    /// How crops are brought to this size.
    pub filter: Filter,
    /// Channel means, subtracted at the end.
    pub mean: [T; 3],
    /// Reciprocals of the channel deviations.
    pub inv_std: [T; 3],
}

type Pixel<T> = [T; 3];

/// Weights of red, green and blue in torchvision's gray.
const LUMA: [f64; 3] = [0.2989, 0.587, 0.114];

fn gray<T: Scalar>(p: Pixel<T>) -> T {
    T::of(LUMA[0]) * p[0] + T::of(LUMA[1]) * p[1] + T::of(LUMA[2]) * p[2]
}

fn clamp<T: Scalar>(v: T) -> T {
    v.max(T::zero()).min(T::one())
}

fn blend<T: Scalar>(p: Pixel<T>, other: Pixel<T>, factor: T) -> Pixel<T> {
    std::array::from_fn(|c| clamp(factor * p[c] + (T::one() - factor) * other[c]))
}

/// The resampling of a line: for each output pixel, the first input pixel and the weights. The filter is as much wider
/// as the image shrinks (antialiasing).
struct Line<'a, T> {
    /// First input pixel and number of weights.
    spans: &'a [[u32; 2]],
    /// Places for weights of one output pixel.
    most: usize,
    weights: &'a [T],
}

impl<'a, T: Scalar> Line<'a, T> {
    /// Most weights that an output pixel has.
    fn most(filter: Filter, from: usize, to: usize) -> usize {
        let support = (filter.reach() * from.max(to)).div_ceil(to);
        (2 * support + 2).min(from)
    }

    /// `spans` [to], `weights` [to * most].
    fn new(
        filter: Filter,
        (from, to): (usize, usize),
        spans: &'a mut [[u32; 2]],
        weights: &'a mut [T],
    ) -> Self {
        let half = T::of(0.5);
        let scale = T::of(from as f64) / T::of(to as f64);
        let stretch = scale.max(T::one());
        let support = T::of(filter.reach() as f64) * stretch;
        let most = Self::most(filter, from, to);
        for (i, (span, w)) in spans.iter_mut().zip(weights.chunks_mut(most)).enumerate() {
            let centre = (T::of(i as f64) + half) * scale;
            let whole = |v: T| v.max(T::zero()).f64() as usize;
            let first = whole(centre - support + half).min(from - 1);
            let last = whole(centre + support + half).clamp(first + 1, from);
            let w = &mut w[..last - first];
            for (j, v) in (first..last).zip(w.iter_mut()) {
                *v = filter.weight((T::of(j as f64) - centre + half) / stretch);
            }
            let total: T = w.iter().copied().sum();
            w.iter_mut().for_each(|v| *v /= total);
            *span = [first, w.len()].map(|v| v as u32);
        }
        Self {
            spans,
            most,
            weights,
        }
    }

    /// First input pixel and weights, by output pixel.
    fn iter(&self) -> impl Iterator<Item = (usize, &'a [T])> {
        let all = self.spans.iter().zip(self.weights.chunks(self.most));
        all.map(|(s, w)| (s[0] as usize, &w[..s[1] as usize]))
    }
}

/// torchvision's RGB -> HSV -> RGB with the hue moved by `shift` turns.
fn turn_hue<T: Scalar>(p: Pixel<T>, shift: T) -> Pixel<T> {
    let of = T::of;
    let max = p[0].max(p[1]).max(p[2]);
    let range = max - p[0].min(p[1]).min(p[2]);
    if range == T::zero() {
        return p;
    }
    let q: Pixel<T> = p.map(|v| (max - v) / range);
    let h = if max == p[0] {
        q[2] - q[1]
    } else if max == p[1] {
        of(2.0) + q[0] - q[2]
    } else {
        of(4.0) + q[1] - q[0]
    };
    let turns = h / of(6.0) + T::one() + shift;
    let h = (turns - turns.floor()) * of(6.0);
    let (s, f) = (range / max, h - h.floor());
    let (a, b, c) = (
        max * (T::one() - s),
        max * (T::one() - s * f),
        max * (T::one() - s * (T::one() - f)),
    );
    match h.floor().f64() as u32 % 6 {
        0 => [max, c, a],
        1 => [b, max, a],
        2 => [a, max, c],
        3 => [a, b, max],
        4 => [c, a, max],
        _ => [max, a, b],
    }
    .map(clamp)
}

/// The four colour adjustments of a view, in order.
struct Chain<T> {
    steps: [u32; 4],
    factors: [T; 4],
}

impl<T: Scalar> Chain<T> {
    fn of(row: &[T]) -> Self {
        let mut code = row[ORDER].f64() as u32;
        let steps = std::array::from_fn(|_| {
            let digit = code % 5;
            code /= 5;
            digit
        });
        Self {
            steps,
            factors: std::array::from_fn(|i| row[FACTORS + i]),
        }
    }

    /// Position of the contrast, which needs the mean over the image as it is then.
    fn contrast(&self) -> Option<usize> {
        self.steps.iter().position(|s| *s == 1)
    }

    fn apply(&self, mut p: Pixel<T>, steps: std::ops::Range<usize>, mean: T) -> Pixel<T> {
        for s in &self.steps[steps] {
            p = match s {
                0 => blend(p, [T::zero(); 3], self.factors[0]),
                1 => blend(p, [mean; 3], self.factors[1]),
                2 => blend(p, [gray(p); 3], self.factors[2]),
                3 => turn_hue(p, self.factors[3]),
                _ => p,
            };
        }
        p
    }
}

/// Position i of a line of n pixels continued by reflection without repeating the border.
fn reflect(i: isize, n: usize) -> usize {
    let n = n as isize;
    if n == 1 {
        return 0;
    }
    let period = 2 * (n - 1);
    let i = i.rem_euclid(period);
    i.min(period - i) as usize
}

/// One view of an image of bytes packed in little-endian words (rows, columns, RGB), normalised, into `out`
/// [size,size,3].
fn view<T: Scalar>(f: &Shape<T>, words: &[u32], row: &[T], out: &mut [T]) {
    let whole = |i: usize| row[i].f64() as usize;
    let (top, left, height, width) = (whole(TOP), whole(TOP + 1), whole(TOP + 2), whole(TOP + 3));
    let stored = whole(WIDTH);
    let byte = |i: usize| T::of(f64::from((words[i / 4] >> (8 * (i % 4))) & 255));
    let radius = whole(RADIUS);
    let pixels = f.size * f.size;
    let lens = [
        3 * width,
        3 * height * f.size,
        3 * pixels,
        if radius > 0 { 3 * pixels } else { 0 },
        f.size * Line::<T>::most(f.filter, height, f.size),
        f.size * Line::<T>::most(f.filter, width, f.size),
        2 * radius + 1,
    ];
    let mut memory = scratch::local::<T>(lens.iter().sum());
    let [line, wide, px, other, rows, cols, gauss] = split(&mut memory, lens);
    let mut spans = scratch::local::<[u32; 2]>(2 * f.size);
    let [row_spans, col_spans] = split(&mut spans, [f.size; 2]);
    let rows = Line::new(f.filter, (height, f.size), row_spans, rows);
    let cols = Line::new(f.filter, (width, f.size), col_spans, cols);
    let scale = T::of(255.0);
    let flip = row[FLIP] != T::zero();
    // Columns first, mirrored at once; then rows.
    for (y, wide) in wide.chunks_exact_mut(3 * f.size).enumerate() {
        let start = ((top + y) * stored + left) * 3;
        for (i, v) in line.iter_mut().enumerate() {
            *v = byte(start + i) / scale;
        }
        let (line, wide) = (line.as_chunks::<3>().0, wide.as_chunks_mut::<3>().0);
        for (x, (first, ws)) in cols.iter().enumerate() {
            let mut acc = [T::zero(); 3];
            for (w, v) in ws.iter().zip(&line[first..]) {
                for (a, v) in acc.iter_mut().zip(v) {
                    *a += *w * *v;
                }
            }
            let to = if flip { f.size - 1 - x } else { x };
            wide[to] = acc.map(|v| f.filter.bounded(v));
        }
    }
    for (px, (first, ws)) in px.chunks_exact_mut(3 * f.size).zip(rows.iter()) {
        px.fill(T::zero());
        for (w, line) in ws.iter().zip(wide.chunks_exact(3 * f.size).skip(first)) {
            for (p, v) in px.iter_mut().zip(line) {
                *p += *w * *v;
            }
        }
        px.iter_mut().for_each(|v| *v = f.filter.bounded(*v));
    }
    let [px, other] = [px, other].map(|x| x.as_chunks_mut::<3>().0);
    let chain = Chain::of(row);
    let before = chain.contrast().unwrap_or(0);
    let mut mean = T::zero();
    if chain.contrast().is_some() {
        let total: T = px
            .iter()
            .map(|p| gray(chain.apply(*p, 0..before, T::zero())))
            .sum();
        mean = total / T::of(px.len() as f64);
    }
    let make_gray = row[GRAY] != T::zero();
    for p in &mut *px {
        *p = chain.apply(*p, 0..4, mean);
        if make_gray {
            *p = [gray(*p); 3];
        }
    }
    if radius > 0 {
        gaussian(gauss, row[SIGMA]);
        blur(px, other, f.size, gauss, 1);
        blur(other, px, f.size, gauss, f.size);
    }
    for (o, p) in out.chunks_exact_mut(3).zip(&*px) {
        for c in 0..3 {
            let v = if p[c] >= row[SOLARISE] {
                T::one() - p[c]
            } else {
                p[c]
            };
            o[c] = (v - f.mean[c]) * f.inv_std[c];
        }
    }
}

/// Weights of a Gaussian at -radius..=radius; the radius is that of `w`.
fn gaussian<T: Scalar>(w: &mut [T], sigma: T) {
    let radius = (w.len() / 2) as f64;
    for (i, v) in w.iter_mut().enumerate() {
        let d = T::of(i as f64 - radius) / sigma;
        *v = (T::of(-0.5) * d * d).exp();
    }
    let total: T = w.iter().copied().sum();
    w.iter_mut().for_each(|v| *v /= total);
}

/// `px` weighted along lines of distance `step` (1: along rows; size: along columns), the border reflected.
fn blur<T: Scalar>(px: &[Pixel<T>], out: &mut [Pixel<T>], size: usize, w: &[T], step: usize) {
    let r = (w.len() / 2) as isize;
    for (at, out) in out.iter_mut().enumerate() {
        let position = at / step % size;
        let line = at - position * step;
        let mut acc = [T::zero(); 3];
        for (i, w) in w.iter().enumerate() {
            let p = px[line + reflect(position as isize + i as isize - r, size) * step];
            for (a, v) in acc.iter_mut().zip(p) {
                *a += *w * v;
            }
        }
        *out = acc;
    }
}

/// Views `y` [rows,size,size,3] of packed images `x` [images,words], by the table [rows, ROW].
pub fn augment<T: Scalar>(f: &Shape<T>, x: &[u32], table: &[T], y: &mut [T]) {
    let words = x.len() / f.images;
    y.par_chunks_mut(f.size * f.size * 3)
        .zip(table.par_chunks(ROW))
        .enumerate()
        .for_each(|(r, (out, row))| {
            let image = r % f.images;
            view(f, &x[image * words..(image + 1) * words], row, out);
        });
}
