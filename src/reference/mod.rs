//! The CPU twins: one file per kernel, generic over the scalar.
//!
//! In `f64` a twin is the oracle of the tests; in `f32`, over rayon and the `gemm` crate, it is the CPU executor. Twins
//! are plain functions over slices and import nothing else of this crate. Memory for intermediate results comes from
//! `scratch`, which keeps it, so that a step allocates nothing.
//! Layouts are those of the kernels: activations NHWC, convolution weights KRSC, matrices row-major.

pub(crate) mod abs_difference;
pub(crate) mod abs_difference_grad;
pub(crate) mod accumulate;
pub(crate) mod adamw;
pub(crate) mod add;
pub(crate) mod add_rows;
pub(crate) mod amcl_loss;
pub(crate) mod amcl_loss_grad;
pub(crate) mod amcl_pair_loss;
pub(crate) mod amcl_pair_loss_grad;
pub(crate) mod amcl_stream;
pub(crate) mod amcl_stream_grad;
pub(crate) mod attention;
pub(crate) mod attention_grad;
pub(crate) mod attention_row;
pub mod augment;
pub(crate) mod barlow_loss;
pub(crate) mod barlow_loss_grad;
pub(crate) mod barlow_stream;
pub(crate) mod barlow_stream_grad;
pub(crate) mod batch_norm;
pub(crate) mod batch_norm_grad;
pub(crate) mod batch_norm_running;
pub(crate) mod broadcast_scalar;
pub(crate) mod cast_f16;
pub(crate) mod cast_f32;
pub(crate) mod centre_scores;
pub(crate) mod centre_scores_grad;
pub(crate) mod class_votes;
pub(crate) mod column_sum;
pub(crate) mod concat_tokens;
pub(crate) mod constant;
pub(crate) mod conv2d;
pub(crate) mod conv2d_input_grad;
pub(crate) mod conv2d_weight_grad;
pub(crate) mod deviation_hinge;
pub(crate) mod deviation_hinge_grad;
pub(crate) mod drop_path;
pub(crate) mod elementwise;
pub(crate) mod ema;
pub(crate) mod enqueue;
pub(crate) mod exp;
mod exponential;
pub(crate) mod first_rows;
pub(crate) mod first_rows_grad;
pub(crate) mod fma_probe;
pub(crate) mod gather_rows;
pub(crate) mod gelu;
pub(crate) mod gelu_grad;
pub(crate) mod gemm;
pub(crate) mod global_avg_pool;
pub(crate) mod global_avg_pool_grad;
pub(crate) mod l2_normalize;
pub(crate) mod l2_normalize_grad;
pub(crate) mod lars_trust;
pub(crate) mod layer_norm;
pub(crate) mod layer_norm_grad;
pub(crate) mod level_embedding;
pub(crate) mod log_sum_exp;
pub(crate) mod loss_scale;
pub(crate) mod mask_ranks;
pub(crate) mod masked_mse;
pub(crate) mod masked_mse_grad;
pub(crate) mod max_pool;
pub(crate) mod max_pool_grad;
pub(crate) mod micro_part;
pub(crate) mod mix_images;
pub(crate) mod mul;
pub(crate) mod nearest;
#[cfg_attr(
    not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")),
    allow(dead_code, reason = "no kernels are named for this architecture")
)]
mod packed;
pub mod philox;
pub(crate) mod pixel_noise;
pub(crate) mod positives;
pub(crate) mod prepend_column;
pub(crate) mod prepend_column_grad;
pub(crate) mod rand_augment;
pub(crate) mod reciprocal;
pub(crate) mod relu;
pub(crate) mod relu_grad;
pub(crate) mod reshape;
pub(crate) mod row_dot;
pub(crate) mod row_scale;
pub(crate) mod sample_views;
pub(crate) mod scale;
pub(crate) mod scratch;
pub(crate) mod sgd;
pub(crate) mod slice_tokens;
pub(crate) mod slice_tokens_grad;
pub(crate) mod softmax;
pub(crate) mod softmax_grad;
pub(crate) mod squared_distance;
pub(crate) mod standardize_columns;
pub(crate) mod standardize_columns_grad;
pub(crate) mod standardize_rows;
pub(crate) mod stop_gradient;
pub(crate) mod sum_all;
pub(crate) mod swap_axes;
pub(crate) mod take_tokens;
pub(crate) mod take_tokens_grad;
pub(crate) mod temperature;
pub(crate) mod top_k;
pub(crate) mod top_k_stream;
pub(crate) mod unscale;
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
    /// `max(self, least)` that keeps a NaN, which `max` of the standard library drops.
    #[inline(always)]
    fn at_least(self, least: Self) -> Self {
        if self <= least { least } else { self }
    }
    /// `min(self, most)` that keeps a NaN.
    #[inline(always)]
    fn at_most(self, most: Self) -> Self {
        if self >= most { most } else { self }
    }
    /// The gradient `dy` where a ReLU's result is `self`: 0 where that is 0, `dy` where it is positive or a NaN.
    #[inline(always)]
    fn lets_through(self, dy: Self) -> Self {
        if self <= Self::zero() {
            Self::zero()
        } else {
            dy
        }
    }
    /// e^x, for loops over many x up to 88: in f32 by arithmetic that is compiled to vectors, 0 below -87.
    fn exp_of_many(self) -> Self;
    /// ln x, for loops over many normal x above 0: in f32 by arithmetic that is compiled to vectors.
    fn ln_of_many(self) -> Self;
    /// The standard normal's distribution function, and exp(-x^2 / 2).
    fn normal(self) -> (Self, Self);
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
    #[inline(always)]
    fn exp_of_many(self) -> Self {
        exponential::exp(self)
    }
    #[inline(always)]
    fn ln_of_many(self) -> Self {
        exponential::ln(self)
    }
    #[inline(always)]
    fn normal(self) -> (Self, Self) {
        exponential::normal(self)
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
    fn exp_of_many(self) -> Self {
        self.exp()
    }
    fn ln_of_many(self) -> Self {
        self.ln()
    }
    fn normal(self) -> (Self, Self) {
        let phi = 0.5 * libm::erfc(-self * std::f64::consts::FRAC_1_SQRT_2);
        (phi, (-0.5 * self * self).exp())
    }
}
