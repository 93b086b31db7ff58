// Tokens of one head of an attention (lib/heads.wgsl) for drivers that run on CPUs: a group is 8 threads of two tokens
// each, 8 apart (with one, they read twice as much for as many products), which share what they read of the others
// (lib/lanes.wgsl). The head's width is a multiple of 4; C16 (define) is how often 16 fit it, rounded up.
#import heads
#import outer
#import lanes
// Flags beside a column: the pieces are those of a row, 16 columns of 4 tokens, instead of 4 columns of 16 tokens; they
// are of the kernel's second tensor.
const BY_ROWS: u32 = 0x80000000u;
const SECOND: u32 = 0x40000000u;
fn piece(at: u32, token: u32, column: u32, which: u32) -> vec4<f32> {
    let by_rows = (column & BY_ROWS) != 0u;
    let t = token + select(which, which / 4u, by_rows);
    let c = (column & 0x3fffffffu) + select(0u, which % 4u * 4u, by_rows);
#ifdef SECOND_TENSOR
    if (column & SECOND) != 0u { return four_g(at, t, c); }
#endif
    return four(at, t, c);
}
// What a thread has for each of its two tokens.
struct Two { a: mat4x4<f32>, b: mat4x4<f32> }
// Adds the products of four numbers of either token, a and b, with those of 16 others (piece j of x: the j-th other's).
fn products2(s: Two, a: vec4<f32>, b: vec4<f32>, x: Sixteen) -> Two {
    return chained2(s, a, b, transpose(first_four(x)), transpose(second_four(x)), transpose(third_four(x)),
        transpose(fourth_four(x)));
}
// Four products a sum, four sums at a time for both tokens (as in lib/sums8x16.wgsl).
fn chained2(s: Two, a: vec4<f32>, b: vec4<f32>, w0: mat4x4<f32>, w1: mat4x4<f32>, w2: mat4x4<f32>, w3: mat4x4<f32>)
    -> Two {
    let a0 = chained(s.a[0], a, w0);
    let b0 = chained(s.b[0], b, w0);
    let a1 = chained(s.a[1], a, w1);
    let b1 = chained(s.b[1], b, w1);
    let a2 = chained(s.a[2], a, w2);
    let b2 = chained(s.b[2], b, w2);
    let a3 = chained(s.a[3], a, w3);
    let b3 = chained(s.b[3], b, w3);
    return Two(mat4x4<f32>(a0, a1, a2, a3), mat4x4<f32>(b0, b1, b2, b3));
}
// Adds 16 tokens' columns, each times its weight for either token: sum + w_j x[token + j, c..c+16].
fn weighted2(sum: Two, lane: u32, w: Two, at: u32, token: u32, column: u32) -> Two {
    let x0 = sixteen(lane, at, token, column | BY_ROWS);
    let x1 = sixteen(lane, at, token + 4u, column | BY_ROWS);
    let x2 = sixteen(lane, at, token + 8u, column | BY_ROWS);
    let x3 = sixteen(lane, at, token + 12u, column | BY_ROWS);
    let s0 = chained2(sum, w.a[0], w.b[0], column_0(x0), column_1(x0), column_2(x0), column_3(x0));
    let s1 = chained2(s0, w.a[1], w.b[1], column_0(x1), column_1(x1), column_2(x1), column_3(x1));
    let s2 = chained2(s1, w.a[2], w.b[2], column_0(x2), column_1(x2), column_2(x2), column_3(x2));
    return chained2(s2, w.a[3], w.b[3], column_0(x3), column_1(x3), column_2(x3), column_3(x3));
}
// Whether 16 tokens from j on exist, four a column.
fn all_exist(v: mat4x4<f32>, j: u32, otherwise: f32) -> mat4x4<f32> {
    let none = vec4<f32>(otherwise);
    let a = select(none, v[0], exist(j));
    let b = select(none, v[1], exist(j + 4u));
    return mat4x4<f32>(a, b, select(none, v[2], exist(j + 8u)), select(none, v[3], exist(j + 12u)));
}
fn exp2_of(s: mat4x4<f32>, factor: f32, less: f32) -> mat4x4<f32> {
    let m = vec4<f32>(less);
    let a = exp2(s[0] * factor - m);
    let b = exp2(s[1] * factor - m);
    return mat4x4<f32>(a, b, exp2(s[2] * factor - m), exp2(s[3] * factor - m));
}
