// y [n,h,w,c] of x and others (alike) by a table [n,5] of share, top, left, height, width: inside the box the other's
// pixels, elsewhere share x + (1 - share) other. With REVERSED image i of these n takes image n-1-i of the others (both
// are pieces of whole batches: the host binds the piece of the others that belongs to this one).
// A thread a value. Grid: ceil(n h w c / 64) groups, folded.
#import grid
struct Params { total: u32, width: u32, channels: u32, image: u32 }
@group(1) @binding(0) var<uniform> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> others: array<f32>;
@group(0) @binding(2) var<storage, read> table: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_id) lid: vec3<u32>,
) {
    let t = group_index(wid, nwg) * 64u + lid.x;
    if t >= p.total { return; }
    let i = t / p.image;
    let within = t % p.image;
#ifdef REVERSED
    let o = others[(p.total / p.image - 1u - i) * p.image + within];
#else
    let o = others[t];
#endif
    let at = i * 5u;
    let place = vec2<f32>(f32(within / (p.width * p.channels)), f32(within / p.channels % p.width));
    let first = vec2<f32>(table[at + 1u], table[at + 2u]);
    let behind = first + vec2<f32>(table[at + 3u], table[at + 4u]);
    let share = table[at];
    let mixed = share * x[t] + (1.0 - share) * o;
    y[t] = select(mixed, o, all(place >= first) && all(place < behind));
}
