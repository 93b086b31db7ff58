//! `max_pool`: the maximum over square windows. Twin: `reference/max_pool.rs`.

use super::max_pool_grad::MaxPoolGrad;
use crate::device::recording::{Kernel, Recorder, View, row_chunks};
use crate::graph::onnx::{Attribute, Axes, OnnxForm, Operand};
use crate::graph::{Bindings, Class, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::Scalar;
use crate::reference::max_pool::{self, Window};
use crate::{kernel, twin};

/// x [n,h,w,c] -> y [n,oh,ow,c] and u32 argmax of the same shape (h*W + w within the image), oh = (h + 2 padding -
/// kernel) / stride + 1.
///
/// `torch.nn.MaxPool2d`: the border counts as minus infinity.
#[derive(Clone, Copy, Debug)]
pub struct MaxPool {
    /// Side of the window.
    pub kernel: usize,
    /// Distance between windows.
    pub stride: usize,
    /// Border on each side, at most half the window.
    pub padding: usize,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    window: [u32; 8],
    total: u32,
    r: [u32; 3],
}

impl MaxPool {
    /// Window and shapes for an input [n,h,w,c].
    pub(super) fn window(&self, d: &[usize]) -> std::result::Result<Window, String> {
        let (
            &[_, h, w, c],
            MaxPool {
                kernel,
                stride,
                padding,
            },
        ) = (d, *self)
        else {
            return Err("x is [n,h,w,c]".into());
        };
        if stride == 0 || kernel == 0 || 2 * padding > kernel {
            return Err("window and stride are at least 1, padding at most half the window".into());
        }
        if h + 2 * padding < kernel || w + 2 * padding < kernel {
            return Err(format!("a window of {kernel} does not fit"));
        }
        let out = |n: usize| (n + 2 * padding - kernel) / stride + 1;
        Ok(Window {
            h,
            w,
            c,
            oh: out(h),
            ow: out(w),
            kernel,
            stride,
            padding,
        })
    }
}

/// Records `kernel` with one thread an element of `counted`, over pieces of the batch.
pub(super) fn record(
    rec: &mut Recorder<'_>,
    kernel: Kernel,
    p: &Window,
    views: [&View; 3],
    counted: usize,
) -> Result<()> {
    let kernel = kernel.flag("HALF", views[0].is_half());
    for r in row_chunks(&views, rec.limits()) {
        let parts = views.map(|v| v.rows(r.clone()));
        let total = parts[counted].elements();
        let params = Params {
            window: [p.h, p.w, p.c, p.oh, p.ow, p.kernel, p.stride, p.padding].map(|v| v as u32),
            total: total as u32,
            r: [0; 3],
        };
        let bound: Vec<&View> = parts.iter().collect();
        rec.dispatch(&kernel, &params, &bound, total.div_ceil(64))?;
    }
    Ok(())
}

impl Op for MaxPool {
    fn name(&self) -> &'static str {
        "max_pool"
    }
    fn class(&self) -> Class {
        Class::Pooling
    }
    fn takes_f16(&self) -> bool {
        true
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let [x] = inputs else {
            return Err("needs one input".into());
        };
        let p = self.window(x.dims())?;
        let shape = [x.dims()[0], p.oh, p.ow, p.c];
        Ok(vec![x.with_shape(shape), TensorType::u32(shape)])
    }
    fn gradient(
        &self,
        g: &mut Graph,
        node: NodeId,
        dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let Some(dy) = dy[0] else {
            return Ok(vec![None]);
        };
        let n = g.node(node);
        let (input, argmax) = (g.ty(n.inputs[0]).shape.clone(), n.outputs[1]);
        let dx = g.push1(MaxPoolGrad { pool: *self, input }, &[dy, argmax])?;
        Ok(vec![Some(dx)])
    }
    fn onnx(&self, _inputs: &[&TensorType]) -> Option<OnnxForm> {
        let mut form = OnnxForm::new(Axes::ChannelsFirst);
        let x = Operand::Input(0, Axes::ChannelsFirst);
        let window = vec![
            ("kernel_shape", Attribute::sizes(&[self.kernel; 2])),
            ("strides", Attribute::sizes(&[self.stride; 2])),
            ("pads", Attribute::sizes(&[self.padding; 4])),
        ];
        form.push_with("MaxPool", vec![x], window);
        Some(form)
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let p = self
            .window(io.inputs[0].dims())
            .map_err(crate::graph::GraphError::Invalid)?;
        let views = [&io.inputs[0], &io.outputs[0], &io.outputs[1]];
        record(rec, kernel!("max_pool", "main"), &p, views, 1)
    }
    twin!();
}

impl MaxPool {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let x = io.input(0);
        let Ok(p) = self.window(io.input_types[0].dims()) else {
            return;
        };
        if let [y, argmax] = io.outputs.as_mut_slice() {
            max_pool::max_pool(&p, x, y.float(), argmax.u32());
        }
    }
}
