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
            let p = Product {
                m,
                n,
                k,
                alpha: 1.25,
                lhs: Operand {
                    data: a.as_ptr(),
                    rs: lhs_rs,
                    cs: lhs_cs,
                },
                rhs: Operand {
                    data: b.as_ptr(),
                    rs: rhs_rs,
                    cs: rhs_cs,
                },
                dst: got.as_mut_ptr(),
                dst_rs: n,
                dst_cs: 1,
                add,
                packed: None,
            };
            // SAFETY: the vectors hold m k, k n and m n elements.
            let done = unsafe {
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
                p.run()
            };
            assert!(!done || got == want, "{m} {n} {k} {lhs_t} {rhs_t} {add}");
            // The same with the right operand packed before. Its blocks of the depth may be others, so that some sums
            // round otherwise.
            let mut packed = vec![f32::NAN; packed_len(k, n)];
            if done && n > 1 {
                let mut again: Vec<f32> = (0..m * n).map(|i| value(i + 5)).collect();
                // The operand itself is not read any more.
                let lost = vec![f32::NAN; n * k];
                // SAFETY: as above.
                let done = unsafe {
                    pack(k, n, p.rhs, &mut packed);
                    let rhs = Operand {
                        data: lost.as_ptr(),
                        ..p.rhs
                    };
                    let p = Product {
                        dst: again.as_mut_ptr(),
                        packed: Some(packed.as_ptr()),
                        rhs,
                        ..p
                    };
                    p.run()
                };
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
