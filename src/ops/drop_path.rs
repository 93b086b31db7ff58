//! `drop_path`: a residual branch that some images of a batch leave out (stochastic depth). Twin:
//! `reference/drop_path.rs`. [`DropPathGrad`] is the same kernel without the sum.

use crate::device::recording::{Recorder, View, row_chunks};
use crate::graph::{Bindings, Class, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::{Scalar, drop_path};
use crate::{kernel, twin};

/// x, branch [b,..], s [b] -> x + s branch, with a factor an image: 0, or 1 / (1 - p) where a draw of probability 1 - p
/// keeps the branch (Huang et al., "Deep Networks with Stochastic Depth", 2016). s is drawn: it gets no gradient.
#[derive(Clone, Copy, Debug)]
pub struct DropPath;

/// dy [b,..], s [b] -> s dy: the gradient of the branch.
#[derive(Clone, Copy, Debug)]
pub struct DropPathGrad;

/// The factor of each image in training, for the branch of a block: `uniform` numbers in [0, 1), `rate` below 1.
pub fn factors(rate: f64, uniform: impl IntoIterator<Item = f32>) -> Vec<f32> {
    let kept = (1.0 / (1.0 - rate)) as f32;
    let factor = |u: f32| if f64::from(u) < rate { 0.0 } else { kept };
    uniform.into_iter().map(factor).collect()
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    size: u32,
    row: u32,
    first: u32,
    r: u32,
}

fn check(tensors: &[&TensorType], s: &TensorType) -> std::result::Result<TensorType, String> {
    match tensors {
        [x, rest @ ..]
            if x.shape.rank() > 1 && s.dims() == &x.dims()[..1] && rest.iter().all(|t| t == x) =>
        {
            Ok((*x).clone())
        }
        _ => Err("needs tensors [b,..] of one shape and s [b]".into()),
    }
}

fn record(rec: &mut Recorder<'_>, x: Option<&View>, [branch, s, y]: [&View; 3]) -> Result<()> {
    let row: usize = y.dims()[1..].iter().product();
    let wide = if row.is_multiple_of(4) { 4 } else { 1 };
    let kernel = kernel!("drop_path", "main")
        .flag("VEC4", wide == 4)
        .flag("GRAD", x.is_none());
    for r in row_chunks(&[branch, y], rec.limits()) {
        let [branch, y] = [branch, y].map(|v| v.rows(r.clone()));
        let x = x.map(|v| v.rows(r.clone()));
        let size = y.elements() / wide;
        let p = Params {
            size: size as u32,
            row: (row / wide) as u32,
            first: r.start as u32,
            r: 0,
        };
        let mut bound = vec![&branch, s, &y];
        bound.extend(&x);
        rec.dispatch(&kernel, &p, &bound, size.div_ceil(64))?;
    }
    Ok(())
}

impl Op for DropPath {
    fn name(&self) -> &'static str {
        "drop_path"
    }
    fn class(&self) -> Class {
        Class::Elementwise
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        match inputs {
            [x, branch, s] => Ok(vec![check(&[x, branch], s)?]),
            _ => Err("needs x, branch [b,..] and s [b]".into()),
        }
    }
    fn gradient(
        &self,
        g: &mut Graph,
        node: NodeId,
        dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let Some(dy) = dy[0] else {
            return Ok(vec![None; 3]);
        };
        let s = g.node(node).inputs[2];
        let d = g.push1(DropPathGrad, &[dy, s])?;
        Ok(vec![Some(dy), Some(d), None])
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let [x, branch, s] = [0, 1, 2].map(|i| &io.inputs[i]);
        record(rec, Some(x), [branch, s, &io.outputs[0]])
    }
    twin!();
}

impl DropPath {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let (x, branch, s) = (io.input(0), io.input(1), io.input(2));
        drop_path::drop_path(Some(x), branch, s, io.output(0));
    }
}

impl Op for DropPathGrad {
    fn name(&self) -> &'static str {
        "drop_path_grad"
    }
    fn class(&self) -> Class {
        Class::Elementwise
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        match inputs {
            [dy, s] => Ok(vec![check(&[dy], s)?]),
            _ => Err("needs dy [b,..] and s [b]".into()),
        }
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        record(rec, None, [&io.inputs[0], &io.inputs[1], &io.outputs[0]])
    }
    twin!();
}

impl DropPathGrad {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let (dy, s) = (io.input(0), io.input(1));
        drop_path::drop_path(None, dy, s, io.output(0));
    }
}

#[cfg(test)]
mod tests {
    use super::factors;

    #[test]
    fn a_branch_is_kept_at_a_larger_weight_or_left_out() {
        assert_eq!(factors(0.2, [0.1, 0.2, 0.9]), [0.0, 1.25, 1.25]);
        assert_eq!(factors(0.0, [0.0, 0.5]), [1.0, 1.0]);
    }
}
