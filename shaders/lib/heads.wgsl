// An attention's tokens [B,N,3,H,D], the queries, keys and values of every head side by side, as one linear layer
// leaves them; mirrors ops/attention.rs. VEC4: D is a multiple of 4. HALF: qkv lies in f16.
// A group takes TOKENS (define) tokens of a head, and 64 columns of its result where p.chunks is more than 1. Its head
// is numbered over all images of the dispatch; p.tiles times TOKENS cover N. p.scale is the logits' factor, p.scale2 =
// p.scale / ln 2, for powers of two.
#import grid
#import storage
struct Params {
    n: u32, d: u32, heads: u32, groups: u32,
    tiles: u32, chunks: u32, scale: f32, scale2: f32,
}
@group(1) @binding(0) var<uniform> p: Params;
#ifdef VEC4
@group(0) @binding(0) var<storage, read> qkv: array<S4>;
#else
@group(0) @binding(0) var<storage, read> qkv: array<S>;
#endif
const LOG2_E: f32 = 1.44269504;
// Far below every logit, yet finite: a difference of two of them is no NaN, and what it weighs is scaled away by the
// first true one.
const NONE: f32 = -3.0e38;

// What a group does: a head, tokens from `first` on, columns of the result from `column` on; q, k and v are where the
// head's queries, keys and values begin.
struct Place { head: u32, first: u32, column: u32, q: u32, k: u32, v: u32 }
fn place(g: u32) -> Place {
    let head = g / (p.chunks * p.tiles);
    let width = p.heads * p.d;
    let q = head / p.heads * p.n * 3u * width + head % p.heads * p.d;
    return Place(head, g / p.chunks % p.tiles * TOKENS, g % p.chunks * 64u, q, q + width, q + 2u * width);
}
// Where the head's columns begin in a tensor [B,N,H,D].
fn start(head: u32) -> u32 { return (head / p.heads * p.n * p.heads + head % p.heads) * p.d; }

// Four numbers of a token from column c on; zero behind the head's last. Behind the last token those of the last.
fn four(at: u32, token: u32, c: u32) -> vec4<f32> {
    let from_row = at + min(token, p.n - 1u) * 3u * p.heads * p.d;
#ifdef VEC4
    return select(vec4<f32>(0.0), vec4<f32>(qkv[(from_row + min(c, p.d - 4u)) / 4u]), c < p.d);
#else
    let k = vec4<u32>(c, c + 1u, c + 2u, c + 3u);
    let i = from_row + min(k, vec4<u32>(p.d - 1u));
    return select(vec4<f32>(0.0), vec4<f32>(S4(qkv[i.x], qkv[i.y], qkv[i.z], qkv[i.w])), k < vec4<u32>(p.d));
#endif
}
// Whether the four tokens from j on exist.
fn exist(j: u32) -> vec4<bool> { return vec4<u32>(j, j + 1u, j + 2u, j + 3u) < vec4<u32>(p.n); }
