//! `sample_views`: the first rows of both views, to look at where not all pairs are kept. Twin:
//! `reference/sample_views.rs`.

use crate::device::recording::Recorder;
use crate::graph::{Bindings, Class, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::{Scalar, sample_views};
use crate::{kernel, twin};

/// x [heads,2B,d] (rows 0..B view 1, B..2B view 2) -> y [heads,2*rows,d]. No gradient: for looking, not for training.
#[derive(Clone, Copy, Debug)]
pub struct SampleViews {
    /// Rows of each view, at most B.
    pub rows: usize,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    n: u32,
    off: u32,
    to: u32,
    r: u32,
}

impl SampleViews {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let (x, dims) = (io.input(0), io.input_types[0].dims());
        sample_views::sample_views(dims[1], self.rows, dims[2], x, io.output(0));
    }
}

impl Op for SampleViews {
    fn name(&self) -> &'static str {
        "sample_views"
    }
    fn class(&self) -> Class {
        Class::Layout
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let [c, n, d] = inputs[0].rank("x")?;
        if n % 2 == 1 || self.rows == 0 || self.rows > n / 2 {
            return Err(format!(
                "{} rows of each half of {n} rows cannot be had",
                self.rows
            ));
        }
        Ok(vec![TensorType::f32([c, 2 * self.rows, d])])
    }
    fn gradient(
        &self,
        _g: &mut Graph,
        _node: NodeId,
        _dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        Ok(vec![None])
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let (x, y) = (&io.inputs[0], &io.outputs[0]);
        let (n, d) = (x.dims()[1], x.dims()[2]);
        let size = self.rows * d;
        for half in 0..2 * x.dims()[0] {
            let start = half * (n / 2) * d;
            let (source, off) = x.window(start..start + size);
            let (target, to) = y.window(half * size..(half + 1) * size);
            let p = Params {
                n: size as u32,
                off,
                to,
                r: 0,
            };
            let k = kernel!("sample_views", "main");
            rec.dispatch(&k, &p, &[&source, &target], size.div_ceil(64))?;
        }
        Ok(())
    }
    twin!();
}
