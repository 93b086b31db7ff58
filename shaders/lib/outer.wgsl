// Products of registers, for sums that are kept as matrices.
// Rows by columns: sum[i] + a[i] b.
fn outer(sum: mat4x4<f32>, a: vec4<f32>, b: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(fma(vec4<f32>(a.x), b, sum[0]), fma(vec4<f32>(a.y), b, sum[1]), fma(vec4<f32>(a.z), b, sum[2]),
        fma(vec4<f32>(a.w), b, sum[3]));
}
// Four products a sum, one behind the other: s + a.x w[0] + a.y w[1] + a.z w[2] + a.w w[3]. Where there are more sums
// than registers (drivers that run on CPUs), a sum is then fetched and put back once for four products, not for each.
fn chained(s: vec4<f32>, a: vec4<f32>, w: mat4x4<f32>) -> vec4<f32> {
    return vec4<f32>(
        fma(a.w, w[3].x, fma(a.z, w[2].x, fma(a.y, w[1].x, fma(a.x, w[0].x, s.x)))),
        fma(a.w, w[3].y, fma(a.z, w[2].y, fma(a.y, w[1].y, fma(a.x, w[0].y, s.y)))),
        fma(a.w, w[3].z, fma(a.z, w[2].z, fma(a.y, w[1].z, fma(a.x, w[0].z, s.z)))),
        fma(a.w, w[3].w, fma(a.z, w[2].w, fma(a.y, w[1].w, fma(a.x, w[0].w, s.w)))));
}
