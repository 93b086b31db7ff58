// What top_k.wgsl gives of the similarities s = z z^T of unit rows z [C,A,D] in NT-Xent's arrangement, without the
// matrix: the kappa largest candidates of each row as a threshold, the value and the column of the last of them; ties
// to the lower column. kappa <= the number of candidates.
// A group takes 64 anchors and walks over all columns, 64 at a time, several times. A row's threshold lies in a range
// of keys (lib/order.wgsl), of which a walk counts the candidates in 64 equal parts; the part that holds the
// threshold is the next range. Once it holds FEW candidates or less, a last walk writes them down and the right one
// is picked. Where more than that are equal, the range goes on over their columns, backwards. The first walk splits
// not all floats but what similarities are as a rule, from 2^-8 to 1, and the rest falls to the first and the last
// part: with 65,536 columns three walks are common, eleven the most (1 + 6 for the keys, 3 for the columns, the
// last).
// All is exact: counts are integers, and a similarity is the same number in every walk and in amcl_stream, where it
// is made by the same sums.
// Outputs: value [C,A], index [C,A]. Grid: p.heads * p.tiles groups of 256, folded.
#import grid
#import pair_tile
#import order
@group(0) @binding(1) var<storage, read_write> value: array<f32>;
@group(0) @binding(2) var<storage, read_write> index: array<u32>;

const FEW = 8u;
const FULL = 0xffffffffu;
// Key of 2^-8; from there 64 parts of 2^20 keys reach 1.
const USUAL = 0xbb800000u;

// The threshold is the rank-th largest of `count` candidates whose place is in lo..=hi. Places are keys, or the
// columns of `key` alone, backwards, if tied.
struct Search { lo: u32, hi: u32, rank: u32, count: u32, key: u32, tied: u32 }
var<workgroup> search: array<Search, 64>;
// 16 words a row: four counts of a tile (64 at most) in each; in the last walk key and column of FEW candidates.
var<workgroup> words: array<atomic<u32>, 1024>;
var<workgroup> quarters: array<u32, 256>;
var<workgroup> written: array<atomic<u32>, 64>;
var<workgroup> open: u32;

fn place_of(t: Search, key: u32, j: u32) -> u32 { return select(key, p.a - 1u - j, t.tied == 1u); }
fn inside(t: Search, key: u32, j: u32) -> bool {
    let x = place_of(t, key, j);
    return x >= t.lo && x <= t.hi && (t.tied == 0u || key == t.key);
}
fn is_first(t: Search) -> bool { return t.lo == 0u && t.hi == FULL; }
// log2 of a part's width.
fn part_bits(t: Search) -> u32 { return max(32u - countLeadingZeros(t.hi - t.lo), 6u) - 6u; }
fn part_of(t: Search, x: u32) -> u32 {
    if is_first(t) { return (clamp(x, USUAL, USUAL + 0x3ffffffu) - USUAL) >> 20u; }
    return (x - t.lo) >> part_bits(t);
}
// The search in part `part`, of `count` candidates, `above` of which lie in higher parts.
fn narrowed(t: Search, part: u32, count: u32, above: u32) -> Search {
    var n = t;
    n.rank = t.rank - above;
    n.count = count;
    if is_first(t) {
        n.lo = select(USUAL + (part << 20u), 0u, part == 0u);
        n.hi = select(USUAL + (part << 20u) + 0xfffffu, FULL, part == 63u);
    } else {
        n.lo = t.lo + (part << part_bits(t));
        n.hi = n.lo + min(t.hi - n.lo, (1u << part_bits(t)) - 1u);
    }
    if n.lo == n.hi && count > FEW {
        n.key = n.lo;
        n.tied = 1u;
        n.lo = 0u;
        n.hi = p.a - 1u;
    }
    return n;
}
// Where the counts of parts 4 w..4 w + 3 of a row stand: thread 4 row + w / 4 adds up those of one quarter, and
// neighbours read neighbouring words.
fn word_of(row: u32, w: u32) -> u32 { return (w % 4u) * 256u + row * 4u + w / 4u; }

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let g = group_index(wid, nwg);
    if g >= p.heads * p.tiles { return; }
    let head = g / p.tiles;
    let i0 = p.first + (g % p.tiles) * 64u;
    let base = p.off_z + head * p.a * p.d;
    let l = lid.x;
    let r = (l / COLS) * 4u;
    let candidates = p.a - 2u + p.include_positive;
    if l < 64u {
        search[l] = Search(0u, FULL, p.kappa, select(0u, candidates, i0 + l < p.end), 0u, 0u);
        atomicStore(&written[l], 0u);
    }
    for (var q = 0u; q < 4u; q = q + 1u) { atomicStore(&words[q * 256u + l], 0u); }
    for (var walk = 0u; walk < 12u; walk = walk + 1u) {
        workgroupBarrier();
        if l == 0u {
            var most = 0u;
            for (var row = 0u; row < 64u; row = row + 1u) { most = max(most, search[row].count); }
            open = most;
        }
        workgroupBarrier();
        if workgroupUniformLoad(&open) <= FEW { break; }
        // Part 16 (l % 4) + 4 q + c of row l / 4.
        var counts = array<vec4<u32>, 4>();
        for (var j0 = 0u; j0 < p.a; j0 = j0 + 64u) {
            var s = similarities(base, i0, j0, l);
            let j = j0 + (l % COLS) * 4u;
            for (var ii = 0u; ii < 4u; ii = ii + 1u) {
                let t = search[r + ii];
                if t.count <= FEW { continue; }
                for (var jj = 0u; jj < 4u; jj = jj + 1u) {
                    let key = key_of(s[ii][jj]);
                    if j + jj < p.a && is_candidate(i0 + r + ii, j + jj) && inside(t, key, j + jj) {
                        let part = part_of(t, place_of(t, key, j + jj));
                        atomicAdd(&words[word_of(r + ii, part / 4u)], 1u << (8u * (part % 4u)));
                    }
                }
            }
            workgroupBarrier();
            for (var q = 0u; q < 4u; q = q + 1u) {
                let four = atomicExchange(&words[q * 256u + l], 0u);
                counts[q] = counts[q] + ((vec4<u32>(four) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(255u));
            }
        }
        let sum = counts[0] + counts[1] + counts[2] + counts[3];
        quarters[l] = sum.x + sum.y + sum.z + sum.w;
        let t = search[l / 4u];
        workgroupBarrier();
        var above = 0u;
        for (var q = l + 1u; q < (l / 4u + 1u) * 4u; q = q + 1u) { above = above + quarters[q]; }
        // One thread of the four finds the part among its own.
        if t.count > FEW && above < t.rank && above + quarters[l] >= t.rank {
            for (var c = 16u; c > 0u; c = c - 1u) {
                let count = counts[(c - 1u) / 4u][(c - 1u) % 4u];
                if above + count >= t.rank {
                    search[l / 4u] = narrowed(t, (l % 4u) * 16u + c - 1u, count, above);
                    break;
                }
                above = above + count;
            }
        }
    }
    for (var j0 = 0u; j0 < p.a; j0 = j0 + 64u) {
        var s = similarities(base, i0, j0, l);
        let j = j0 + (l % COLS) * 4u;
        for (var ii = 0u; ii < 4u; ii = ii + 1u) {
            let t = search[r + ii];
            for (var jj = 0u; jj < 4u; jj = jj + 1u) {
                let key = key_of(s[ii][jj]);
                if t.count > 0u && j + jj < p.a && is_candidate(i0 + r + ii, j + jj) && inside(t, key, j + jj) {
                    let slot = atomicAdd(&written[r + ii], 1u);
                    if slot < FEW {
                        atomicStore(&words[(r + ii) * 16u + slot * 2u], key);
                        atomicStore(&words[(r + ii) * 16u + slot * 2u + 1u], j + jj);
                    }
                }
            }
        }
    }
    workgroupBarrier();
    if l < 64u && i0 + l < p.end {
        let t = search[l];
        let all = min(t.count, FEW);
        for (var x = 0u; x < all; x = x + 1u) {
            let key = atomicLoad(&words[l * 16u + x * 2u]);
            let column = atomicLoad(&words[l * 16u + x * 2u + 1u]);
            var before = 0u;
            for (var y = 0u; y < all; y = y + 1u) {
                let other = atomicLoad(&words[l * 16u + y * 2u]);
                if other > key || (other == key && atomicLoad(&words[l * 16u + y * 2u + 1u]) < column) {
                    before = before + 1u;
                }
            }
            if before + 1u == t.rank {
                let at = p.off_own + head * p.own + i0 + l - p.shift;
                value[at] = value_of(key);
                index[at] = column;
            }
        }
    }
}
