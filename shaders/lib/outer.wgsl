// Products of registers, for sums that are kept as matrices.
// Rows by columns: sum[i] + a[i] b.
fn outer(sum: mat4x4<f32>, a: vec4<f32>, b: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(fma(vec4<f32>(a.x), b, sum[0]), fma(vec4<f32>(a.y), b, sum[1]), fma(vec4<f32>(a.z), b, sum[2]),
        fma(vec4<f32>(a.w), b, sum[3]));
}
// One number by 16: sum + a b.
fn scaled16(sum: mat4x4<f32>, a: f32, b: mat4x4<f32>) -> mat4x4<f32> {
    let x = vec4<f32>(a);
    return mat4x4<f32>(fma(x, b[0], sum[0]), fma(x, b[1], sum[1]), fma(x, b[2], sum[2]), fma(x, b[3], sum[3]));
}
// Eight numbers by 16.
struct Sums8 {
    s0: mat4x4<f32>, s1: mat4x4<f32>, s2: mat4x4<f32>, s3: mat4x4<f32>, s4: mat4x4<f32>, s5: mat4x4<f32>,
    s6: mat4x4<f32>, s7: mat4x4<f32>,
}
fn scaled8x16(sums: ptr<function, Sums8>, a: vec4<f32>, b: vec4<f32>, w: mat4x4<f32>) {
    (*sums).s0 = scaled16((*sums).s0, a.x, w);
    (*sums).s1 = scaled16((*sums).s1, a.y, w);
    (*sums).s2 = scaled16((*sums).s2, a.z, w);
    (*sums).s3 = scaled16((*sums).s3, a.w, w);
    (*sums).s4 = scaled16((*sums).s4, b.x, w);
    (*sums).s5 = scaled16((*sums).s5, b.y, w);
    (*sums).s6 = scaled16((*sums).s6, b.z, w);
    (*sums).s7 = scaled16((*sums).s7, b.w, w);
}
