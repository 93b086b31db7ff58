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
// Of four rows of four pieces, a column: pieces 0, 4, 8 and 12, and so on.
fn column_0(s: Sixteen) -> mat4x4<f32> {
    return mat4x4<f32>(subgroupBroadcast(s.a, 0u), subgroupBroadcast(s.a, 4u), subgroupBroadcast(s.b, 0u),
        subgroupBroadcast(s.b, 4u));
}
fn column_1(s: Sixteen) -> mat4x4<f32> {
    return mat4x4<f32>(subgroupBroadcast(s.a, 1u), subgroupBroadcast(s.a, 5u), subgroupBroadcast(s.b, 1u),
        subgroupBroadcast(s.b, 5u));
}
fn column_2(s: Sixteen) -> mat4x4<f32> {
    return mat4x4<f32>(subgroupBroadcast(s.a, 2u), subgroupBroadcast(s.a, 6u), subgroupBroadcast(s.b, 2u),
        subgroupBroadcast(s.b, 6u));
}
fn column_3(s: Sixteen) -> mat4x4<f32> {
    return mat4x4<f32>(subgroupBroadcast(s.a, 3u), subgroupBroadcast(s.a, 7u), subgroupBroadcast(s.b, 3u),
        subgroupBroadcast(s.b, 7u));
}
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
fn column_0(s: Sixteen) -> mat4x4<f32> {
    return mat4x4<f32>(subgroupBroadcast(s.a, 0u), subgroupBroadcast(s.b, 0u), subgroupBroadcast(s.c, 0u),
        subgroupBroadcast(s.d, 0u));
}
fn column_1(s: Sixteen) -> mat4x4<f32> {
    return mat4x4<f32>(subgroupBroadcast(s.a, 1u), subgroupBroadcast(s.b, 1u), subgroupBroadcast(s.c, 1u),
        subgroupBroadcast(s.d, 1u));
}
fn column_2(s: Sixteen) -> mat4x4<f32> {
    return mat4x4<f32>(subgroupBroadcast(s.a, 2u), subgroupBroadcast(s.b, 2u), subgroupBroadcast(s.c, 2u),
        subgroupBroadcast(s.d, 2u));
}
fn column_3(s: Sixteen) -> mat4x4<f32> {
    return mat4x4<f32>(subgroupBroadcast(s.a, 3u), subgroupBroadcast(s.b, 3u), subgroupBroadcast(s.c, 3u),
        subgroupBroadcast(s.d, 3u));
}
#endif
