// Sine and cosine by arithmetic alone: WGSL lets its own be wrong by 2^-11. For |x| up to some thousand.
// x = n pi/2 + r, |r| <= pi/4, with pi/2 in two parts, the first of which n multiplies exactly up to 2^13; the
// polynomials are those of Cephes' sinf and cosf. (cos x, sin x).
fn angle(x: f32) -> vec2<f32> {
    let n = round(x * 0.63661977);
    let r = fma(n, -4.83826794897e-4, fma(n, -1.5703125, x));
    let q = r * r;
    let s = fma(fma(fma(-1.9515295891e-4, q, 8.3321608736e-3), q, -1.6666654611e-1) * q, r, r);
    let high = fma(fma(2.443315711809948e-5, q, -1.388731625493765e-3), q, 4.166664568298827e-2);
    let c = fma(high, q * q, fma(-0.5, q, 1.0));
    // A quarter turn a step.
    let quarter = u32(i32(n)) & 3u;
    let turned = select(vec2<f32>(c, s), vec2<f32>(-s, c), (quarter & 1u) == 1u);
    return select(turned, -turned, quarter >= 2u);
}
