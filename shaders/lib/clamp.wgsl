// Clamps that keep a NaN, of four numbers (VEC4) or one. They decide and choose among integers (lib/nan.wgsl): one
// operation more than `max` for the ReLU.
#import nan
#ifdef VEC4
alias Floats = vec4<f32>;
alias Bits = vec4<i32>;
alias Truths = vec4<bool>;
#else
alias Floats = f32;
alias Bits = i32;
alias Truths = bool;
#endif
// max(x, 0)
fn relu(x: Floats) -> Floats {
    let b = bitcast<Bits>(x);
    return bitcast<Floats>(select(Bits(0), b, b > Bits(BITS_MINUS_INF)));
}
// Does a ReLU with this result let the gradient through? It does where the result is a NaN, as in PyTorch.
fn lets_through(y: Floats) -> Truths {
    let b = bitcast<Bits>(y);
    return (b > Bits(BITS_MINUS_INF)) & (b != Bits(0));
}
// max(x, least); least > 0.
fn at_least(x: Floats, least: f32) -> Floats {
    let b = bitcast<Bits>(x);
    let l = Bits(bitcast<i32>(least));
    return bitcast<Floats>(select(l, b, (b >= l) | ((b > Bits(BITS_MINUS_INF)) & (b < Bits(0)))));
}
