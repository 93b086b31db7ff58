//! Position embeddings of Vision Transformers: fixed tables of sines and cosines, and the change to another number of
//! patches.

/// The two-dimensional table [prefix + n n, d] of a grid of n x n patches, row-major; the first `prefix` rows (a class
/// token's) are zero. With q = d/4 and w_i = 10000^(-i/q), a patch in row r and column c has
/// [sin(c w), cos(c w), sin(r w), cos(r w)]: the column comes first, as in MAE (He et al., CVPR 2022; the code of
/// facebookresearch/mae). MoCo v3's code puts the row first.
///
/// d must be a multiple of 4; of a width that is none, the columns behind the last whole quarter are zero.
pub fn sin_cos(n: usize, d: usize, prefix: usize) -> Vec<f32> {
    let q = d / 4;
    let mut table = vec![0.0; (prefix + n * n) * d];
    for (patch, row) in table[prefix * d..].chunks_mut(d.max(1)).enumerate() {
        for (half, at) in [patch % n, patch / n].into_iter().enumerate() {
            for i in 0..q {
                let angle = at as f64 * 10000f64.powf(-(i as f64) / q as f64);
                row[2 * half * q + i] = angle.sin() as f32;
                row[(2 * half + 1) * q + i] = angle.cos() as f32;
            }
        }
    }
    table
}

/// A table of width d with the row first instead of the column, as MoCo v3's code has it, or the reverse: the halves
/// of every row are exchanged.
pub fn row_first(table: &[f32], d: usize) -> Vec<f32> {
    let rows = table.chunks(d.max(1));
    let halves = rows.map(|row| row.split_at(row.len() / 2));
    halves.flat_map(|(a, b)| [b, a].concat()).collect()
}

/// A cubic convolution kernel's weight at a distance x (Keys, 1981; a = -0.75, as PyTorch's `bicubic` has it).
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.75;
    let x = x.abs();
    match x {
        x if x <= 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
        x if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
        _ => 0.0,
    }
}

/// A table [prefix + n n, d] for a grid of m x m patches: the prefix stays, the grid is resized with a bicubic filter
/// (`torch.nn.functional.interpolate(mode="bicubic", align_corners=False)`, as MAE's `interpolate_pos_embed`).
/// `table` must have `(prefix + n n) d` values.
pub fn resized(table: &[f32], (n, m): (usize, usize), d: usize, prefix: usize) -> Vec<f32> {
    // For each output, four inputs (clamped to the grid) and their weights.
    let taps: Vec<[(usize, f64); 4]> = (0..m)
        .map(|o| {
            let centre = (o as f64 + 0.5) * n as f64 / m as f64 - 0.5;
            let first = centre.floor();
            std::array::from_fn(|k| {
                let at = first + k as f64 - 1.0;
                let inside = at.clamp(0.0, n as f64 - 1.0) as usize;
                (inside, cubic(centre - at))
            })
        })
        .collect();
    let grid = &table[prefix * d..];
    let mut out = table[..prefix * d].to_vec();
    for rows in &taps {
        for columns in &taps {
            for j in 0..d {
                let mut sum = 0.0;
                for (r, wr) in rows {
                    for (c, wc) in columns {
                        sum += wr * wc * f64::from(grid[(r * n + c) * d + j]);
                    }
                }
                out.push(sum as f32);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_come_first_and_the_class_token_has_none() {
        let (n, d) = (3, 8);
        let t = sin_cos(n, d, 1);
        assert_eq!(t.len(), (1 + n * n) * d);
        assert!(t[..d].iter().all(|v| *v == 0.0));
        // Row 1, column 2: frequencies 1 and 10000^(-1/2) = 0.01.
        let row = &t[(1 + n + 2) * d..][..d];
        let want = [2.0f64, 0.02].map(f64::sin).into_iter();
        let want = want.chain([2.0f64, 0.02].map(f64::cos));
        let want = want.chain([1.0f64, 0.01].map(f64::sin));
        let want: Vec<f64> = want.chain([1.0f64, 0.01].map(f64::cos)).collect();
        for (a, b) in row.iter().zip(&want) {
            // Rounded to f32 once: half a unit of 2^-24, values up to 1.
            assert!((f64::from(*a) - b).abs() < 6e-8, "{row:?} {want:?}");
        }
    }

    #[test]
    fn a_grid_is_resized_as_pytorch_does_it() {
        // A class token's row, then the grid.
        let table: Vec<f32> = (0..5).map(|v| (v * v) as f32).collect();
        // torch.nn.functional.interpolate(torch.tensor([[[[1., 4.], [9., 16.]]]]), (3, 3), mode="bicubic").
        let want = [
            0.0,
            0.075_279_7,
            1.631_944_4,
            3.188_609_2,
            4.565_972_2,
            7.5,
            10.434_028,
            9.056_665,
            13.368_056,
            17.679_446,
        ];
        let got = resized(&table, (2, 3), 1, 1);
        assert_eq!(got.len(), want.len());
        // The same size is the same table.
        assert_eq!(resized(&table, (2, 2), 1, 1), table);
        // Printed to 8 digits.
        for (a, b) in got.iter().zip(&want) {
            assert!((a - b).abs() < 2e-6, "{got:?}");
        }
    }
}
