// A place in three nested loops: `inner` of `width`, in `middle` of `height`, in `outer`. Walked by additions, where
// divisions would stand in the inner loop of a kernel.
struct Place { inner: u32, middle: u32, outer: u32 }
fn place(index: u32, width: u32, height: u32) -> Place {
    let rest = index / width;
    return Place(index % width, rest % height, rest / height);
}
// x / size by its reciprocal, which is the same for all of a loop. Exact for x < 2^20: x + 0.5 is 0.5 / size or more
// away from a whole quotient, and three roundings (3 units in the last place for the reciprocal, half a unit each for
// sum and product) move it by less than 2^20 / size * 4 * 2^-24 = 0.25 / size.
fn quotient(x: u32, size: u32) -> u32 { return u32((f32(x) + 0.5) * (1.0 / f32(size))); }
fn advance(at: Place, by: u32, width: u32, height: u32) -> Place {
    let inner = at.inner + by;
    let rows = quotient(inner, width);
    let middle = at.middle + rows;
    let images = quotient(middle, height);
    return Place(inner - rows * width, middle - images * height, at.outer + images);
}
