// Which columns of a row are candidates, by p.arrangement (reference/top_k.rs, Layout):
// 0: every column. 1, NT-Xent: rows 0..A/2 are view 1, A/2..A view 2, the positive of row i is (i + A/2) mod A; the
// row itself never is a candidate. 2, pairs: column 0 is the positive. 3, diagonal: column i is the positive of row i.
// The positive is a candidate only with p.include_positive = 1.
fn positive_of(i: u32) -> u32 {
    if p.arrangement == 3u { return i; }
    return select(0u, (i + p.a / 2u) % p.a, p.arrangement == 1u);
}
fn is_candidate(i: u32, j: u32) -> bool {
    if p.arrangement == 0u { return true; }
    return !(p.arrangement == 1u && j == i) && (p.include_positive == 1u || j != positive_of(i));
}
