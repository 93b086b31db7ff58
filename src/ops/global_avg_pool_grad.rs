//! `global_avg_pool_grad`: the gradient of the mean over all pixels. Twin: `reference/global_avg_pool_grad.rs`.

use crate::device::recording::{Recorder, row_chunks};
use crate::graph::{Bindings, Class, HostIo, Op, Result, TensorType};
use crate::reference::{Scalar, global_avg_pool_grad};
use crate::{kernel, twin};

/// dy [n,c] -> dx as `input` [n,h,w,c].
#[derive(Clone, Debug)]
pub struct GlobalAvgPoolGrad {
    /// The pooled tensor's type.
    pub input: TensorType,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    s: u32,
    c: u32,
    total: u32,
    inv: f32,
}

impl Op for GlobalAvgPoolGrad {
    fn name(&self) -> &'static str {
        "global_avg_pool_grad"
    }
    fn class(&self) -> Class {
        Class::Pooling
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let (&[n, _, _, c], [a, b]) = (self.input.dims(), inputs[0].rank::<2>("dy")?) else {
            return Err("the pooled tensor is [n,h,w,c]".into());
        };
        if (a, b) != (n, c) {
            return Err(format!("dy should be [{n},{c}]"));
        }
        Ok(vec![self.input.clone()])
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let (x, y) = (&io.inputs[0], &io.outputs[0]);
        for r in row_chunks(&[x, y], rec.limits()) {
            let (x, y) = (x.rows(r.clone()), y.rows(r));
            let d = y.dims();
            let (s, c, total) = (d[1] * d[2], d[3], y.elements());
            let p = Params {
                s: s as u32,
                c: c as u32,
                total: total as u32,
                inv: (1.0 / s as f64) as f32,
            };
            rec.dispatch(
                &kernel!("global_avg_pool_grad", "main").flag("HALF", y.is_half()),
                &p,
                &[&x, &y],
                total.div_ceil(64),
            )?;
        }
        Ok(())
    }
    twin!();
}

impl GlobalAvgPoolGrad {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let dy = io.input(0);
        let d = self.input.dims();
        global_avg_pool_grad::global_avg_pool_grad(d[1] * d[2], d[3], dy, io.output(0));
    }
}
