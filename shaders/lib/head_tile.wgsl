// Tokens of one head of an attention (lib/heads.wgsl), 64 at a time through workgroup memory (lib/tile.wgsl). Products
// of tokens are made where they are used and stored nowhere.
#import heads
#import tile
// Columns kk = 0..3: x[token + kk, c..c+4].
fn along(at: u32, token: u32, c: u32) -> mat4x4<f32> {
    return mat4x4<f32>(four(at, token, c), four(at, token + 1u, c), four(at, token + 2u, c), four(at, token + 3u, c));
}
// 64 x 64 products of the tokens from i0 on of one operand and from j0 on of another: a thread's 4x4, columns of the
// result for the first operand's tokens.
fn pairs(at_i: u32, i0: u32, at_j: u32, j0: u32, l: u32) -> mat4x4<f32> {
    let lb = block_b(l);
    var sums: Sums;
    for (var k0 = 0u; k0 < p.d; k0 = k0 + TILE_K) {
        if l < TILE_M { put_a(l / 4u, l % 4u, transpose(along(at_i, i0 + (l / 4u) * 4u, k0 + (l % 4u) * 4u))); }
        if lb < TILE_N { put_b(lb / 4u, lb % 4u, transpose(along(at_j, j0 + (lb / 4u) * 4u, k0 + (lb % 4u) * 4u))); }
        workgroupBarrier();
        tile_multiply(&sums, l);
        workgroupBarrier();
    }
    return sums.a;
}
