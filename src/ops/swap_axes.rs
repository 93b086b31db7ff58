//! `swap_axes`: exchanges two neighbouring axes (groups of a batch become channels, and back). Twin:
//! `reference/swap_axes.rs`.

use crate::device::recording::Recorder;
use crate::graph::onnx::{Attribute, Axes, OnnxForm, Operand};
use crate::graph::{
    Bindings, Class, Graph, HostIo, NodeId, Op, Result, Shape, TensorId, TensorType,
};
use crate::reference::{Scalar, swap_axes};
use crate::{kernel, twin};

/// x, read as [p,a,b,c] -> its elements in the order [p,b,a,c], under the shape `out`.
#[derive(Clone, Debug)]
pub struct SwapAxes {
    /// p, a, b, c.
    pub axes: [usize; 4],
    /// Shape of the result; as many elements.
    pub out: Shape,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    n: u32,
    a: u32,
    b: u32,
    c: u32,
    y_start: u32,
    x_start: u32,
    m: u32,
    r: u32,
}

impl Op for SwapAxes {
    fn name(&self) -> &'static str {
        "swap_axes"
    }
    fn class(&self) -> Class {
        Class::Layout
    }
    fn takes_f16(&self) -> bool {
        true
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let [x] = inputs else {
            return Err("needs one input".into());
        };
        let n: usize = self.axes.iter().product();
        if x.elements() != n || self.out.elements() != n {
            return Err(format!(
                "{} elements are not {:?}, or not {}",
                x.elements(),
                self.axes,
                self.out
            ));
        }
        Ok(vec![x.with_shape(self.out.clone())])
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
        let out = g.ty(g.node(node).inputs[0]).shape.clone();
        let [p, a, b, c] = self.axes;
        let axes = [p, b, a, c];
        Ok(vec![Some(g.push1(Self { axes, out }, &[dy])?)])
    }
    fn onnx(&self, _inputs: &[&TensorType]) -> Option<OnnxForm> {
        let mut form = OnnxForm::new(Axes::Graph);
        let axes = Operand::Shape(self.axes.to_vec());
        let x = form.push("Reshape", vec![Operand::Input(0, Axes::Graph), axes]);
        let order = vec![("perm", Attribute::sizes(&[0, 2, 1, 3]))];
        let y = form.push_with("Transpose", vec![x], order);
        let shape = Operand::Shape(self.out.dims().to_vec());
        form.push("Reshape", vec![y, shape]);
        Some(form)
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let [_, a, b, c] = self.axes;
        let width = if c % 4 == 0 { 4 } else { 1 };
        let k = kernel!("swap_axes", "main")
            .flag("VEC4", width == 4)
            .flag("HALF", io.inputs[0].is_half());
        let (x, y) = (&io.inputs[0], &io.outputs[0]);
        // Any piece of y may draw on any piece of x: all pairs, in which the threads without a source do nothing.
        for to in y.flat_chunks(rec.limits()) {
            for from in x.flat_chunks(rec.limits()) {
                let n = to.len() / width;
                let p = Params {
                    n: n as u32,
                    a: a as u32,
                    b: b as u32,
                    c: (c / width) as u32,
                    y_start: (to.start / width) as u32,
                    x_start: (from.start / width) as u32,
                    m: (from.len() / width) as u32,
                    r: 0,
                };
                rec.dispatch(
                    &k,
                    &p,
                    &[&x.flat(from), &y.flat(to.clone())],
                    n.div_ceil(64),
                )?;
            }
        }
        Ok(())
    }
    twin!();
}

impl SwapAxes {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let x = io.input(0);
        swap_axes::swap_axes(self.axes, x, io.output(0));
    }
}
