// Order of floats as order of integers; -0 equals +0, and NaNs of either sign are larger than all numbers.
#import nan
fn key_of(v: f32) -> u32 {
    let b = select(bitcast<u32>(v), 0u, v == 0.0);
    return select(b | 0x80000000u, ~b, bitcast<i32>(b) <= BITS_MINUS_INF);
}

fn value_of(key: u32) -> f32 {
    return bitcast<f32>(select(~key, key & 0x7fffffffu, (key & 0x80000000u) != 0u));
}
