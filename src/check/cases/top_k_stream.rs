//! Cases of `top_k_stream`.

use super::amcl_stream::coarse;
use crate::check::{Case, Feed, Mutation};
use crate::ops::amcl_stream::Share;
use crate::ops::top_k_stream::TopKStream;

pub(super) fn cases() -> Vec<Case> {
    let mut v = Vec::new();
    let mut push = |[_, _, d]: [usize; 3], kappa, include_positive, z: Feed, note: &str| {
        let op = TopKStream {
            kappa,
            include_positive,
            share: Share::WHOLE,
        };
        v.push(
            Case::new(op, vec![z])
                .note(&format!("{note}kappa {kappa} positive {include_positive}"))
                .depth(d),
        );
    };
    // Rows of about unit length.
    let random = |[c, a, d]: [usize; 3]| {
        let unit = (3.0 / d as f32).sqrt();
        Feed::range([c, a, d], -unit, unit)
    };
    // Copies of four rows, so that more are equal than a last walk writes down.
    let copies = |[c, a, d]: [usize; 3]| {
        Feed::values(
            [c, a, d],
            (0..c * a * d)
                .map(|i| [0.5, -0.25, 0.75, 0.25][i / d % 4] * ((i % d % 3) as f32 - 1.0))
                .collect(),
        )
    };
    // Sizes on both sides of a tile of 64 and of what the last walk writes down.
    for dims in [
        [1, 4, 1],
        [2, 10, 8],
        [2, 34, 13],
        [1, 64, 64],
        [3, 66, 12],
        [1, 134, 68],
    ] {
        for kappa in [1, 7, 1000] {
            for include_positive in [false, true] {
                push(dims, kappa, include_positive, random(dims), "");
            }
        }
    }
    for dims in [[2, 34, 5], [1, 130, 4], [2, 254, 3]] {
        for (kappa, include_positive) in [
            (1, true),
            (7, false),
            (40, true),
            (100, false),
            (1000, true),
        ] {
            push(
                dims,
                kappa,
                include_positive,
                coarse(dims),
                "multiples of 1/4, ",
            );
            push(
                dims,
                kappa,
                include_positive,
                copies(dims),
                "copies of four rows, ",
            );
        }
    }
    // Products of both signs of zero, of which none is the larger.
    let zeros = |[c, a, d]: [usize; 3]| {
        Feed::values(
            [c, a, d],
            (0..c * a * d)
                .map(|i| [0.0, -0.0, 1.0, -1.0][(i * 7 + i / 5) % 4])
                .collect(),
        )
    };
    push(
        [1, 66, 1],
        20,
        true,
        zeros([1, 66, 1]),
        "zeros of both signs, ",
    );
    // Far from unit length: above and below where similarities are expected.
    let wide = |[c, a, d]: [usize; 3]| {
        Feed::values(
            [c, a, d],
            (0..c * a * d)
                .map(|i| (i % 97) as f32 * 0.25 * if i % 5 < 2 { -1.0 } else { 1.0 })
                .collect(),
        )
    };
    push([1, 130, 1], 3, true, wide([1, 130, 1]), "long rows, ");
    push([1, 130, 1], 100, false, wide([1, 130, 1]), "long rows, ");
    // Rows that are not numbers: they are the first of every row's candidates.
    let rows = random([1, 70, 6]).with_nan(&[8, 61, 300]);
    push([1, 70, 6], 2, true, rows.clone(), "not a number, ");
    push([1, 70, 6], 40, false, rows, "not a number, ");
    // More groups than one dispatch takes, and a tensor over a small binding.
    push([256, 130, 1], 5, true, coarse([256, 130, 1]), "in pieces, ");
    push([3, 246, 64], 9, false, coarse([3, 246, 64]), "in pieces, ");
    // Many columns, few of them equal: multiples of 1/64, of which products are exact too.
    let fine = |n: usize| {
        (0..n)
            .map(|i| (((i as u32).wrapping_mul(2_654_435_761) >> 25) as f32 - 64.0) / 64.0)
            .collect()
    };
    for kappa in [1, 100, 1000] {
        push(
            [1, 1026, 4],
            kappa,
            true,
            Feed::values([1, 1026, 4], fine(1026 * 4)),
            "multiples of 1/64, ",
        );
    }
    // Shares of a rank, whose rows begin and end within a tile.
    for (rank, ranks, dims, kappa) in [
        (1, 3, [2, 18, 8], 3),
        (2, 3, [1, 222, 6], 40),
        (0, 2, [2, 140, 5], 7),
        (3, 4, [1, 264, 12], 1),
    ] {
        let op = TopKStream {
            kappa,
            include_positive: rank % 2 == 0,
            share: Share { rank, ranks },
        };
        v.push(
            Case::new(op, vec![random(dims)])
                .note(&format!("kappa {kappa}, rank {rank} of {ranks}"))
                .depth(dims[2]),
        );
    }
    v
}

pub(super) fn mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            kernel: "top_k_stream",
            find: "p.first + (g % p.tiles)",
            replace: "(g % p.tiles)",
        },
        // Rows of the second view in the place of the first's.
        Mutation {
            kernel: "top_k_stream",
            find: "+ i0 + l - p.shift",
            replace: "+ l",
        },
        Mutation {
            kernel: "top_k_stream",
            find: "select(key, p.a - 1u - j, t.tied == 1u)",
            replace: "select(key, j, t.tied == 1u)",
        },
        Mutation {
            kernel: "top_k_stream",
            find: "2u + 1u]) < column)",
            replace: "2u + 1u]) > column)",
        },
        Mutation {
            kernel: "top_k_stream",
            find: "n.rank = t.rank - above",
            replace: "n.rank = t.rank",
        },
        Mutation {
            kernel: "top_k_stream",
            find: "FULL, part == 63u)",
            replace: "FULL, part == 64u)",
        },
        Mutation {
            kernel: "top_k_stream",
            find: "atomicExchange(&words[q * 256u + l], 0u)",
            replace: "atomicLoad(&words[q * 256u + l])",
        },
        Mutation {
            kernel: "top_k_stream",
            find: "min(t.hi - n.lo, (1u << part_bits(t)) - 1u)",
            replace: "(2u << part_bits(t))",
        },
        Mutation {
            kernel: "top_k_stream",
            find: "bitcast<i32>(b) <= BITS_MINUS_INF",
            replace: "(b & 0x80000000u) != 0u",
        },
    ]
}
