// Sixteen pieces that all threads of a subgroup need alike, for drivers that run on CPUs: these read storage lane by
// lane, some 10 instructions a number, even where all lanes read the same one. So a lane reads two of the pieces
// (LANES_8: subgroups of 8 and more), or four (subgroups of 4 and more), and has the others from their lanes, an
// instruction a number.
// The kernel declares `fn piece(x: u32, y: u32, z: u32, which: u32) -> Piece`: the which-th piece at a place that x,
// y and z tell. It calls `sixteen` and what follows where all lanes of the subgroup are active: not behind a return
// or in a branch that some do not take.
// The pieces of the first four lanes.
fn lower(v: Piece) -> mat4x4<f32> {
    return mat4x4<f32>(subgroupBroadcast(v, 0u), subgroupBroadcast(v, 1u), subgroupBroadcast(v, 2u),
        subgroupBroadcast(v, 3u));
}
#ifdef LANES_8
struct Sixteen { a: Piece, b: Piece }
fn sixteen(lane: u32, x: u32, y: u32, z: u32) -> Sixteen {
    let l = lane % 8u;
    return Sixteen(piece(x, y, z, l), piece(x, y, z, l + 8u));
}
// The pieces of the next four lanes.
fn upper(v: Piece) -> mat4x4<f32> {
    return mat4x4<f32>(subgroupBroadcast(v, 4u), subgroupBroadcast(v, 5u), subgroupBroadcast(v, 6u),
        subgroupBroadcast(v, 7u));
}
// Pieces 0 to 3, 4 to 7, 8 to 11, 12 to 15.
fn first_four(s: Sixteen) -> mat4x4<f32> { return lower(s.a); }
fn second_four(s: Sixteen) -> mat4x4<f32> { return upper(s.a); }
fn third_four(s: Sixteen) -> mat4x4<f32> { return lower(s.b); }
fn fourth_four(s: Sixteen) -> mat4x4<f32> { return upper(s.b); }
#else
struct Sixteen { a: Piece, b: Piece, c: Piece, d: Piece }
fn sixteen(lane: u32, x: u32, y: u32, z: u32) -> Sixteen {
    let l = lane % 4u;
    return Sixteen(piece(x, y, z, l), piece(x, y, z, l + 4u), piece(x, y, z, l + 8u), piece(x, y, z, l + 12u));
}
fn first_four(s: Sixteen) -> mat4x4<f32> { return lower(s.a); }
fn second_four(s: Sixteen) -> mat4x4<f32> { return lower(s.b); }
fn third_four(s: Sixteen) -> mat4x4<f32> { return lower(s.c); }
fn fourth_four(s: Sixteen) -> mat4x4<f32> { return lower(s.d); }
#endif
// Component i of all sixteen, in their order.
fn of_all(s: Sixteen, i: u32) -> mat4x4<f32> {
    let a = first_four(s);
    let b = second_four(s);
    let c = third_four(s);
    let d = fourth_four(s);
    return mat4x4<f32>(
        vec4<f32>(a[0][i], a[1][i], a[2][i], a[3][i]), vec4<f32>(b[0][i], b[1][i], b[2][i], b[3][i]),
        vec4<f32>(c[0][i], c[1][i], c[2][i], c[3][i]), vec4<f32>(d[0][i], d[1][i], d[2][i], d[3][i]));
}
