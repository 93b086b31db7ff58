//! `sgd`: SGD with momentum over all parameters at once, with clipping and a non-finite guard. Twin:
//! `reference/sgd.rs`.

use crate::device::recording::Recorder;
use crate::graph::state::ALIGN;
use crate::graph::{Bindings, Class, Cost, HostIo, Op, Result, TensorType};
use crate::reference::{Scalar, sgd};
use crate::{kernel, twin};

/// Inputs: grads [n], squared norm [1], segment u32 [n/64], table [segments,4]; updates: params [n], momentum buffer
/// [n], halt u32 [1].
///
/// PyTorch's semantics: weight decay is added to the gradient of every parameter, the buffer starts as the first
/// gradient (from zero that is what `v = m v + g` gives). Once a gradient norm is not finite, `halt` holds that step
/// + 1 and no update happens any more.
#[derive(Clone, Copy, Debug)]
pub struct Sgd {
    /// Momentum.
    pub momentum: f64,
    /// Nesterov's form.
    pub nesterov: bool,
    /// Clip the global gradient norm to this; 0: never.
    pub max_norm: f64,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    n: u32,
    momentum: f32,
    max_norm: f32,
    r: u32,
}

impl Op for Sgd {
    fn name(&self) -> &'static str {
        "sgd"
    }
    fn class(&self) -> Class {
        Class::Optimiser
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let [grad, norm2, segment, table, w, v, halt] = inputs else {
            return Err(
                "needs grads, squared norm, segments, table; parameters, momentum, halt".into(),
            );
        };
        let n = grad.elements();
        let fits =
            w.elements() == n && v.elements() == n && norm2.elements() == 1 && halt.elements() == 1;
        if !fits || n % ALIGN != 0 || segment.elements() != n / ALIGN || table.elements() % 4 != 0 {
            return Err("vectors of one length (a multiple of 64), a segment per 64 elements, a table of fours".into());
        }
        Ok(Vec::new())
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let (grad, norm2, segment, table) =
            (&io.inputs[0], &io.inputs[1], &io.inputs[2], &io.inputs[3]);
        let (w, v, halt) = (&io.updates[0], &io.updates[1], &io.updates[2]);
        let n = grad.elements();
        // Pieces of whole alignment units of the segment list as well: 64 segments = 4096 elements.
        let piece = (rec.limits().max_binding / 4 / 4096 * 4096).max(4096);
        for start in (0..n).step_by(piece) {
            let len = piece.min(n - start);
            let p = Params {
                n: (len / 4) as u32,
                momentum: self.momentum as f32,
                max_norm: self.max_norm as f32,
                r: 0,
            };
            let cut = |x: &crate::device::recording::View| x.flat(start..start + len);
            let seg = segment.flat(start / ALIGN..(start + len) / ALIGN);
            let k = kernel!("sgd", "main").flag("NESTEROV", self.nesterov);
            rec.dispatch(
                &k,
                &p,
                &[&cut(grad), norm2, &seg, table, &cut(w), &cut(v), halt],
                (len / 4).div_ceil(256),
            )?;
        }
        let p = Params {
            n: n as u32,
            momentum: self.momentum as f32,
            max_norm: self.max_norm as f32,
            r: 0,
        };
        Ok(rec.dispatch(
            &kernel!("sgd", "latch").define("LATCH", ""),
            &p,
            &[norm2, halt],
            1,
        )?)
    }
    fn cost(&self, inputs: &[&TensorType], _outputs: &[&TensorType]) -> Cost {
        Cost::updating(inputs, 4, 8.0)
    }
    twin!();
}

impl Sgd {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let (grad, norm2, segment, table) =
            (io.input(0), io.input(1)[0], io.input_u32(2), io.input(3));
        let op = sgd::Sgd {
            lr: T::of(f64::from(io.step.lr)),
            momentum: T::of(self.momentum),
            nesterov: self.nesterov,
            max_norm: T::of(self.max_norm),
        };
        let step = io.step.step;
        let [w, v, halt] = io.updates.as_mut_slice() else {
            return;
        };
        let halt = halt.u32();
        if halt[0] == 0 && !op.run(grad, norm2, segment, table, w.float(), v.float()) {
            halt[0] = step + 1;
        }
    }
}
