//! The ops: one file each with shape rule, gradient rule, dispatches and a pointer to the twin.

pub mod accumulate;
pub mod adamw;
pub mod add;
pub mod amcl_form;
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
mod channels;
pub mod class_votes;
pub mod column_sum;
pub mod constant;
pub mod conv2d;
pub mod conv2d_input_grad;
pub mod conv2d_weight_grad;
pub mod deviation_hinge;
pub mod deviation_hinge_grad;
mod elementwise;
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
pub mod positives;
pub mod prepend_column;
pub mod prepend_column_grad;
pub mod reciprocal;
pub mod relu;
pub mod relu_grad;
pub mod reshape;
pub mod row_dot;
pub mod row_scale;
mod rows;
pub mod sample_views;
pub mod scale;
pub mod sgd;
pub mod softmax;
pub mod softmax_grad;
pub mod squared_distance;
pub mod standardize_columns;
pub mod standardize_columns_grad;
pub mod stop_gradient;
pub mod sugar;
pub mod sum_all;
pub mod swap_axes;
pub mod tiles;
pub mod top_k;
pub mod top_k_stream;
pub mod unscale;

use crate::graph::backward::Builders;
use crate::graph::{Graph, Result, TensorId};

/// Appends the gradient of the scalar `loss` (shape [1]) with respect to `wrt`; see
/// [`crate::graph::backward::backward`]. The pass is seeded with the step's loss scale.
///
/// # Errors
/// An op without a gradient rule on the way.
pub fn backward(g: &mut Graph, loss: TensorId, wrt: &[TensorId]) -> Result<Vec<Option<TensorId>>> {
    let builders = Builders {
        add: || add::Add,
        seed: |ty| constant::Constant {
            shape: ty.shape.clone(),
            value: 1.0,
        },
    };
    crate::graph::backward::backward(g, loss, wrt, &builders)
}
