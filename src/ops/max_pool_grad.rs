//! `max_pool_grad`: the gradient goes to each window's maximum. Twin: `reference/max_pool_grad.rs`.

use super::max_pool::{self, MaxPool};
use crate::device::recording::Recorder;
use crate::graph::{Bindings, Class, DType, GraphError, HostIo, Op, Result, Shape, TensorType};
use crate::reference::{Scalar, max_pool_grad};
use crate::{kernel, twin};

/// dy [n,oh,ow,c], argmax u32 alike -> dx of shape `input` [n,h,w,c].
#[derive(Clone, Debug)]
pub struct MaxPoolGrad {
    /// The pooling.
    pub pool: MaxPool,
    /// Shape of the pooled tensor.
    pub input: Shape,
}

impl Op for MaxPoolGrad {
    fn name(&self) -> &'static str {
        "max_pool_grad"
    }
    fn class(&self) -> Class {
        Class::Pooling
    }
    fn takes_f16(&self) -> bool {
        true
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let [dy, argmax] = inputs else {
            return Err("needs dy and argmax".into());
        };
        let d = self.input.dims();
        let p = self.pool.window(d)?;
        let shape = [d[0], p.oh, p.ow, p.c];
        if dy.dims() != shape || argmax.dims() != shape || argmax.dtype != DType::U32 {
            return Err(format!("dy and argmax (u32) should be {shape:?}"));
        }
        Ok(vec![dy.with_shape(self.input.clone())])
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let p = self
            .pool
            .window(self.input.dims())
            .map_err(GraphError::Invalid)?;
        let views = [&io.inputs[0], &io.inputs[1], &io.outputs[0]];
        max_pool::record(rec, kernel!("max_pool_grad", "main"), &p, views, 2)
    }
    twin!();
}

impl MaxPoolGrad {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let (dy, argmax) = (io.input(0), io.input_u32(1));
        if let Ok(p) = self.pool.window(self.input.dims()) {
            max_pool_grad::max_pool_grad(&p, dy, argmax, io.output(0));
        }
    }
}
