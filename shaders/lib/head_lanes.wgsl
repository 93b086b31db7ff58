// Tokens of one head of an attention (lib/heads.wgsl) for drivers that run on CPUs: a group is 8 threads of a token
// each, which share what they read of the others (lib/lanes.wgsl). The head's width is a multiple of 4; C16 (define) is
// how often 16 fit it, rounded up.
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
// Adds the products of four numbers of a token with those of 16 others: sum + a . x.
fn products16(sum: mat4x4<f32>, a: vec4<f32>, x: Sixteen) -> mat4x4<f32> {
    let s0 = chained(sum[0], a, transpose(first_four(x)));
    let s1 = chained(sum[1], a, transpose(second_four(x)));
    let s2 = chained(sum[2], a, transpose(third_four(x)));
    return mat4x4<f32>(s0, s1, s2, chained(sum[3], a, transpose(fourth_four(x))));
}
// Adds 16 tokens' columns, each times its weight: sum + w_j x[token + j, c..c+16].
fn weighted16(sum: mat4x4<f32>, lane: u32, weights: mat4x4<f32>, at: u32, token: u32, column: u32) -> mat4x4<f32> {
    var s = sum;
    let a = sixteen(lane, at, token, column | BY_ROWS);
    s = rows4(s, weights[0], a);
    let b = sixteen(lane, at, token + 4u, column | BY_ROWS);
    s = rows4(s, weights[1], b);
    let c = sixteen(lane, at, token + 8u, column | BY_ROWS);
    s = rows4(s, weights[2], c);
    let d = sixteen(lane, at, token + 12u, column | BY_ROWS);
    return rows4(s, weights[3], d);
}
fn rows4(sum: mat4x4<f32>, w: vec4<f32>, x: Sixteen) -> mat4x4<f32> {
    let s0 = chained(sum[0], w, column_0(x));
    let s1 = chained(sum[1], w, column_1(x));
    let s2 = chained(sum[2], w, column_2(x));
    return mat4x4<f32>(s0, s1, s2, chained(sum[3], w, column_3(x)));
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
