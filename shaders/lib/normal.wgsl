// Phi, the distribution function of the standard normal, and e = exp(-x^2/2), for elements V (which the kernel
// declares).
// With t = 1 / (1 + 0.4 |x| / sqrt 2), erfc(|x| / sqrt 2) = e r(t); r was fitted to a relative error of 9e-8, so that
// Phi has its digits in the lower tail too. An error function would lose them in 1 + erf. exp's error of 3 + x^2 units
// is relative, where Phi and e are small.
struct Normal { phi: V, e: V }
fn normal(x: V) -> Normal {
    let t = V(1.0) / (V(1.0) + abs(x) * 0.28284271247);
    let e = exp(-0.5 * x * x);
    var r = V(0.0733139751);
    r = fma(r, t, V(-0.39343967));
    r = fma(r, t, V(0.691050704));
    r = fma(r, t, V(-0.393853434));
    r = fma(r, t, V(0.432744204));
    r = fma(r, t, V(0.124161963));
    r = fma(r, t, V(0.242065557));
    r = fma(r, t, V(0.223871533));
    r = fma(r, t, V(8.5078963e-05));
    let tail = 0.5 * r * e;
    return Normal(select(V(1.0) - tail, tail, x < V(0.0)), e);
}
