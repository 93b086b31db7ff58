//! The ops: one file each with shape rule, gradient rule, dispatches and a pointer to the twin.

#[doc(hidden)]
pub mod abs_difference;
pub(crate) mod abs_difference_grad;
pub mod accumulate;
pub(crate) mod adamw;
pub mod add;
pub mod add_rows;
pub mod all_gather_rows;
#[doc(hidden)]
pub mod amcl_form;
pub(crate) mod amcl_loss;
pub(crate) mod amcl_loss_grad;
pub(crate) mod amcl_pair_loss;
pub(crate) mod amcl_pair_loss_grad;
#[doc(hidden)]
pub mod amcl_stream;
pub(crate) mod amcl_stream_grad;
pub(crate) mod amcl_stream_of_ranks;
pub mod attention;
pub(crate) mod attention_grad;
pub mod attention_row;
pub mod augment;
pub(crate) mod barlow_loss;
pub(crate) mod barlow_loss_grad;
pub(crate) mod barlow_stream;
pub(crate) mod barlow_stream_grad;
pub mod batch_norm;
pub(crate) mod batch_norm_grad;
pub(crate) mod batch_norm_of_ranks;
pub(crate) mod batch_norm_running;
pub mod begin_mean_of_ranks;
pub mod broadcast_scalar;
pub mod cast_f16;
pub mod cast_f32;
#[doc(hidden)]
pub mod centre_scores;
pub(crate) mod centre_scores_grad;
mod channels;
pub mod class_votes;
pub mod column_sum;
pub mod concat_tokens;
pub mod constant;
pub mod conv2d;
pub(crate) mod conv2d_input_grad;
pub(crate) mod conv2d_weight_grad;
pub mod deviation_hinge;
pub(crate) mod deviation_hinge_grad;
pub mod drop_path;
mod elementwise;
pub mod ema;
pub mod end_mean_of_ranks;
pub mod enqueue;
pub mod exp;
pub mod first_rows;
pub(crate) mod first_rows_grad;
pub(crate) mod fma_probe;
pub mod from_owners;
pub mod gather_rows;
pub mod gelu;
pub(crate) mod gelu_grad;
pub mod gemm;
pub mod global_avg_pool;
pub(crate) mod global_avg_pool_grad;
pub mod l2_normalize;
pub(crate) mod l2_normalize_grad;
pub(crate) mod lars_trust;
pub mod layer_norm;
pub(crate) mod layer_norm_grad;
pub mod level_embedding;
pub mod log_sum_exp;
pub(crate) mod loss_scale;
pub mod mask_ranks;
pub mod masked_mse;
pub(crate) mod masked_mse_grad;
pub mod max_pool;
pub(crate) mod max_pool_grad;
pub mod mean_of_ranks;
pub(crate) mod micro_part;
pub(crate) mod mix_images;
pub(crate) mod moments_of_ranks;
pub mod mul;
pub mod nearest;
pub mod pixel_noise;
pub(crate) mod positives;
pub mod prepend_column;
pub(crate) mod prepend_column_grad;
pub mod rand_augment;
pub mod reciprocal;
pub mod reduce_scatter_rows;
pub mod relu;
pub(crate) mod relu_grad;
pub mod reshape;
pub mod row_dot;
pub mod row_scale;
mod rows;
pub(crate) mod sample_views;
pub mod scale;
#[doc(hidden)]
pub mod sgd;
pub mod slice_tokens;
pub(crate) mod slice_tokens_grad;
pub mod softmax;
pub(crate) mod softmax_grad;
pub mod squared_distance;
pub mod standardize_columns;
pub(crate) mod standardize_columns_grad;
pub mod standardize_rows;
pub mod stop_gradient;
pub(crate) mod sugar;
pub mod sum_all;
pub mod sum_of_ranks;
pub mod swap_axes;
pub mod take_tokens;
pub(crate) mod take_tokens_grad;
#[doc(hidden)]
pub mod tiles;
pub mod top_k;
pub(crate) mod top_k_stream;
pub(crate) mod unscale;
pub(crate) mod views_of_ranks;

use crate::comm;
use crate::graph::backward::Builders;
use crate::graph::{Graph, GraphError, Result, TensorId};
use crate::reference::Scalar;

/// Appends the gradient of the scalar `loss` (shape [1]) with respect to `wrt`: for each, the tensor that holds its
/// gradient, or none where the loss does not depend on it. The pass is seeded with the step's loss scale.
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

/// What an exchange between ranks gave, or NaN: a node cannot fail. Whoever runs the graph asks [`comm::World::check`].
fn exchanged<T: Scalar>(made: comm::Result<Vec<T>>, out: &mut [T]) {
    exchanged_parts(made, &mut [out]);
}

/// As [`exchanged`], several tensors one after the other.
fn exchanged_parts<T: Scalar>(made: comm::Result<Vec<T>>, out: &mut [&mut [T]]) {
    let mut first = 0;
    for part in out {
        let end = first + part.len();
        match &made {
            Ok(values) => part.copy_from_slice(&values[first..end]),
            Err(_) => part.fill(T::nan()),
        }
        first = end;
    }
}

/// The error of an op without kernels of which dispatches are asked.
fn hosts_alone(op: &str) -> Result<()> {
    Err(GraphError::Invalid(format!(
        "{op} is an exchange between ranks: it is the host's, and has no kernel"
    )))
}
