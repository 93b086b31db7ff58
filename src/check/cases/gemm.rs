//! Cases of `gemm`.

use crate::check::{Case, Feed, Mutation};
use crate::ops::gemm::Gemm;

pub(super) fn cases() -> Vec<Case> {
    let mut v = Vec::new();
    let base = Gemm::default();
    for (m, n, k) in [
        (1, 1, 1),
        (4, 4, 4),
        (5, 7, 3),
        (31, 33, 17),
        (32, 32, 32),
        (37, 1, 64),
        (1, 41, 5),
        (64, 96, 40),
        (130, 67, 129),
        (3, 128, 256),
        (200, 13, 24),
        (517, 20, 9),
    ] {
        for (trans_a, trans_b) in [(false, false), (false, true), (true, false), (true, true)] {
            let a = if trans_a { [k, m] } else { [m, k] };
            let b = if trans_b { [n, k] } else { [k, n] };
            let note = format!(
                "{}{}",
                if trans_a { "T" } else { "N" },
                if trans_b { "T" } else { "N" }
            );
            v.push(
                Case::new(
                    Gemm {
                        trans_a,
                        trans_b,
                        ..base
                    },
                    vec![Feed::uniform(a), Feed::uniform(b)],
                )
                .note(&note)
                .depth(k)
                .grads(&[0, 1]),
            );
        }
    }
    for (trans_a, trans_b) in [(false, false), (false, true), (true, false), (true, true)] {
        let (m, n, k, b) = (13, 18, 21, 3);
        let am = if trans_a { [k, m] } else { [m, k] };
        let bm = if trans_b { [n, k] } else { [k, n] };
        let op = Gemm {
            trans_a,
            trans_b,
            alpha: 0.5,
            ..base
        };
        let note = format!("batched {trans_a} {trans_b}");
        let (a3, b3) = ([b, am[0], am[1]], [b, bm[0], bm[1]]);
        v.push(
            Case::new(op, vec![Feed::uniform(a3), Feed::uniform(b3)])
                .note(&note)
                .depth(k)
                .grads(&[0, 1]),
        );
        v.push(
            Case::new(op, vec![Feed::uniform(am), Feed::uniform(b3)])
                .note(&format!("{note}, A broadcast"))
                .depth(k)
                .grads(&[0, 1]),
        );
        v.push(
            Case::new(op, vec![Feed::uniform(a3), Feed::uniform(bm)])
                .note(&format!("{note}, B broadcast"))
                .depth(k)
                .grads(&[0, 1]),
        );
        // Enough groups for the kernel of CPU drivers that takes 32 columns at a time, whose last are beyond the edge;
        // matrices are multiples of 256 bytes, so that each can be bound by itself.
        let am = if trans_a { [32, 128] } else { [128, 32] };
        let bm = if trans_b { [60, 32] } else { [32, 60] };
        let many = [[9, am[0], am[1]], [9, bm[0], bm[1]]].map(Feed::uniform);
        v.push(
            Case::new(op, many.into())
                .note(&format!("{note}, 32 columns a thread"))
                .depth(32),
        );
        let sum = Gemm {
            sum_batch: true,
            ..op
        };
        v.push(
            Case::new(sum, vec![Feed::uniform(a3), Feed::uniform(b3)])
                .note(&format!("{note}, summed"))
                .depth(k * b),
        );
    }
    for relu in [false, true] {
        let op = Gemm {
            bias: true,
            relu,
            trans_b: true,
            ..base
        };
        v.push(
            Case::new(
                op,
                vec![
                    Feed::uniform([9, 20]),
                    Feed::uniform([14, 20]),
                    Feed::uniform([14]),
                ],
            )
            .note(&format!("bias relu {relu}"))
            .depth(20)
            .grads(&[0, 1, 2]),
        );
        v.push(
            Case::new(
                op,
                vec![
                    Feed::uniform([3, 9, 20]),
                    Feed::uniform([14, 20]),
                    Feed::uniform([14]),
                ],
            )
            .note(&format!("shared bias relu {relu}"))
            .depth(20)
            .grads(&[0, 1, 2]),
        );
        v.push(
            Case::new(
                op,
                vec![
                    Feed::uniform([9, 20]),
                    Feed::uniform([3, 14, 20]),
                    Feed::uniform([3, 14]),
                ],
            )
            .note(&format!("a bias a head, relu {relu}"))
            .depth(20)
            .grads(&[0, 1, 2]),
        );
    }
    // Behind the ReLU too: a row of A, a row of B (a column of the result), a bias.
    for n in [14, 16] {
        let op = Gemm {
            bias: true,
            relu: true,
            trans_b: true,
            ..base
        };
        let inputs = vec![
            Feed::uniform([9, 20]).with_nan(&[45]),
            Feed::uniform([n, 20]).with_nan(&[100]),
            Feed::uniform([n]).with_nan(&[1, 7]),
        ];
        let case = Case::new(op, inputs).note("not a number").depth(20);
        v.extend([case.clone().in_f16(&[0, 1]), case]);
    }
    // Large enough for each of the larger tiles of GPUs (ops/tiles.rs), and no multiple of one.
    for (m, n, k) in [
        (2_044, 2_040, 4),
        (16_402, 61, 5),
        (61, 16_402, 3),
        (16_400, 28, 18),
    ] {
        v.push(
            Case::new(base, vec![Feed::uniform([m, k]), Feed::uniform([k, n])])
                .note("large tiles")
                .depth(k),
        );
    }
    // Halves: every transposition over several tiles, edges that are no multiple of one, a batch, bias and ReLU, sums
    // over the batch.
    let of_halves: Vec<Case> = v
        .iter()
        .filter(|c| c.inputs.iter().all(|f| f.ty.elements() >= 20))
        .step_by(2)
        .map(|c| c.clone().in_f16(&[0, 1]))
        .collect();
    v.extend(of_halves);
    for (trans_a, trans_b) in [(false, false), (false, true), (true, false), (true, true)] {
        let (m, n, k) = (260, 196, 84);
        let (a, b) = (
            if trans_a { [k, m] } else { [m, k] },
            if trans_b { [n, k] } else { [k, n] },
        );
        let case = Case::new(
            Gemm {
                trans_a,
                trans_b,
                ..base
            },
            vec![Feed::uniform(a), Feed::uniform(b)],
        )
        .note(&format!("several tiles {trans_a} {trans_b}"))
        .depth(k);
        v.extend([case.clone(), case.in_f16(&[0, 1])]);
    }
    // The product itself in halves, as attention and GELU take it.
    for (m, n, k) in [(5, 7, 3), (65, 36, 24), (130, 67, 129)] {
        let op = Gemm {
            trans_b: true,
            bias: true,
            half: true,
            ..base
        };
        let inputs = vec![
            Feed::uniform([m, k]),
            Feed::uniform([n, k]),
            Feed::uniform([n]),
        ];
        let case = Case::new(op, inputs).note("in halves").depth(k);
        v.push(case.in_f16(&[0, 1]));
    }
    // A batch of matrices tall enough for the kernel of CPU drivers, apart and summed.
    for (trans_b, sum_batch) in [(false, false), (true, false), (false, true), (true, true)] {
        let b = if trans_b { [2, 21, 10] } else { [2, 10, 21] };
        let op = Gemm {
            trans_b,
            sum_batch,
            ..base
        };
        let depth = if sum_batch { 20 } else { 10 };
        v.push(
            Case::new(op, vec![Feed::uniform([2, 150, 10]), Feed::uniform(b)])
                .note(&format!("tall batch {trans_b} {sum_batch}"))
                .depth(depth),
        );
    }
    v.push(
        Case::new(
            Gemm {
                trans_b: true,
                ..base
            },
            vec![Feed::uniform([8_200, 2]), Feed::uniform([8_200, 2])],
        )
        .note("more than 65535 groups")
        .depth(2),
    );
    // Several matrices a binding of 64 KiB, with a bias of all and one each; matrices that begin at no multiple of 256
    // bytes, which such a binding refuses.
    for (m, n, own_bias) in [(64, 48, false), (64, 64, true), (61, 47, false)] {
        let inputs = vec![
            Feed::uniform([7, m, 20]),
            Feed::uniform([7, 20, n]),
            match own_bias {
                true => Feed::uniform([7, n]),
                false => Feed::uniform([n]),
            },
        ];
        let op = Gemm { bias: true, ..base };
        v.push(Case::new(op, inputs).note("many matrices").depth(20));
    }
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "gemm",
            find: "acc3 = fma(vec4<f32>(x[kk].w), w[kk], acc3);",
            replace: "acc3 = fma(vec4<f32>(x[kk].z), w[kk], acc3);",
        },
        Mutation {
            kernel: "gemm",
            find: "chained(s.bottom[2], b[2], w)",
            replace: "chained(s.bottom[2], b[1], w)",
        },
        Mutation {
            kernel: "gemm",
            find: "* p.stride_a, i0",
            replace: "* 0u, i0",
        },
        Mutation {
            kernel: "gemm",
            find: "(*sums).c2, a, b, column_2(w)",
            replace: "(*sums).c2, a, b, column_1(w)",
        },
        Mutation {
            kernel: "gemm",
            find: "fma(a.z, w[2].y, fma(a.y, w[1].y",
            replace: "fma(a.z, w[1].y, fma(a.y, w[1].y",
        },
        Mutation {
            kernel: "gemm",
            find: "piece_b(base, k, j + which)",
            replace: "piece_b(base, k, j + (which ^ 1u))",
        },
        Mutation {
            kernel: "gemm",
            find: "lane, s * p.stride_b, k0, j0)",
            replace: "lane, 0u, k0, j0)",
        },
        Mutation {
            kernel: "gemm",
            find: "k0, j0 + 16u)",
            replace: "k0, j0)",
        },
        Mutation {
            kernel: "gemm",
            find: "put_rows(batch, i0, j0 + 16u, right)",
            replace: "put_rows(batch, i0, j0 + 16u, sums)",
        },
        // The tiles of GPUs: an operand, a bank, the second block of rows and of columns, a barrier, values beyond the
        // last k.
        Mutation {
            kernel: "gemm",
            find: "fma(vec4<f32>(a.w), b, sum[3])",
            replace: "fma(vec4<f32>(a.z), b, sum[3])",
        },
        Mutation {
            kernel: "gemm",
            find: "k4 * TILE_N + (n4 ^",
            replace: "k4 * TILE_N + (n4 |",
        },
        Mutation {
            kernel: "gemm",
            find: "let below = tile_a[m + ROWS]",
            replace: "let below = tile_a[m]",
        },
        Mutation {
            kernel: "gemm",
            find: "let right = tile_b[n + COLS]",
            replace: "let right = tile_b[n]",
        },
        Mutation {
            kernel: "gemm",
            find: "if lb < THREADS_B { keep_b(lb, *into_b, buffer); }\n        workgroupBarrier();",
            replace: "if lb < THREADS_B { keep_b(lb, *into_b, buffer); }",
        },
        // Halves: as they are read and written.
        Mutation {
            kernel: "gemm",
            find: "c[at / 4u] = C4(v)",
            replace: "c[at / 4u] = C4(v.yxzw)",
        },
        Mutation {
            kernel: "gemm",
            find: "(row + min(k, p.k - 4u)) / 4u]), k < p.k)",
            replace: "(row + min(k, p.k - 4u)) / 4u]), true)",
        },
        Mutation {
            kernel: "gemm",
            find: "vec4<f32>(relu(v.x), relu(v.y), relu(v.z), relu(v.w))",
            replace: "max(v, vec4<f32>(0.0))",
        },
        Mutation {
            kernel: "gemm",
            find: "v = relu(v);",
            replace: "v = max(v, 0.0);",
        },
    ]
}

/// Of tiles with two buffers: the second is filled, and multiplied. Without the first a thread fills what others still
/// multiply.
pub(super) fn two_buffers() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "gemm",
            find: "buffer = 1u - buffer;",
            replace: "",
        },
        Mutation {
            kernel: "gemm",
            find: "let k = buffer * 4u + k4;",
            replace: "let k = k4;",
        },
    ]
}

/// Of `tile_coop.wgsl`, for devices with cooperative matrices: a fragment's operand, its place, the layout, the
/// hand-over of the sums.
pub(super) fn cooperative() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "gemm",
            find: "coopMultiplyAdd(fourth, right, s.d1)",
            replace: "coopMultiplyAdd(third, right, s.d1)",
        },
        Mutation {
            kernel: "gemm",
            find: "let a2 = place_a(buffer, m + 2u * COOP, k)",
            replace: "let a2 = place_a(buffer, m + COOP, k)",
        },
        Mutation {
            kernel: "gemm",
            find: "coopLoad<FragmentB>(&tile_b[b1], pitch_b)",
            replace: "coopLoadT<FragmentB>(&tile_b[b1], pitch_b)",
        },
        Mutation {
            kernel: "gemm",
            find: "let busy = block < 8u;",
            replace: "let busy = block < 7u;",
        },
        Mutation {
            kernel: "gemm",
            find: "store_pair(s.c0, s.c1, busy",
            replace: "store_pair(s.c0, s.c0, busy",
        },
    ]
}
