//! The CPU twins: one file per kernel, generic over the scalar.
//!
//! In `f64` a twin is the oracle of the tests; in `f32`, over rayon and the `gemm` crate, it is the CPU
//! executor. Twins are plain functions over slices and import nothing else of this crate.
//! Layouts are those of the kernels: activations NHWC, convolution weights KRSC, matrices row-major.

use std::fmt::Debug;
use std::iter::Sum;

/// The float type a twin computes in: `f32` (execution) or `f64` (oracle).
pub trait Scalar:
    num_traits::Float + num_traits::NumAssign + Sum + Send + Sync + Debug + Default + bytemuck::Pod
{
    /// Machine epsilon as f64, for bounds.
    const EPS: f64;
    /// Nearest value of this type.
    fn of(x: f64) -> Self;
    /// The value as f64 (exact).
    fn f64(self) -> f64;
}

impl Scalar for f32 {
    const EPS: f64 = f32::EPSILON as f64;
    fn of(x: f64) -> Self {
        x as f32
    }
    fn f64(self) -> f64 {
        f64::from(self)
    }
}

impl Scalar for f64 {
    const EPS: f64 = f64::EPSILON;
    fn of(x: f64) -> Self {
        x
    }
    fn f64(self) -> f64 {
        self
    }
}
