// Sums of eight rows by sixteen columns in a thread, for drivers that run on CPUs: the factors of its rows are its own,
// those of the columns come from the subgroup's lanes (lib/lanes.wgsl).
// The order is by four columns at a time, and within them by rows: their factors are had from the lanes just before,
// and serve eight rows. Rows first took up to 1.3 times as long on lavapipe (product 1024^3, Mesa 22.3.6).
#import outer
#import lanes
// Four columns: rows 0 to 3, rows 4 to 7.
struct Rows8 { top: mat4x4<f32>, bottom: mat4x4<f32> }
struct Sums8 { c0: Rows8, c1: Rows8, c2: Rows8, c3: Rows8 }
// Adds four products to each sum of four columns: a and b have a column a row, w one a product.
fn chained8x4(s: Rows8, a: mat4x4<f32>, b: mat4x4<f32>, w: mat4x4<f32>) -> Rows8 {
    let t0 = chained(s.top[0], a[0], w);
    let t1 = chained(s.top[1], a[1], w);
    let t2 = chained(s.top[2], a[2], w);
    let t3 = chained(s.top[3], a[3], w);
    let b0 = chained(s.bottom[0], b[0], w);
    let b1 = chained(s.bottom[1], b[1], w);
    let b2 = chained(s.bottom[2], b[2], w);
    let b3 = chained(s.bottom[3], b[3], w);
    return Rows8(mat4x4<f32>(t0, t1, t2, t3), mat4x4<f32>(b0, b1, b2, b3));
}
// Adds four products to each sum. Column kk of `top` and `bottom`: the kk-th factors of rows 0 to 3 and of rows 4 to 7.
// Piece 4 kk + i of w: the kk-th factors of columns 4 i to 4 i + 3.
fn add_by_rows(sums: ptr<function, Sums8>, top: mat4x4<f32>, bottom: mat4x4<f32>, w: Sixteen) {
    let a = transpose(top);
    let b = transpose(bottom);
    (*sums).c0 = chained8x4((*sums).c0, a, b, column_0(w));
    (*sums).c1 = chained8x4((*sums).c1, a, b, column_1(w));
    (*sums).c2 = chained8x4((*sums).c2, a, b, column_2(w));
    (*sums).c3 = chained8x4((*sums).c3, a, b, column_3(w));
}
// The same where piece j of w is the four factors of column j.
fn add_by_columns(sums: ptr<function, Sums8>, top: mat4x4<f32>, bottom: mat4x4<f32>, w: Sixteen) {
    let a = transpose(top);
    let b = transpose(bottom);
    (*sums).c0 = chained8x4((*sums).c0, a, b, transpose(first_four(w)));
    (*sums).c1 = chained8x4((*sums).c1, a, b, transpose(second_four(w)));
    (*sums).c2 = chained8x4((*sums).c2, a, b, transpose(third_four(w)));
    (*sums).c3 = chained8x4((*sums).c3, a, b, transpose(fourth_four(w)));
}
// Sixteen columns of a row; i is 0 to 3.
fn top_row(s: Sums8, i: u32) -> mat4x4<f32> {
    return mat4x4<f32>(s.c0.top[i], s.c1.top[i], s.c2.top[i], s.c3.top[i]);
}
fn bottom_row(s: Sums8, i: u32) -> mat4x4<f32> {
    return mat4x4<f32>(s.c0.bottom[i], s.c1.bottom[i], s.c2.bottom[i], s.c3.bottom[i]);
}
