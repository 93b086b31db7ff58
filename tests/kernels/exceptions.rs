//! What the table's rules do not ask of some ops, with the reason. An exception that is no longer needed fails.
//!
//! There is one list: every kernel has a broken shader, and every gradient rule a case that is differenced.

/// Cases that refuse bindings of 64 KiB, which other ops split their tensors for: the reason, and the cases' titles.
pub const BOUND_WHOLE: &[(&str, &[&str])] = &[
    (
        "a head's matrix of correlations is bound whole: its loss sums over rows and columns",
        &[
            "barlow_loss [1,130,130] adaptive on the diagonal false, off it false",
            "barlow_loss [1,130,130] [1,130,130] adaptive on the diagonal true, off it true",
            "barlow_loss [1,130,130] [1,130,130] adaptive on the diagonal true, off it false",
            "barlow_loss [1,130,130] [1,130,130] adaptive on the diagonal false, off it true",
        ],
    ),
    (
        "images are split where their rows of the table begin at a multiple of 256 bytes: each 64, 32 or 64 images",
        &[
            "rand_augment [17,32,32,3] [17,7] 1 operations",
            "rand_augment [17,32,32,3] [17,14] 2 operations",
            "rand_augment [17,32,32,3] [17,21] 3 operations",
        ],
    ),
    (
        "the sum runs over the rows, which are bound whole",
        &["column_sum [4,129,33]", "column_sum [1,2048,128]"],
    ),
    (
        "the batch is split; one image and the weight are bound whole",
        &[
            "conv2d [2,4,4,64] [64,3,3,64] stride 1 padding 1",
            "conv2d [1,8,8,64] [128,3,3,64] stride 2 padding 1",
            "conv2d [6,9,7,40] [56,3,3,40] stride 1 padding 1",
            "conv2d [2,33,30,32] [64,3,3,32] stride 1 padding 0",
            "conv2d [2,33,30,32] [64,3,3,32] stride 1 padding 0 f16",
            "conv2d [1,8,8,64] [128,3,3,64] stride 2 padding 1 f16",
            "conv2d [2,4,4,64] [64,3,3,64] stride 1 padding 1 f16",
            "conv2d_input_grad [2,4,4,64] [64,3,3,64] stride 1 padding 1",
            "conv2d_input_grad [1,4,4,128] [128,3,3,64] stride 2 padding 1",
            "conv2d_input_grad [6,9,7,56] [56,3,3,40] stride 1 padding 1",
            "conv2d_input_grad [2,31,28,64] [64,3,3,32] stride 1 padding 0",
            "conv2d_input_grad [2,31,28,64] [64,3,3,32] stride 1 padding 0 f16",
            "conv2d_input_grad [1,4,4,128] [128,3,3,64] stride 2 padding 1 f16",
            "conv2d_input_grad [2,4,4,64] [64,3,3,64] stride 1 padding 1 f16",
        ],
    ),
    (
        "the batch is split; one image, the weight's gradient and its partial sums are bound whole",
        &[
            "conv2d_weight_grad [2,4,4,64] [2,4,4,64] stride 1 padding 1",
            "conv2d_weight_grad [1,8,8,64] [1,4,4,128] stride 2 padding 1",
            "conv2d_weight_grad [6,9,7,40] [6,9,7,56] stride 1 padding 1",
            "conv2d_weight_grad [2,33,30,32] [2,31,28,64] stride 1 padding 0",
            "conv2d_weight_grad [6,61,61,16] [6,61,61,16] stride 1 padding 1",
            "conv2d_weight_grad [6,62,60,16] [6,62,60,16] stride 1 padding 1",
            "conv2d_weight_grad [2,33,30,32] [2,31,28,64] stride 1 padding 0 f16",
            "conv2d_weight_grad [6,62,60,16] [6,62,60,16] stride 1 padding 1 f16",
            "conv2d_weight_grad [1,8,8,64] [1,4,4,128] stride 2 padding 1 f16",
            "conv2d_weight_grad [2,4,4,64] [2,4,4,64] stride 1 padding 1 f16",
            "conv2d_weight_grad [33,2,2,8] [33,4,4,500] stride 1 padding 1",
            "conv2d_weight_grad [33,2,2,8] [33,4,4,500] stride 1 padding 1 f16",
            "conv2d_weight_grad [72,2,2,8] [72,2,2,124] stride 1 padding 1",
            "conv2d_weight_grad [9,8,8,248] [9,4,4,4] stride 2 padding 1",
            "conv2d_weight_grad [9,8,8,248] [9,4,4,4] stride 2 padding 1 f16",
        ],
    ),
    (
        "rows of A, unless it is transposed, and of the result are split at multiples of 256 bytes; the rest is not",
        &[
            "gemm [129,130] [129,67] TN",
            "gemm [129,130] [67,129] TT",
            "gemm [3,256] [256,128] NN",
            "gemm [3,256] [128,256] NT",
            "gemm [256,3] [256,128] TN",
            "gemm [256,3] [128,256] TT",
            "gemm [2044,4] [4,2040] large tiles",
            "gemm [61,3] [3,16402] large tiles",
            "gemm [260,84] [84,196] several tiles false false",
            "gemm [260,84] [196,84] several tiles false true",
            "gemm [84,260] [84,196] several tiles true false",
            "gemm [84,260] [196,84] several tiles true true",
            "gemm [8200,2] [8200,2] more than 65535 groups",
            "gemm [61,3] [3,16402] large tiles f16",
            "gemm [2044,4] [4,2040] large tiles f16",
            "gemm [84,260] [84,196] several tiles true false f16",
            "gemm [84,260] [196,84] several tiles true true f16",
        ],
    ),
    (
        "a batch is split where its matrices begin at a multiple of 256 bytes: each 64 matrices",
        &["gemm [7,61,20] [7,20,47] [47] many matrices"],
    ),
    (
        "means and deviations are of columns, whose rows are bound whole",
        &[
            "standardize_columns [1,256,130]",
            "standardize_columns [1,256,130] as batch norm",
        ],
    ),
    (
        "its sums are of columns, whose rows are bound whole",
        &[
            "standardize_columns_grad [1,256,130] [1,256,130] [1,130]",
            "standardize_columns_grad [1,256,130] [1,256,130] [1,130] as batch norm",
        ],
    ),
];

/// Why the case of this title may refuse small bindings; `None`: it may not.
pub fn bound_whole(title: &str) -> Option<&'static str> {
    let mut listed = BOUND_WHOLE.iter();
    listed.find_map(|(why, titles)| titles.contains(&title).then_some(*why))
}
