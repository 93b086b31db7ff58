// Which columns of a row are candidates. NT-Xent layout (p.ntxent = 1): rows 0..A/2 are view 1, A/2..A view 2, the positive of row i is (i + A/2) mod A; the row itself never
// is a candidate, the positive only with p.include_positive = 1. Otherwise every column is one.
fn positive_of(i: u32) -> u32 { return (i + p.a / 2u) % p.a; }
fn is_candidate(i: u32, j: u32) -> bool {
    return p.ntxent == 0u || (j != i && (p.include_positive == 1u || j != positive_of(i)));
}
