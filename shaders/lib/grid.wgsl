// A 1-D grid of workgroups folded into two dimensions, because WebGPU allows 65535 groups per dimension.
// The fold may round up: kernels return when the index is not below the true number of groups.
fn group_index(wid: vec3<u32>, nwg: vec3<u32>) -> u32 {
    return wid.y * nwg.x + wid.x;
}
