//! The transforms against the definition, and what they are for.

use super::*;
use crate::reference::conv2d::conv2d;
use crate::reference::conv2d_input_grad::conv2d_input_grad;
use crate::reference::conv2d_weight_grad::conv2d_weight_grad;

/// Numbers in [-1, 1) without a pattern.
fn make(n: usize, seed: u64) -> Vec<f64> {
    let mut stream =
        crate::reference::philox::Stream::new(seed, 0, 0, crate::reference::philox::Purpose::Init);
    (0..n).map(|_| f64::from(stream.range(-1.0, 1.0))).collect()
}

/// Root of the mean square of a difference, relative to that of `b`.
fn error<T: Scalar>(a: &[T], b: &[f64]) -> f64 {
    let sum = |f: &dyn Fn(usize) -> f64| (0..b.len()).map(|i| f(i).powi(2)).sum::<f64>();
    (sum(&|i| a[i].f64() - b[i]) / sum(&|i| b[i])).sqrt()
}

type Pass<T> = fn(&ConvDims, &[T], &[T], &mut [T]);

/// Forward, by input, by weights; the f64 twins are the definition.
fn passes<T: Scalar>() -> [Pass<T>; 3] {
    [forward::<T>, input_grad::<T>, weight_grad::<T>]
}

#[test]
fn equals_the_definition() {
    // Even and odd sides, paddings, one tile, several images a task, several tasks an image; sums by the weights in one
    // run, in three, and, of too many pairs of channels for runs, in two blocks.
    for (n, h, w, c, k, pad) in [
        (1, 4, 4, 8, 8, 1),
        (3, 5, 7, 16, 8, 1),
        (2, 2, 2, 8, 24, 1),
        (1, 3, 3, 8, 8, 0),
        (2, 6, 5, 8, 16, 2),
        (40, 4, 3, 16, 16, 1),
        (1, 64, 62, 64, 8, 1),
        (1, 34, 32, 160, 128, 1),
    ] {
        let (p, q) = (h + 2 * pad - 2, w + 2 * pad - 2);
        let (r, s, stride) = (3, 3, 1);
        let d = ConvDims {
            n,
            h,
            w,
            c,
            p,
            q,
            k,
            r,
            s,
            stride,
            pad,
        };
        let x = make(n * d.image(), 1);
        let (wt, dy) = (make(k * d.row(), 2), make(n * d.pixels() * k, 3));
        let mut want = [vec![0.0; dy.len()], vec![0.0; x.len()], vec![0.0; wt.len()]];
        conv2d(&d, &x, &wt, &mut want[0]);
        conv2d_input_grad(&d, &dy, &wt, &mut want[1]);
        conv2d_weight_grad(&d, &x, &dy, &mut want[2]);
        let single = |v: &[f64]| v.iter().map(|v| *v as f32).collect::<Vec<f32>>();
        for (i, (a, b)) in [(&x, &wt), (&dy, &wt), (&x, &dy)].into_iter().enumerate() {
            let mut got = vec![f64::NAN; want[i].len()];
            passes()[i](&d, a, b, &mut got);
            let e = error(&got, &want[i]);
            assert!(e < 1e-14, "{i} {d:?}: {e}");
            // In f32 a sum of K products is off by some eps sqrt(K)/4 of itself. The transforms make it up to three
            // times that; the bound is four times.
            let mut got = vec![f32::NAN; want[i].len()];
            passes()[i](&d, &single(a), &single(b), &mut got);
            let depth = [9 * c, 9 * k, n * d.pixels()][i] as f64;
            let e = error(&got, &want[i]);
            assert!(e < f32::EPS * depth.sqrt().max(4.0), "{i} {d:?}: {e}");
        }
    }
}

#[test]
fn is_for_f32_and_enough_tiles() {
    let d = ConvDims {
        n: 2,
        h: 16,
        w: 16,
        c: 64,
        p: 16,
        q: 16,
        k: 64,
        r: 3,
        s: 3,
        stride: 1,
        pad: 1,
    };
    assert!(suits::<f32>(&d) && !suits::<f64>(&d));
    for other in [
        ConvDims {
            n: 1,
            h: 4,
            p: 4,
            ..d
        },
        ConvDims { c: 8, ..d },
        ConvDims { stride: 2, ..d },
        ConvDims { r: 1, s: 1, ..d },
    ] {
        assert!(!suits::<f32>(&other), "{other:?}");
    }
}
