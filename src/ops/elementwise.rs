//! Recording of kernels that map elements one to one (`shaders/lib/element.wgsl`).

use crate::device::DeviceError;
use crate::device::recording::{Kernel, Recorder, View};
use crate::graph::TensorType;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    n: u32,
    a: f32,
    b: f32,
    r: u32,
}

/// Records `kernel` over all elements of `views` (equal lengths), 16 bytes at a time where the length allows, in
/// pieces where a tensor exceeds one binding. `a`, `b`: the kernel's constants.
/// Eight halves are a matrix to the kernel (`shaders/lib/element.wgsl`): one that takes halves may add and subtract,
/// no more.
pub(super) fn record(
    rec: &mut Recorder<'_>,
    kernel: Kernel,
    views: &[&View],
    a: f32,
    b: f32,
) -> Result<(), DeviceError> {
    record_with(rec, kernel, &[], views, a, b)
}

/// [`record`] for a kernel that computes with halves: four numbers at a time at most. Its flags say which of `views`
/// are halves.
pub(super) fn record_by_four(
    rec: &mut Recorder<'_>,
    kernel: &Kernel,
    views: &[&View],
) -> Result<(), DeviceError> {
    pieces(rec, kernel, &[], views, [0.0; 2], |n| match n % 4 {
        0 => 4,
        _ => 1,
    })
}

/// [`record`] with tensors bound whole in front of the elementwise ones.
pub(super) fn record_with(
    rec: &mut Recorder<'_>,
    kernel: Kernel,
    whole: &[&View],
    views: &[&View],
    a: f32,
    b: f32,
) -> Result<(), DeviceError> {
    let half = views[0].is_half();
    let kernel = kernel.flag("HALF", half);
    pieces(rec, &kernel, whole, views, [a, b], |n| match n {
        n if half && n.is_multiple_of(8) => 8,
        n if n.is_multiple_of(4) => 4,
        _ => 1,
    })
}

/// Records `kernel` piece by piece; `wide`: elements of a thread, of a piece's length.
fn pieces(
    rec: &mut Recorder<'_>,
    kernel: &Kernel,
    whole: &[&View],
    views: &[&View],
    [a, b]: [f32; 2],
    wide: impl Fn(usize) -> usize,
) -> Result<(), DeviceError> {
    for range in views[0].flat_chunks(rec.limits()) {
        let len = range.len();
        let wide = wide(len);
        let parts: Vec<View> = views.iter().map(|v| v.flat(range.clone())).collect();
        let elements = len / wide;
        let params = Params {
            n: elements as u32,
            a,
            b,
            r: 0,
        };
        let kernel = kernel
            .clone()
            .flag("VEC8", wide == 8)
            .flag("VEC4", wide == 4);
        let bound: Vec<&View> = whole.iter().copied().chain(&parts).collect();
        rec.dispatch(&kernel, &params, &bound, elements.div_ceil(64))?;
    }
    Ok(())
}

/// All inputs alike: the output's type.
pub(super) fn same(inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
    match inputs {
        [first, rest @ ..] if rest.iter().all(|t| t == first) => Ok(vec![(*first).clone()]),
        _ => Err("needs inputs of one shape".to_string()),
    }
}

/// All of an elementwise [`crate::graph::Op`] but its gradient, for use inside the `impl`: inputs and output are of one
/// type, and the kernel of the op's name gets two constants, 0 where none are given. The twin is the inherent generic
/// method `twin`, as for [`crate::twin!`].
macro_rules! elementwise {
    ($name:literal) => {
        elementwise!($name, |_op| (0.0, 0.0));
    };
    ($name:literal, |$op:ident| $constants:expr) => {
        fn name(&self) -> &'static str {
            $name
        }
        fn class(&self) -> $crate::graph::Class {
            $crate::graph::Class::Elementwise
        }
        fn infer(
            &self,
            inputs: &[&$crate::graph::TensorType],
        ) -> std::result::Result<Vec<$crate::graph::TensorType>, String> {
            $crate::ops::elementwise::same(inputs)
        }
        fn record(
            &self,
            rec: &mut $crate::device::recording::Recorder<'_>,
            io: &$crate::graph::Bindings,
        ) -> $crate::graph::Result<()> {
            let $op = self;
            let (a, b): (f32, f32) = $constants;
            let views: Vec<_> = io.inputs.iter().chain(&io.outputs).collect();
            let kernel = $crate::kernel!($name, "main");
            Ok($crate::ops::elementwise::record(rec, kernel, &views, a, b)?)
        }
        $crate::twin!();
    };
}
pub(super) use elementwise;
