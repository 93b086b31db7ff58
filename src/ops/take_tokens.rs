//! `take_tokens`: the tokens that indices name, in every image. Twin: `reference/take_tokens.rs`.

use super::take_tokens_grad::TakeTokensGrad;
use crate::device::recording::{Recorder, row_chunks};
use crate::graph::{
    Bindings, Class, DType, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType,
};
use crate::reference::{Scalar, take_tokens};
use crate::{kernel, twin};

/// x [b,n,d], index u32 [b,m], inverse u32 [b,n] (, fill [d]) -> y [b,m,d]: y[b,j] = x[b,index[b,j]]. An index of n or
/// more names no token: y is the fill there, or zero.
///
/// The inverse is what makes the gradient a gather too, without atomics: inverse[b,i] is the place j with index[b,j] =
/// i, and m or more where token i is not taken. Each token is taken once at most. With rank and kept of
/// [`super::mask_ranks::MaskRanks`]:
/// - an encoder's visible patches: index `kept`, inverse `rank`;
/// - a decoder's patches in their places: index `rank`, inverse `kept`, and the mask token as the fill.
#[derive(Clone, Copy, Debug)]
pub struct TakeTokens {
    /// There is a fill.
    pub fill: bool,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    size: u32,
    width: u32,
    m: u32,
    n: u32,
}

impl Op for TakeTokens {
    fn name(&self) -> &'static str {
        "take_tokens"
    }
    fn class(&self) -> Class {
        Class::Layout
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let message =
            "needs x [b,n,d], index u32 [b,m], inverse u32 [b,n], and with a fill that [d]";
        let [x, index, inverse, fill @ ..] = inputs else {
            return Err(message.into());
        };
        let [b, n, d] = x.rank("x")?;
        let [c, m] = index.rank("index")?;
        let integers = [index, inverse].iter().all(|t| t.dtype == DType::U32);
        let fills = fill.len() == usize::from(self.fill) && fill.iter().all(|t| t.dims() == [d]);
        if c != b || inverse.dims() != [b, n] || !integers || !fills || x.dtype != DType::F32 {
            return Err(message.into());
        }
        Ok(vec![TensorType::f32([b, m, d])])
    }
    fn gradient(
        &self,
        g: &mut Graph,
        node: NodeId,
        dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let inputs = g.node(node).inputs.clone();
        let Some(dy) = dy[0] else {
            return Ok(vec![None; inputs.len()]);
        };
        let (index, inverse, tokens) = (inputs[1], inputs[2], g.dims(inputs[0])[1]);
        let dx = g.push1(Self { fill: false }, &[dy, inverse, index])?;
        let mut out = vec![Some(dx), None, None];
        if self.fill {
            out.push(Some(g.push1(TakeTokensGrad { tokens }, &[dy, index])?));
        }
        Ok(out)
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let (x, index, y) = (&io.inputs[0], &io.inputs[1], &io.outputs[0]);
        let d = x.dims()[2];
        let wide = if d.is_multiple_of(4) { 4 } else { 1 };
        let kernel = kernel!("take_tokens", "main")
            .flag("VEC4", wide == 4)
            .flag("FILL", self.fill);
        for r in row_chunks(&[x, index, y], rec.limits()) {
            let [x, index, y] = [x, index, y].map(|v| v.rows(r.clone()));
            let size = y.elements() / wide;
            let p = Params {
                size: size as u32,
                width: (d / wide) as u32,
                m: y.dims()[1] as u32,
                n: x.dims()[1] as u32,
            };
            let mut bound = vec![&x, &index, &y];
            bound.extend(io.inputs.get(3));
            rec.dispatch(&kernel, &p, &bound, size.div_ceil(64))?;
        }
        Ok(())
    }
    twin!();
}

impl TakeTokens {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let (x, y) = (io.input_types[0].dims(), io.output_types[0].dims());
        let sizes = (y[1], x[1], x[2]);
        let fill = self.fill.then(|| io.input(3));
        let (x, index) = (io.input(0), io.input_u32(1));
        take_tokens::take_tokens(sizes, x, index, fill, io.output(0));
    }
}
