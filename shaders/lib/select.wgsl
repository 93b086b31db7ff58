// The kappa largest of a row's candidates s[base + j], j < p.n, as a threshold. Ties go to the lower column; -0
// equals +0. Exact: the kappa-th largest key is built from its highest bit down by counting; which of the columns
// that equal it belong is then told by the last of them, found likewise where not all do. kappa is clamped to the
// number of candidates.
// For a group of 64 threads a row, all of which call it alike. Needs p.n, s and is_candidate(i, j).
#import order
struct Threshold { key: u32, last: u32 }
var<workgroup> lane: array<u32, 64>;

fn selected(t: Threshold, key: u32, j: u32) -> bool { return key > t.key || (key == t.key && j <= t.last); }

fn total(l: u32, v: u32) -> u32 {
    workgroupBarrier();
    lane[l] = v;
    workgroupBarrier();
    for (var h = 32u; h > 0u; h = h / 2u) {
        if l < h { lane[l] = lane[l] + lane[l + h]; }
        workgroupBarrier();
    }
    return workgroupUniformLoad(&lane[0]);
}

fn threshold(l: u32, i: u32, base: u32, kappa: u32) -> Threshold {
    var own = 0u;
    for (var j = l; j < p.n; j = j + 64u) { own = own + select(0u, 1u, is_candidate(i, j)); }
    let k = min(kappa, total(l, own));
    var prefix = 0u;
    for (var bit = 0u; bit < 32u; bit = bit + 1u) {
        let trial = prefix | (0x80000000u >> bit);
        var c = 0u;
        for (var j = l; j < p.n; j = j + 64u) {
            c = c + select(0u, 1u, is_candidate(i, j) && key_of(s[base + j]) >= trial);
        }
        if total(l, c) >= k { prefix = trial; }
    }
    var above = 0u;
    var equal = 0u;
    var greatest = 0u;
    for (var j = l; j < p.n; j = j + 64u) {
        let key = key_of(s[base + j]);
        if is_candidate(i, j) && key > prefix { above = above + 1u; }
        if is_candidate(i, j) && key == prefix {
            equal = equal + 1u;
            greatest = j;
        }
    }
    let need = k - total(l, above);
    // As a rule all that equal it belong: then the last is the greatest column of any thread.
    let all = total(l, equal) == need;
    workgroupBarrier();
    lane[l] = greatest;
    workgroupBarrier();
    for (var h = 32u; h > 0u; h = h / 2u) {
        if l < h { lane[l] = max(lane[l], lane[l + h]); }
        workgroupBarrier();
    }
    if all { return Threshold(prefix, lane[0]); }
    var last = 0u;
    for (var bit = 0u; bit < 32u; bit = bit + 1u) {
        let trial = last | (0x80000000u >> bit);
        var c = 0u;
        for (var j = l; j < p.n; j = j + 64u) {
            c = c + select(0u, 1u, j < trial && is_candidate(i, j) && key_of(s[base + j]) == prefix);
        }
        if trial < p.n && total(l, c) < need { last = trial; }
        workgroupBarrier();
    }
    return Threshold(prefix, last);
}
