//! The case table: one file an op.

mod abs_difference;
mod abs_difference_grad;
mod accumulate;
mod adamw;
mod add;
mod add_rows;
mod amcl_loss;
mod amcl_loss_grad;
mod amcl_pair_loss;
mod amcl_pair_loss_grad;
mod amcl_stream;
mod amcl_stream_grad;
mod attention;
mod attention_grad;
mod attention_row;
mod augment;
mod barlow_loss;
mod barlow_loss_grad;
mod barlow_stream;
mod barlow_stream_grad;
mod batch_norm;
mod batch_norm_grad;
mod batch_norm_running;
mod broadcast_scalar;
mod cast_f16;
mod cast_f32;
mod centre_scores;
mod centre_scores_grad;
mod class_votes;
mod column_sum;
mod concat_tokens;
mod constant;
mod conv2d;
mod conv2d_input_grad;
mod conv2d_weight_grad;
mod deviation_hinge;
mod deviation_hinge_grad;
mod drop_path;
mod ema;
mod enqueue;
mod exp;
mod first_rows;
mod first_rows_grad;
mod fma_probe;
mod gather_rows;
mod gelu;
mod gelu_grad;
mod gemm;
mod global_avg_pool;
mod global_avg_pool_grad;
mod l2_normalize;
mod l2_normalize_grad;
mod lars_trust;
mod layer_norm;
mod layer_norm_grad;
mod level_embedding;
mod log_sum_exp;
mod loss_scale;
mod mask_ranks;
mod masked_mse;
mod masked_mse_grad;
mod max_pool;
mod max_pool_grad;
mod micro_part;
mod mix_images;
mod mul;
mod nearest;
mod pixel_noise;
mod positives;
mod prepend_column;
mod prepend_column_grad;
mod rand_augment;
mod reciprocal;
mod relu;
mod relu_grad;
mod reshape;
mod row_dot;
mod row_scale;
mod sample_views;
mod scale;
mod sgd;
mod slice_tokens;
mod slice_tokens_grad;
mod softmax;
mod softmax_grad;
mod squared_distance;
mod standardize_columns;
mod standardize_columns_grad;
mod standardize_rows;
mod stop_gradient;
mod sum_all;
mod swap_axes;
mod take_tokens;
mod take_tokens_grad;
mod top_k;
mod top_k_stream;
mod unscale;

use super::{Case, Mutation};

/// What an op's file gives: its cases and its negative controls.
type Table = (fn() -> Vec<Case>, fn() -> Vec<Mutation>);

/// One line an op, alphabetical.
const TABLES: &[Table] = &[
    (abs_difference::cases, abs_difference::mutations),
    (abs_difference_grad::cases, abs_difference_grad::mutations),
    (accumulate::cases, accumulate::mutations),
    (adamw::cases, adamw::mutations),
    (add::cases, add::mutations),
    (add_rows::cases, add_rows::mutations),
    (amcl_loss::cases, amcl_loss::mutations),
    (amcl_loss_grad::cases, amcl_loss_grad::mutations),
    (amcl_pair_loss::cases, amcl_pair_loss::mutations),
    (amcl_pair_loss_grad::cases, amcl_pair_loss_grad::mutations),
    (amcl_stream::cases, amcl_stream::mutations),
    (amcl_stream_grad::cases, amcl_stream_grad::mutations),
    (attention::cases, attention::mutations),
    (attention_grad::cases, attention_grad::mutations),
    (attention_row::cases, attention_row::mutations),
    (augment::cases, augment::mutations),
    (barlow_loss::cases, barlow_loss::mutations),
    (barlow_loss_grad::cases, barlow_loss_grad::mutations),
    (barlow_stream::cases, barlow_stream::mutations),
    (barlow_stream_grad::cases, barlow_stream_grad::mutations),
    (batch_norm::cases, batch_norm::mutations),
    (batch_norm_grad::cases, batch_norm_grad::mutations),
    (batch_norm_running::cases, batch_norm_running::mutations),
    (broadcast_scalar::cases, broadcast_scalar::mutations),
    (cast_f16::cases, cast_f16::mutations),
    (cast_f32::cases, cast_f32::mutations),
    (centre_scores::cases, centre_scores::mutations),
    (centre_scores_grad::cases, centre_scores_grad::mutations),
    (class_votes::cases, class_votes::mutations),
    (column_sum::cases, column_sum::mutations),
    (concat_tokens::cases, concat_tokens::mutations),
    (constant::cases, constant::mutations),
    (conv2d::cases, conv2d::mutations),
    (conv2d_input_grad::cases, conv2d_input_grad::mutations),
    (conv2d_weight_grad::cases, conv2d_weight_grad::mutations),
    (deviation_hinge::cases, deviation_hinge::mutations),
    (deviation_hinge_grad::cases, deviation_hinge_grad::mutations),
    (drop_path::cases, drop_path::mutations),
    (ema::cases, ema::mutations),
    (enqueue::cases, enqueue::mutations),
    (exp::cases, exp::mutations),
    (first_rows::cases, first_rows::mutations),
    (first_rows_grad::cases, first_rows_grad::mutations),
    (fma_probe::cases, fma_probe::mutations),
    (gather_rows::cases, gather_rows::mutations),
    (gelu::cases, gelu::mutations),
    (gelu_grad::cases, gelu_grad::mutations),
    (gemm::cases, gemm::mutations),
    (global_avg_pool::cases, global_avg_pool::mutations),
    (global_avg_pool_grad::cases, global_avg_pool_grad::mutations),
    (l2_normalize::cases, l2_normalize::mutations),
    (l2_normalize_grad::cases, l2_normalize_grad::mutations),
    (lars_trust::cases, lars_trust::mutations),
    (layer_norm::cases, layer_norm::mutations),
    (layer_norm_grad::cases, layer_norm_grad::mutations),
    (level_embedding::cases, level_embedding::mutations),
    (log_sum_exp::cases, log_sum_exp::mutations),
    (loss_scale::cases, loss_scale::mutations),
    (mask_ranks::cases, mask_ranks::mutations),
    (masked_mse::cases, masked_mse::mutations),
    (masked_mse_grad::cases, masked_mse_grad::mutations),
    (max_pool::cases, max_pool::mutations),
    (max_pool_grad::cases, max_pool_grad::mutations),
    (micro_part::cases, micro_part::mutations),
    (mix_images::cases, mix_images::mutations),
    (mul::cases, mul::mutations),
    (nearest::cases, nearest::mutations),
    (pixel_noise::cases, pixel_noise::mutations),
    (positives::cases, positives::mutations),
    (prepend_column::cases, prepend_column::mutations),
    (prepend_column_grad::cases, prepend_column_grad::mutations),
    (rand_augment::cases, rand_augment::mutations),
    (reciprocal::cases, reciprocal::mutations),
    (relu::cases, relu::mutations),
    (relu_grad::cases, relu_grad::mutations),
    (reshape::cases, reshape::mutations),
    (row_dot::cases, row_dot::mutations),
    (row_scale::cases, row_scale::mutations),
    (sample_views::cases, sample_views::mutations),
    (scale::cases, scale::mutations),
    (sgd::cases, sgd::mutations),
    (slice_tokens::cases, slice_tokens::mutations),
    (slice_tokens_grad::cases, slice_tokens_grad::mutations),
    (softmax::cases, softmax::mutations),
    (softmax_grad::cases, softmax_grad::mutations),
    (squared_distance::cases, squared_distance::mutations),
    (standardize_columns::cases, standardize_columns::mutations),
    (
        standardize_columns_grad::cases,
        standardize_columns_grad::mutations,
    ),
    (standardize_rows::cases, standardize_rows::mutations),
    (stop_gradient::cases, stop_gradient::mutations),
    (sum_all::cases, sum_all::mutations),
    (swap_axes::cases, swap_axes::mutations),
    (take_tokens::cases, take_tokens::mutations),
    (take_tokens_grad::cases, take_tokens_grad::mutations),
    (top_k::cases, top_k::mutations),
    (top_k_stream::cases, top_k_stream::mutations),
    (unscale::cases, unscale::mutations),
];

/// Cases of all ops.
pub(super) fn all() -> Vec<Case> {
    TABLES.iter().flat_map(|(cases, _)| cases()).collect()
}

/// Negative controls of all kernels.
pub(super) fn all_mutations() -> Vec<Mutation> {
    TABLES.iter().flat_map(|(_, controls)| controls()).collect()
}

/// Negative controls of tiles with two buffers.
pub(super) fn two_buffer_mutations() -> Vec<Mutation> {
    gemm::two_buffers()
}

/// Negative controls of the kernels that use cooperative matrices.
pub(super) fn cooperative_mutations() -> Vec<Mutation> {
    gemm::cooperative()
}

/// The cases, and every second of them (from the larger end of a table) with these inputs in f16.
fn with_halves(cases: Vec<Case>, inputs: &[usize]) -> Vec<Case> {
    let halves: Vec<Case> = cases
        .iter()
        .rev()
        .step_by(2)
        .map(|c| c.clone().in_f16(inputs))
        .collect();
    cases.into_iter().chain(halves).collect()
}
