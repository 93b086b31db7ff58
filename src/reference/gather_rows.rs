//! Twin of `shaders/gather_rows.wgsl`.

/// `y_i = table_{index_i}`, rows of `width` words.
pub fn gather_rows(width: usize, table: &[u32], index: &[u32], y: &mut [u32]) {
    for (y, i) in y.chunks_exact_mut(width).zip(index) {
        let at = *i as usize * width;
        y.copy_from_slice(&table[at..at + width]);
    }
}
