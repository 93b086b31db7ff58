// queue[h, (call b + i) mod k, :] = keys[h, i, :], call = (step micro_batches + micro) each + index: the oldest keys
// give way (MoCo).
// keys [c,b,d], queue [c,k,d], both flat. A dispatch binds the keys' elements from key_start on (n of them) and the
// queue's from queue_start on (m of them), and writes only what falls into these: so either may exceed a binding. A
// thread an element of the keys. Grid: ceil(n/64), folded.
#import grid
#import step
struct Params {
    n: u32, b: u32, k: u32, d: u32, micro_batches: u32, each: u32, index: u32, key_start: u32, queue_start: u32,
    m: u32, r0: u32, r1: u32,
}
@group(1) @binding(0) var<uniform> p: Params;
@group(0) @binding(0) var<storage, read> keys: array<f32>;
@group(0) @binding(1) var<storage, read_write> queue: array<f32>;
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let t = group_index(wid, nwg) * 64u + lid.x;
    if t >= p.n { return; }
    let key = p.key_start + t;
    let j = key % p.d;
    let i = key / p.d % p.b;
    let head = key / (p.d * p.b);
    // Modulo k before the product with b: the count of calls may be large.
    let micro = ((step.step % p.k) * (p.micro_batches % p.k) + step.micro) % p.k;
    let call = (micro * p.each + p.index) % p.k;
    let place = (call * p.b + i) % p.k;
    // An element before queue_start wraps to a large number, so one comparison holds both ends.
    let at = (head * p.k + place) * p.d + j - p.queue_start;
    if at < p.m { queue[at] = keys[t]; }
}
