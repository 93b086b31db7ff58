//! The exponential, the logarithm and the normal distribution in f32 by arithmetic alone, so that loops with them are
//! compiled to vectors. (The standard library's exponential and logarithm are calls.)

/// e^x for x up to 88, 0 below -87; largest relative error 1.2e-7 (tested).
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    /// 1.5 * 2^23: a sum with it is a whole number.
    const ROUND: f32 = 12_582_912.0;
    let bounded = x.clamp(-87.0, 88.0);
    // x = n ln 2 + r, |r| <= ln 2 / 2. ln 2 stands in two parts, the first of which n multiplies exactly.
    let sum = bounded * std::f32::consts::LOG2_E + ROUND;
    let n = sum - ROUND;
    let r = (bounded - n * (355.0 / 512.0)) + n * 2.121_944_4e-4;
    // e^r = 1 + r + r^2 q(r): the polynomial of Cephes' expf.
    let q = 1.987_569_1e-4;
    let q = q * r + 1.398_2e-3;
    let q = q * r + 8.333_452e-3;
    let q = q * r + 4.166_579_6e-2;
    let q = q * r + 1.666_666_5e-1;
    let q = q * r + 0.5;
    // 2^n: n stands in the low bits of the sum, the exponent's bias is 127.
    let scale = f32::from_bits((sum.to_bits() << 23).wrapping_add(127 << 23));
    let y = (q * (r * r) + r + 1.0) * scale;
    if x < -87.0 { 0.0 } else { y }
}

/// ln x for x from 1.2e-38 (the least normal number) on, NaN below 0; largest error 1e-7, relative to the larger of the
/// result and 1 (tested).
#[inline(always)]
pub(super) fn ln(x: f32) -> f32 {
    /// The bits of the root of 1/2.
    const ROOT: u32 = 0x3f35_04f3;
    // x = 2^n (1 + t), with 1 + t from the root of 1/2 to that of 2.
    let bits = x.to_bits();
    let shifted = bits.wrapping_sub(ROOT) as i32 >> 23;
    let n = shifted as f32;
    let t = f32::from_bits(bits.wrapping_sub((shifted as u32) << 23)) - 1.0;
    // ln(1 + t) = t - t^2 / 2 + t^3 p(t): the polynomial of Cephes' logf.
    const P: [f32; 9] = [
        7.037_683_6e-2,
        -0.115_146_1,
        0.116_769_984,
        -0.124_201_4,
        0.142_493_23,
        -0.166_680_57,
        0.200_007_15,
        -0.249_999_94,
        0.333_333_3,
    ];
    let mut p = P[0];
    for c in &P[1..] {
        p = p * t + c;
    }
    let z = t * t;
    // ln 2 in two parts, as in `exp`.
    let y = t * z * p - n * 2.121_944_4e-4 - 0.5 * z;
    let y = (t + y) + n * (355.0 / 512.0);
    // An infinite or missing number stays one; below 0 there is none.
    let other = if x > 0.0 { x } else { f32::NAN };
    if x > 0.0 && x <= f32::MAX { y } else { other }
}

/// Phi(x), the distribution function of the standard normal, and exp(-x^2 / 2), from which its density is made.
///
/// For t = 1 / (1 + 0.4 |x| / sqrt 2), erfc(|x| / sqrt 2) = exp(-x^2 / 2) r(t); the polynomial r was fitted to a
/// relative error of 9e-8. Phi's error is 2.2e-7 at most, and relative in the tail (`shaders/lib/normal.wgsl`).
#[inline(always)]
pub(super) fn normal(x: f32) -> (f32, f32) {
    const R: [f32; 9] = [
        7.331_397_4e-2,
        -0.393_439_67,
        0.691_050_7,
        -0.393_853_43,
        0.432_744_2,
        0.124_161_96,
        0.242_065_56,
        0.223_871_53,
        8.507_896_3e-5,
    ];
    let t = 1.0 / (1.0 + x.abs() * (0.4 * std::f32::consts::FRAC_1_SQRT_2));
    let e = exp(-0.5 * x * x);
    let mut r = R[0];
    for c in &R[1..] {
        r = r * t + c;
    }
    let tail = 0.5 * r * e;
    (if x < 0.0 { tail } else { 1.0 - tail }, e)
}

#[cfg(test)]
mod tests {
    use super::{exp, ln, normal};

    #[test]
    fn exp_is_within_its_error() {
        let mut worst = 0f64;
        for i in -870_000..=880_000 {
            let x = i as f32 * 1e-4;
            let want = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) / want - 1.0).abs());
        }
        assert!(worst < 1.2e-7, "{worst:.2e}");
        assert_eq!((exp(0.0), exp(-87.1), exp(-3e38)), (1.0, 0.0, 0.0));
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn ln_is_within_its_error() {
        let mut worst = 0f64;
        // All exponents, and 1,000 numbers between powers of two.
        for i in 0..254_000u32 {
            let x = f32::from_bits(0x0080_0000 + i * 8389);
            let want = f64::from(x).ln();
            worst = worst.max((f64::from(ln(x)) - want).abs() / want.abs().max(1.0));
        }
        assert!(worst < 1e-7, "{worst:.2e}");
        assert_eq!((ln(1.0), ln(f32::INFINITY)), (0.0, f32::INFINITY));
        assert!(ln(f32::NAN).is_nan() && ln(-1.0).is_nan());
    }

    #[test]
    fn normal_is_within_its_error() {
        let (mut phi, mut density) = (0f64, 0f64);
        for i in -130_000..=130_000 {
            let x = i as f32 * 1e-4;
            let got = normal(x);
            let want = 0.5 * libm::erfc(-f64::from(x) / 2f64.sqrt());
            phi = phi.max((f64::from(got.0) - want).abs());
            density = density.max((f64::from(got.1) - (-0.5 * f64::from(x).powi(2)).exp()).abs());
        }
        assert!(phi < 2.2e-7 && density < 2e-7, "{phi:.2e} {density:.2e}");
        assert_eq!(normal(1e4), (1.0, 0.0));
        assert_eq!(normal(-1e4), (0.0, 0.0));
    }
}
