use super::*;

/// Equal to the crate's own function to the bit: shapes around the tiles and blocks, all storage orders, with and
/// without adding to the result's old values.
#[test]
fn equals_the_crates_own_function() {
    let value = |i: usize| ((i * 7919) % 1009) as f32 / 504.5 - 1.0;
    let shapes = [
        (1, 1, 3),
        (3, 2, 5),
        (24, 4, 8),
        (25, 5, 9),
        (48, 100, 33),
        (64, 64, 600),
        (49, 200, 64),
        (200, 49, 64),
        (96, 128, 1500),
        (500, 72, 130),
        (8, 300, 40),
        (1030, 20, 17),
        // More rows of tiles than a block holds, whichever side they come from.
        (70, 1100, 40),
        (33, 1300, 600),
        (1300, 33, 600),
    ];
    for (m, n, k) in shapes {
        let a: Vec<f32> = (0..m * k).map(value).collect();
        let b: Vec<f32> = (0..n * k).map(|i| value(i + 31)).collect();
        for (lhs_t, rhs_t, add) in (0..8).map(|i| (i & 1 > 0, i & 2 > 0, i & 4 > 0)) {
            let (lhs_rs, lhs_cs) = if lhs_t { (1, m) } else { (k, 1) };
            let (rhs_rs, rhs_cs) = if rhs_t { (1, k) } else { (n, 1) };
            let mut want: Vec<f32> = (0..m * n).map(|i| value(i + 5)).collect();
            let mut got = want.clone();
            let lhs = Mat {
                data: &a[..],
                rs: lhs_rs,
                cs: lhs_cs,
            };
            let rhs = Mat {
                data: &b[..],
                rs: rhs_rs,
                cs: rhs_cs,
            };
            let run = |dst: &mut [f32], rhs, packed| {
                let p = Product {
                    m,
                    n,
                    k,
                    alpha: 1.25,
                    lhs,
                    rhs,
                    dst,
                    dst_rs: n,
                    dst_cs: 1,
                    add,
                    packed,
                };
                p.run()
            };
            // SAFETY: the vectors hold m k, k n and m n elements.
            unsafe {
                gemm::gemm(
                    m,
                    n,
                    k,
                    want.as_mut_ptr(),
                    1,
                    n as isize,
                    add,
                    a.as_ptr(),
                    lhs_cs as isize,
                    lhs_rs as isize,
                    b.as_ptr(),
                    rhs_cs as isize,
                    rhs_rs as isize,
                    1.0,
                    1.25,
                    false,
                    false,
                    false,
                    gemm::Parallelism::None,
                );
            }
            let done = run(&mut got, rhs, None);
            assert!(!done || got == want, "{m} {n} {k} {lhs_t} {rhs_t} {add}");
            // The same with the right operand packed before. Its blocks of the depth may be others, so that some sums
            // round otherwise.
            let mut packed = vec![f32::NAN; packed_len(k, n)];
            if done && n > 1 {
                let mut again: Vec<f32> = (0..m * n).map(|i| value(i + 5)).collect();
                // The operand itself is not read any more.
                let lost = vec![f32::NAN; n * k];
                pack(k, n, rhs, &mut packed);
                let lost = Mat {
                    data: &lost[..],
                    ..rhs
                };
                let done = run(&mut again, lost, Some(&packed));
                let bound = 2.0 * k as f32 * f32::EPSILON;
                let near = |(a, b): (&f32, &f32)| (a - b).abs() <= bound * b.abs().max(1.0);
                assert!(
                    done && again.iter().zip(&want).all(near),
                    "{m} {n} {k} packed"
                );
            }
            // The large ones, not left to the crate: they are what it would allocate for.
            #[cfg(target_arch = "x86_64")]
            if m * n > 16 * 16
                && is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
            {
                assert!(done, "{m} {n} {k}");
            }
        }
    }
}

/// A job that calls `f` with the kernels of this processor, on slices of just the length that their contract asks for,
/// less `short` of one of them.
struct Bounds {
    which: usize,
    short: usize,
}

impl Job for Bounds {
    type Output = ();
    fn with<K: Kernels>(self, kernels: K) {
        let (rows, columns, k) = (K::MR + 1, K::NR + 1, 5);
        let less =
            |which: usize, len: usize| len - if which == self.which { self.short } else { 0 };
        let operand = vec![1.0; 1000 * 10];
        let mut to = vec![0.0; 1000 * 10];
        // Rows of k + 1 elements, the last of which ends with the k-th; two tiles, of which the second begins after a
        // gap.
        let left = Mat {
            data: &operand[..less(0, (rows - 1) * (k + 1) + k)],
            rs: k + 1,
            cs: 1,
        };
        let stride = K::MR * k + 3;
        kernels.pack_left(
            left,
            rows,
            k,
            &mut to[..less(1, stride + K::MR * k)],
            stride,
        );
        let right = Mat {
            data: &operand[..less(2, (columns - 1) * (k + 1) + k)],
            rs: 1,
            cs: k + 1,
        };
        let stride = K::NR * k + 3;
        kernels.pack_right(
            right,
            k,
            columns,
            &mut to[..less(3, stride + K::NR * k)],
            stride,
        );
        let tile = Tile {
            height: K::MR - 1,
            width: K::NR,
            depth: k,
            left: &operand[..less(4, (k - 1) * K::MR + K::MR)],
            left_cs: K::MR,
            right: Mat {
                data: &operand[..less(5, (k - 1) * K::NR + K::NR)],
                rs: K::NR,
                cs: 1,
            },
            dst: &mut to[..less(6, (K::NR - 1) * 50 + K::MR - 1)],
            dst_rs: 1,
            dst_cs: 50,
            alpha: 1.0,
            keep: false,
        };
        kernels.multiply(tile);
    }
}

/// The kernels take slices of just the length that is needed, and refuse each of them when it is one element shorter.
#[test]
fn slices_that_are_too_short_are_refused() {
    let short = 0;
    if with_kernels(Bounds { which: 0, short }).is_none() {
        return;
    }
    for which in 0..7 {
        let short = || with_kernels(Bounds { which, short: 1 });
        let refused = std::panic::catch_unwind(short).is_err();
        assert!(refused, "slice {which}");
    }
}
