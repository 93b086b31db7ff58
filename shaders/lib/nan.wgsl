// NaN by bits. WGSL's `max` and `min` may drop a NaN, and a compiler may take every comparison of floats for one of
// numbers. As signed integers the bits of zero and of positive numbers lie in 0..BITS_INF and NaNs above; those of
// negative numbers lie in -2^31..BITS_MINUS_INF and NaNs of that sign above, up to -1.
const BITS_INF: i32 = 0x7f800000;
const BITS_MINUS_INF: i32 = -8388608;
fn is_nan(v: f32) -> bool { return (bitcast<u32>(v) & 0x7fffffffu) > 0x7f800000u; }
// min(v, most) that keeps a NaN; most > 0.
fn at_most(v: f32, most: f32) -> f32 {
    let b = bitcast<i32>(v);
    let m = bitcast<i32>(most);
    return bitcast<f32>(select(b, m, b > m && b <= BITS_INF));
}
// f(v), or v where that is a NaN: a driver's exp may make a number of it (SwiftShader's does).
fn of_number(f_v: f32, v: f32) -> f32 {
    return bitcast<f32>(select(bitcast<u32>(f_v), bitcast<u32>(v), is_nan(v)));
}
fn exp_or_nan(v: f32) -> f32 { return of_number(exp(v), v); }
