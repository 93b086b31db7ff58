//! Recording of kernels with a group of threads a row (`shaders/lib/row.wgsl`).

use crate::device::DeviceError;
use crate::device::recording::{Kernel, Recorder, View, row_chunks};
use crate::graph::TensorType;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    rows: u32,
    d: u32,
    a: f32,
    b: f32,
}

/// Records `kernel` over the rows of `views`: tensors [..,d], or [..] with a value a row. In pieces where a tensor
/// exceeds one binding. `a`, `b`: the kernel's constants.
pub(super) fn record(
    rec: &mut Recorder<'_>,
    kernel: &Kernel,
    d: usize,
    views: &[&View],
    (a, b): (f32, f32),
) -> Result<(), DeviceError> {
    let rows = views.iter().map(|v| v.elements()).max().unwrap_or(0) / d.max(1);
    let flat: Vec<View> = views
        .iter()
        .map(|v| v.reshape(&[rows, v.elements() / rows.max(1)]))
        .collect();
    let flat: Vec<&View> = flat.iter().collect();
    for r in row_chunks(&flat, rec.limits()) {
        let parts: Vec<View> = flat.iter().map(|v| v.rows(r.clone())).collect();
        let bound: Vec<&View> = parts.iter().collect();
        let params = Params {
            rows: r.len() as u32,
            d: d as u32,
            a,
            b,
        };
        rec.dispatch(kernel, &params, &bound, r.len())?;
    }
    Ok(())
}

/// Length of the rows of a type.
pub(super) fn width(t: &TensorType) -> usize {
    t.dims().last().copied().unwrap_or(1)
}

/// All inputs of one shape [..,d]: that type.
pub(super) fn alike(inputs: &[&TensorType], count: usize) -> Result<TensorType, String> {
    match inputs {
        [first, rest @ ..]
            if inputs.len() == count
                && rest.iter().all(|t| t == first)
                && width(first) > 0
                && first.shape.rank() > 0 =>
        {
            Ok((*first).clone())
        }
        _ => Err(format!("needs {count} input(s) of one shape [..,d]")),
    }
}

/// The type with a value a row: [..] of [..,d]; of a vector, [1].
pub(super) fn per_row(t: &TensorType) -> TensorType {
    let d = t.dims();
    TensorType::f32(if d.len() == 1 {
        &[1]
    } else {
        &d[..d.len() - 1]
    })
}

/// Name, class, dispatches and twin of an [`crate::graph::Op`] that works row by row, for use inside the `impl`: rows
/// are those of the first input [..,d], and the kernel of the op's name gets two constants, 0 where none are given. The
/// twin is the inherent generic method `twin`, as for [`crate::twin!`].
macro_rules! by_rows {
    ($name:literal, $class:ident) => {
        by_rows!($name, $class, |_op| (0.0, 0.0));
    };
    ($name:literal, $class:ident, |$op:ident| $constants:expr) => {
        fn name(&self) -> &'static str {
            $name
        }
        fn class(&self) -> $crate::graph::Class {
            $crate::graph::Class::$class
        }
        fn record(
            &self,
            rec: &mut $crate::device::recording::Recorder<'_>,
            io: &$crate::graph::Bindings,
        ) -> $crate::graph::Result<()> {
            let $op = self;
            let constants: (f32, f32) = $constants;
            let d = io.inputs[0].dims().last().copied().unwrap_or(1);
            let views: Vec<_> = io.inputs.iter().chain(&io.outputs).collect();
            let kernel = $crate::kernel!($name, "main");
            Ok($crate::ops::rows::record(
                rec, &kernel, d, &views, constants,
            )?)
        }
        $crate::twin!();
    };
}
pub(super) use by_rows;
