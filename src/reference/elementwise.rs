//! Parallel maps over slices, shared by the elementwise twins.

use super::{Scalar, scratch};
use rayon::prelude::*;

/// Elements a task takes: fixed, so that nothing depends on the number of threads.
pub(super) const CHUNK: usize = 1 << 14;

/// Runs `f`, and everything that is inlined into it, compiled for the widest vectors of this processor. Nothing is
/// contracted or reordered, so the bits are the same on all processors.
#[inline(always)]
pub(super) fn vectorized<R>(f: impl FnOnce() -> R) -> R {
    struct Run<F>(F);
    impl<R, F: FnOnce() -> R> pulp::NullaryFnOnce for Run<F> {
        type Output = R;
        #[inline(always)]
        fn call(self) -> R {
            (self.0)()
        }
    }
    pulp::Arch::new().dispatch(Run(f))
}

/// Work whose `call` is marked `#[inline(always)]`, for [`vectorized_work`].
pub(super) use pulp::NullaryFnOnce as Work;

/// As [`vectorized`], for loops of more than some twenty operations. A closure cannot be marked `#[inline(always)]`, and a
/// long one is left out of what is compiled for wide vectors; so is `for_each`, so that the loops are `for`.
pub(super) fn vectorized_work<W: Work>(work: W) -> W::Output {
    pulp::Arch::new().dispatch(work)
}

/// `y_i = f(x_i)`.
pub fn map1<T: Scalar>(x: &[T], y: &mut [T], f: impl Fn(T) -> T + Sync) {
    y.par_chunks_mut(CHUNK)
        .zip(x.par_chunks(CHUNK))
        .for_each(|(y, x)| {
            vectorized(|| y.iter_mut().zip(x).for_each(|(y, x)| *y = f(*x)));
        });
}

/// `y_i = f(a_i, b_i)`.
pub fn map2<T: Scalar>(a: &[T], b: &[T], y: &mut [T], f: impl Fn(T, T) -> T + Sync) {
    y.par_chunks_mut(CHUNK)
        .zip(a.par_chunks(CHUNK))
        .zip(b.par_chunks(CHUNK))
        .for_each(|((y, a), b)| {
            vectorized(|| {
                let all = y.iter_mut().zip(a).zip(b);
                all.for_each(|((y, a), b)| *y = f(*a, *b));
            });
        });
}

/// `y_i = f(a_i, b_i, c_i)`.
pub fn map3<T: Scalar>(a: &[T], b: &[T], c: &[T], y: &mut [T], f: impl Fn(T, T, T) -> T + Sync) {
    y.par_chunks_mut(CHUNK)
        .zip(a.par_chunks(CHUNK))
        .zip(b.par_chunks(CHUNK))
        .zip(c.par_chunks(CHUNK))
        .for_each(|(((y, a), b), c)| {
            vectorized(|| {
                let all = y.iter_mut().zip(a).zip(b).zip(c);
                all.for_each(|(((y, a), b), c)| *y = f(*a, *b, *c));
            });
        });
}

/// `y_i = f(y_i, x_i)` in place.
pub fn update1<T: Scalar>(x: &[T], y: &mut [T], f: impl Fn(T, T) -> T + Sync) {
    y.par_chunks_mut(CHUNK)
        .zip(x.par_chunks(CHUNK))
        .for_each(|(y, x)| {
            vectorized(|| y.iter_mut().zip(x).for_each(|(y, x)| *y = f(*y, *x)));
        });
}

/// The largest element (NaN left out, -inf of none); for code inside [`vectorized`].
#[inline(always)]
pub(super) fn max_in_lanes<T: Scalar>(x: &[T]) -> T {
    let larger = |l: T, v: T| if v > l { v } else { l };
    let mut lanes = [T::neg_infinity(); 16];
    let (whole, rest) = x.as_chunks::<16>();
    for v in whole {
        lanes
            .iter_mut()
            .zip(v)
            .for_each(|(l, v)| *l = larger(*l, *v));
    }
    lanes
        .iter_mut()
        .zip(rest)
        .for_each(|(l, v)| *l = larger(*l, *v));
    lanes.into_iter().fold(T::neg_infinity(), larger)
}

/// Sum in 16 interleaved lanes, which are added in order; for code inside [`vectorized`].
#[inline(always)]
pub(super) fn sum_in_lanes<T: Scalar>(x: &[T]) -> T {
    let mut lanes = [T::zero(); 16];
    let (whole, rest) = x.as_chunks::<16>();
    for v in whole {
        lanes.iter_mut().zip(v).for_each(|(l, v)| *l += *v);
    }
    lanes.iter_mut().zip(rest).for_each(|(l, v)| *l += *v);
    lanes.into_iter().sum()
}

/// Sum in a fixed tree: chunks of 16384, each summed in 8 interleaved lanes, chunk sums added in order.
pub fn sum<T: Scalar>(x: &[T], f: impl Fn(T) -> T + Sync) -> T {
    let mut parts = scratch::shared(x.len().div_ceil(CHUNK));
    parts
        .par_iter_mut()
        .zip(x.par_chunks(CHUNK))
        .for_each(|(part, c)| {
            vectorized(|| {
                let mut lanes = [T::zero(); 8];
                let mut add = |v: &[T]| {
                    lanes.iter_mut().zip(v).for_each(|(l, v)| *l += f(*v));
                };
                let (whole, rest) = c.as_chunks::<8>();
                whole.iter().for_each(|v| add(v));
                add(rest);
                *part = lanes.into_iter().sum();
            });
        });
    parts.iter().copied().sum()
}
