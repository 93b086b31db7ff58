//! The case table: one file an op.

use super::{Case, Mutation};

macro_rules! tables {
    ($($name:ident),* $(,)?) => {
        $(mod $name;)*
        /// Cases of all ops.
        pub(super) fn all() -> Vec<Case> {
            let mut v = Vec::new();
            $(v.extend($name::cases());)*
            v
        }
        /// Negative controls of all kernels.
        pub(super) fn all_mutations() -> Vec<Mutation> {
            let mut v = Vec::new();
            $(v.extend($name::mutations());)*
            v
        }
    };
}

// Alphabetical, one line an op.
tables! {
    accumulate,
    adamw,
    add,
    amcl_loss,
    amcl_loss_grad,
    amcl_pair_loss,
    amcl_pair_loss_grad,
    amcl_stream,
    amcl_stream_grad,
    augment,
    barlow_loss,
    barlow_loss_grad,
    barlow_stream,
    barlow_stream_grad,
    batch_norm,
    batch_norm_grad,
    batch_norm_running,
    broadcast_scalar,
    cast_f16,
    cast_f32,
    centre_scores,
    centre_scores_grad,
    class_votes,
    column_sum,
    constant,
    conv2d,
    conv2d_input_grad,
    conv2d_weight_grad,
    deviation_hinge,
    deviation_hinge_grad,
    ema,
    enqueue,
    exp,
    first_rows,
    first_rows_grad,
    fma_probe,
    gather_rows,
    gemm,
    global_avg_pool,
    global_avg_pool_grad,
    l2_normalize,
    l2_normalize_grad,
    lars_trust,
    log_sum_exp,
    loss_scale,
    max_pool,
    max_pool_grad,
    micro_part,
    mul,
    nearest,
    positives,
    prepend_column,
    prepend_column_grad,
    reciprocal,
    relu,
    relu_grad,
    reshape,
    row_dot,
    row_scale,
    sample_views,
    scale,
    sgd,
    softmax,
    softmax_grad,
    squared_distance,
    standardize_columns,
    standardize_columns_grad,
    stop_gradient,
    sum_all,
    swap_axes,
    top_k,
    top_k_stream,
    unscale,
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
