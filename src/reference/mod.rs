//! The CPU twins: one file per kernel, generic over the scalar.
//!
//! In `f64` a twin is the oracle of the tests; in `f32`, over rayon and the `gemm` crate, it is the CPU executor. Twins
//! are plain functions over slices and import nothing else of this crate. Memory for intermediate results comes from
//! [`scratch`], which keeps it, so that a step allocates nothing.
//! Layouts are those of the kernels: activations NHWC, convolution weights KRSC, matrices row-major.

pub mod accumulate;
pub mod adamw;
pub mod add;
pub mod amcl_loss;
pub mod amcl_loss_grad;
pub mod amcl_pair_loss;
pub mod amcl_pair_loss_grad;
pub mod amcl_stream;
pub mod amcl_stream_grad;
pub mod augment;
pub mod barlow_loss;
pub mod barlow_loss_grad;
pub mod barlow_stream;
pub mod barlow_stream_grad;
pub mod batch_norm;
pub mod batch_norm_grad;
pub mod batch_norm_running;
pub mod broadcast_scalar;
pub mod cast_f16;
pub mod cast_f32;
pub mod centre_scores;
pub mod centre_scores_grad;
pub mod class_votes;
pub mod column_sum;
pub mod constant;
pub mod conv2d;
pub mod conv2d_input_grad;
pub mod conv2d_weight_grad;
pub mod deviation_hinge;
pub mod deviation_hinge_grad;
pub mod elementwise;
pub mod ema;
pub mod enqueue;
pub mod exp;
pub mod first_rows;
pub mod first_rows_grad;
pub mod fma_probe;
pub mod gather_rows;
pub mod gemm;
pub mod global_avg_pool;
pub mod global_avg_pool_grad;
pub mod l2_normalize;
pub mod l2_normalize_grad;
pub mod lars_trust;
pub mod log_sum_exp;
pub mod loss_scale;
pub mod max_pool;
pub mod max_pool_grad;
pub mod micro_part;
pub mod mul;
pub mod nearest;
#[cfg_attr(
    not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")),
    allow(dead_code, reason = "no kernels are named for this architecture")
)]
mod packed;
pub mod philox;
pub mod positives;
pub mod prepend_column;
pub mod prepend_column_grad;
pub mod reciprocal;
pub mod relu;
pub mod relu_grad;
pub mod reshape;
pub mod row_dot;
pub mod row_scale;
pub mod sample_views;
pub mod scale;
pub mod scratch;
pub mod sgd;
pub mod softmax;
pub mod softmax_grad;
pub mod squared_distance;
pub mod standardize_columns;
pub mod standardize_columns_grad;
pub mod stop_gradient;
pub mod sum_all;
pub mod swap_axes;
pub mod temperature;
pub mod top_k;
pub mod top_k_stream;
pub mod unscale;
mod winograd;

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
    /// The nearest half (IEEE binary16, ties to even, infinite past 65,504), as this type.
    fn half(self) -> Self;
}

impl Scalar for f32 {
    const EPS: f64 = f32::EPSILON as f64;
    fn of(x: f64) -> Self {
        x as f32
    }
    fn f64(self) -> f64 {
        f64::from(self)
    }
    fn half(self) -> Self {
        half::f16::from_f32(self).to_f32()
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
    fn half(self) -> Self {
        half::f16::from_f64(self).to_f64()
    }
}
