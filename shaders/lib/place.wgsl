// A place in three nested loops: `inner` of `width`, in `middle` of `height`, in `outer`. Walked by additions, where divisions would stand in the inner loop of a kernel.
struct Place { inner: u32, middle: u32, outer: u32 }
fn place(index: u32, width: u32, height: u32) -> Place {
    let rest = index / width;
    return Place(index % width, rest % height, rest / height);
}
fn advance(at: Place, by: u32, width: u32, height: u32) -> Place {
    var next = at;
    next.inner = next.inner + by;
    while next.inner >= width {
        next.inner = next.inner - width;
        next.middle = next.middle + 1u;
        if next.middle == height {
            next.middle = 0u;
            next.outer = next.outer + 1u;
        }
    }
    return next;
}
