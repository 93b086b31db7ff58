//! Convolutions with 3x3 filters and stride 1 by Winograd's minimal filtering F(2x2, 3x3) (Lavin and Gray, "Fast
//! Algorithms for Convolutional Neural Networks", CVPR 2016): 16 products for a tile of 2x2 outputs where the
//! definition has 36. The f32 twins compute so; the f64 twins, which judge, keep to the definition.
//!
//! For a 4x4 patch d and a filter g, y = A^T [ (G g G^T) o (B^T d B) ] A. The term in brackets is summed over channels,
//! which makes 16 matrix products over all tiles.
//!
//! B^T = [1 0 -1 0; 0 1 1 0; 0 -1 1 0; 0 1 0 -1], G = [1 0 0; 1/2 1/2 1/2; 1/2 -1/2 1/2; 0 0 1],
//! A^T = [1 1 1 0; 0 1 -1 -1].
//!
//! The gradient by the input is the same with filters turned by 180 degrees and channels exchanged. The gradient by the
//! weights is in `winograd/weight_grad`.
//!
//! Rounding errors are some 2 to 3 times those of the definition, because A and B add up to four values and subtract as
//! many (tested below).

use super::Scalar;
use super::conv2d::ConvDims;
use super::elementwise::vectorized;
use super::gemm::{Mat, Right, pack, packed_len, product};
use super::scratch::{self, split};
use rayon::prelude::*;

mod weight_grad;
pub(super) use weight_grad::weight_grad;

/// Channels below which the transforms cost more than the products save.
const CHANNELS: usize = 32;
/// Tiles of one task, at most and at least. With fewer tiles, packing the filters would cost more than it saves.
const TILES: (usize, usize) = (256, 64);
/// Elements of a task's transformed patches and sums together: what a core's cache holds.
const CACHE: usize = 1 << 18;
/// Elements of a cache line.
const LINE: usize = 16;

/// True for a convolution of this form with enough tiles to pay for transforming its filters.
pub(super) fn suits<T: Scalar>(d: &ConvDims) -> bool {
    let form = (d.r, d.s, d.stride) == (3, 3, 1) && d.pad <= 2;
    let channels = d.c.min(d.k) >= CHANNELS;
    let (rows, columns) = tiles(d.p, d.q);
    T::EPS > 1e-10 && form && channels && d.n * rows * columns >= d.c.max(d.k)
}

/// Rows and columns of tiles of an image of p x q outputs.
fn tiles(p: usize, q: usize) -> (usize, usize) {
    (p.div_ceil(2), q.div_ceil(2))
}

/// A convolution as the transforms see it.
#[derive(Clone, Copy, Debug)]
struct Shape {
    /// Height and width of what is read.
    h: usize,
    w: usize,
    /// Height and width of what is written.
    p: usize,
    q: usize,
    /// Channels read and written.
    from: usize,
    to: usize,
    pad: usize,
}

/// `y = conv(x, w)`.
pub(super) fn forward<T: Scalar>(d: &ConvDims, x: &[T], w: &[T], y: &mut [T]) {
    // [16][k][c], read as c x k.
    let mut transformed = scratch::shared(16 * padded(d.k * d.c));
    filters(d, w, false, &mut transformed);
    run(&Shape::of(d), x, &transformed, (1, d.c), y);
}

/// `dx` from `dy` and `w`.
pub(super) fn input_grad<T: Scalar>(d: &ConvDims, dy: &[T], w: &[T], dx: &mut [T]) {
    let shape = Shape {
        h: d.p,
        w: d.q,
        p: d.h,
        q: d.w,
        from: d.k,
        to: d.c,
        pad: 2 - d.pad,
    };
    let mut transformed = scratch::shared(16 * padded(d.k * d.c));
    filters(d, w, true, &mut transformed);
    run(&shape, dy, &transformed, (d.c, 1), dx);
}

/// A transform along one axis of a tile: M values in, N values out.
trait Transform<T, const M: usize, const N: usize> {
    /// The values of one channel.
    fn apply(v: [T; M]) -> [T; N];
}

/// B^T, of input patches.
struct Input;
/// A^T, to outputs.
struct Output;
/// A, of outputs' gradients.
struct OutputTransposed;
/// G, of filters.
struct Filter;
/// G^T, to filters' gradients.
struct FilterTransposed;

impl<T: Scalar> Transform<T, 4, 4> for Input {
    #[inline(always)]
    fn apply([a, b, c, d]: [T; 4]) -> [T; 4] {
        [a - c, b + c, c - b, b - d]
    }
}
impl<T: Scalar> Transform<T, 4, 2> for Output {
    #[inline(always)]
    fn apply([a, b, c, d]: [T; 4]) -> [T; 2] {
        [a + b + c, b - c - d]
    }
}
impl<T: Scalar> Transform<T, 2, 4> for OutputTransposed {
    #[inline(always)]
    fn apply([a, b]: [T; 2]) -> [T; 4] {
        [a, a + b, a - b, -b]
    }
}
impl<T: Scalar> Transform<T, 3, 4> for Filter {
    #[inline(always)]
    fn apply([a, b, c]: [T; 3]) -> [T; 4] {
        let (half, ends) = (T::of(0.5), a + c);
        [a, half * (ends + b), half * (ends - b), c]
    }
}
impl<T: Scalar> Transform<T, 4, 3> for FilterTransposed {
    #[inline(always)]
    fn apply([a, b, c, d]: [T; 4]) -> [T; 3] {
        let half = T::of(0.5);
        let (sum, difference) = (half * (b + c), half * (b - c));
        [a + sum, difference, sum + d]
    }
}

/// Applies a transform to all channels: each slice holds one value a channel.
#[inline(always)]
fn transform<S: Transform<T, M, N>, T: Scalar, const M: usize, const N: usize>(
    from: [&[T]; M],
    to: [&mut [T]; N],
) {
    let len = to[0].len();
    let from = from.map(|s| &s[..len]);
    let mut to = to.map(|s| &mut s[..len]);
    for c in 0..len {
        let mut v = [T::zero(); M];
        for (v, s) in v.iter_mut().zip(&from) {
            *v = s[c];
        }
        for (s, v) in to.iter_mut().zip(S::apply(v)) {
            s[c] = v;
        }
    }
}

/// Elements from one plane to the next. Planes a power of two apart share the sets of a cache, and 16 rows that are
/// written side by side evict each other.
fn padded(plane: usize) -> usize {
    plane + LINE
}

/// The 16 matrices of transformed values. Tasks write them in parallel, each its own rows.
#[derive(Clone, Copy)]
struct Planes<T> {
    data: *mut T,
    plane: usize,
}

// SAFETY: the pointer is into a slice that outlives the tasks, and by `row`'s contract their writes do not overlap.
unsafe impl<T: Send> Send for Planes<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Planes<T> {}

impl<T: Scalar> Planes<T> {
    fn new(data: &mut [T], plane: usize) -> Self {
        let plane = padded(plane);
        assert!(data.len() >= 16 * plane);
        Self {
            data: data.as_mut_ptr(),
            plane,
        }
    }

    /// Elements `at..at + len` of planes 4 row..4 row + 4.
    ///
    /// # Safety
    /// The slice is alive, and nothing else touches these elements while the result lives.
    #[inline(always)]
    unsafe fn row<'a>(&self, row: usize, at: usize, len: usize) -> [&'a mut [T]; 4] {
        assert!(row < 4 && at + len <= self.plane);
        [0, 1, 2, 3].map(|i| {
            // SAFETY: plane 4 row + i is below 16, `new` checked that the slice holds 16 planes, and planes do not
            // overlap.
            unsafe {
                let start = self.data.add((4 * row + i) * self.plane + at);
                std::slice::from_raw_parts_mut(start, len)
            }
        })
    }
}

/// G g G^T of all filters, `out` [16][k][c]; `turn`: of the filters turned by 180 degrees.
fn filters<T: Scalar>(d: &ConvDims, w: &[T], turn: bool, out: &mut [T]) {
    let (c, plane) = (d.c, d.k * d.c);
    let planes = Planes::new(out, plane);
    (0..d.k).into_par_iter().with_min_len(8).for_each(|k| {
        let work = &mut scratch::local(12 * c)[..];
        let tap = |i: usize, j: usize| {
            let tap = if turn { 8 - (i * 3 + j) } else { i * 3 + j };
            &w[(k * 9 + tap) * c..][..c]
        };
        vectorized(|| {
            // Columns first: work is [j][i'][c].
            for (j, to) in work.chunks_exact_mut(4 * c).enumerate() {
                let from = [tap(0, j), tap(1, j), tap(2, j)];
                transform::<Filter, T, 3, 4>(from, split(to, [c; 4]));
            }
            for i in 0..4 {
                let from = [0, 1, 2].map(|j| &work[(4 * j + i) * c..][..c]);
                // SAFETY: this task alone writes row k of the planes.
                let to = unsafe { planes.row(i, k * c, c) };
                transform::<Filter, T, 3, 4>(from, to);
            }
        });
    });
}

impl Shape {
    /// Of the forward pass.
    fn of(d: &ConvDims) -> Self {
        Self {
            h: d.h,
            w: d.w,
            p: d.p,
            q: d.q,
            from: d.c,
            to: d.k,
            pad: d.pad,
        }
    }

    /// B^T d B of the 4x4 patch under tile (i, j) of an image [h,w,from], zero outside, to element `at` of the planes.
    /// `work` has 16 rows of channels for B^T d; `zeros` is one row of zeros.
    ///
    /// # Safety
    /// As [`Planes::row`].
    #[inline(always)]
    unsafe fn patch<T: Scalar>(
        &self,
        x: &[T],
        (i, j): (usize, usize),
        (work, zeros): (&mut [T], &[T]),
        (planes, at): (&Planes<T>, usize),
    ) {
        let c = self.from;
        for (b, to) in work[..16 * c].chunks_exact_mut(4 * c).enumerate() {
            let column = (2 * j + b).checked_sub(self.pad).filter(|w| *w < self.w);
            let from = [0, 1, 2, 3].map(|a| {
                let row = (2 * i + a).checked_sub(self.pad).filter(|h| *h < self.h);
                match (row, column) {
                    (Some(h), Some(w)) => &x[(h * self.w + w) * c..][..c],
                    _ => &zeros[..c],
                }
            });
            transform::<Input, T, 4, 4>(from, split(to, [c; 4]));
        }
        for a in 0..4 {
            let from = [0, 1, 2, 3].map(|b| &work[(4 * b + a) * c..][..c]);
            // SAFETY: the caller's.
            let to = unsafe { planes.row(a, at, c) };
            transform::<Input, T, 4, 4>(from, to);
        }
    }
}

/// Transforms patches, multiplies, and transforms back; a task takes some rows of tiles. `filters` are 16 planes, with
/// steps (rs, cs) between channels read and between channels written.
fn run<T: Scalar>(s: &Shape, x: &[T], filters: &[T], (rs, cs): (usize, usize), y: &mut [T]) {
    let (rows, columns) = tiles(s.p, s.q);
    let plane = s.from * s.to;
    let right = |t: usize| Mat {
        data: &filters[t * padded(plane)..][..plane],
        rs,
        cs,
    };
    let len = packed_len::<T>(s.from, s.to);
    let mut packed = scratch::shared(16 * len);
    packed
        .par_chunks_mut(len.max(1))
        .enumerate()
        .for_each(|(t, to)| pack(s.from, s.to, right(t), to));
    let packed = &packed[..];
    let wanted = (CACHE / (16 * (s.from + s.to))).clamp(TILES.1, TILES.0);
    let band = wanted.div_ceil(columns).max(1);
    // What a task writes: whole rows of tiles of one image, or several whole images.
    let image = s.p * s.q * s.to;
    let images = (band / rows).max(1);
    // Computes `count` rows of tiles from `first` on; the images' rows are numbered one after the other.
    let task = |first: usize, count: usize, out: &mut [T]| {
        let m = count * columns;
        let work_len = 16 * s.from.max(s.to);
        let lens = [16 * padded(m * s.from), 16 * m * s.to, work_len, s.from];
        let mut buffer = scratch::local(lens.iter().sum());
        let [patches, sums, work, zeros] = split(&mut buffer, lens);
        zeros.fill(T::zero());
        let planes = Planes::new(patches, m * s.from);
        vectorized(|| {
            for t in 0..m {
                let (row, j) = (first + t / columns, t % columns);
                let x = &x[row / rows * s.h * s.w * s.from..];
                // SAFETY: the buffer is this task's.
                unsafe {
                    let (tile, to) = ((row % rows, j), (&planes, t * s.from));
                    s.patch(x, tile, (work, zeros), to);
                }
            }
        });
        for t in 0..16 {
            let lhs = Mat {
                data: &patches[t * padded(m * s.from)..],
                rs: s.from,
                cs: 1,
            };
            let rhs = Right {
                mat: right(t),
                packed: &packed[t * len..(t + 1) * len],
            };
            let dst = &mut sums[t * m * s.to..(t + 1) * m * s.to];
            product(m, s.to, s.from, T::one(), lhs, rhs, dst, s.to, false);
        }
        vectorized(|| {
            for t in 0..m {
                let (row, j) = (first + t / columns, t % columns);
                // `out` begins with tile row `first`.
                let (ours, own) = (row / rows - first / rows, row % rows);
                let top = ours * s.p + 2 * own - 2 * (first % rows);
                outputs(s, sums, (m, t), work, |a, b, v| {
                    if 2 * own + a < s.p && 2 * j + b < s.q {
                        let at = ((top + a) * s.q + 2 * j + b) * s.to;
                        out[at..at + s.to].copy_from_slice(v);
                    }
                });
            }
        });
    };
    if images > 1 || band >= rows {
        y.par_chunks_mut(images * image)
            .enumerate()
            .for_each(|(i, out)| task(i * images * rows, out.len() / image * rows, out));
    } else {
        y.par_chunks_mut(image).enumerate().for_each(|(n, out)| {
            out.par_chunks_mut(2 * band * s.q * s.to)
                .enumerate()
                .for_each(|(i, out)| {
                    let first = i * band;
                    task(n * rows + first, band.min(rows - first), out);
                });
        });
    }
}

/// A^T m A of tile t of `sums` [16][tiles][to]; calls `put(row, column, channels)` for the four pixels.
#[inline(always)]
fn outputs<T: Scalar>(
    s: &Shape,
    sums: &[T],
    (tiles, t): (usize, usize),
    work: &mut [T],
    mut put: impl FnMut(usize, usize, &[T]),
) {
    let k = s.to;
    let value = |a: usize, b: usize| &sums[((4 * a + b) * tiles + t) * k..][..k];
    let (work, last) = work.split_at_mut(8 * k);
    for (b, to) in work.chunks_exact_mut(2 * k).enumerate() {
        let (first, second) = to.split_at_mut(k);
        let from = [value(0, b), value(1, b), value(2, b), value(3, b)];
        transform::<Output, T, 4, 2>(from, [first, second]);
    }
    let (left, right) = last[..2 * k].split_at_mut(k);
    for a in 0..2 {
        let from = [0, 1, 2, 3].map(|b| &work[(2 * b + a) * k..][..k]);
        transform::<Output, T, 4, 2>(from, [&mut *left, &mut *right]);
        put(a, 0, left);
        put(a, 1, right);
    }
}

#[cfg(test)]
mod tests;
