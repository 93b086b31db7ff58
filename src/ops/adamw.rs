//! `adamw`: AdamW over all parameters at once, with clipping and a non-finite guard. Twin: `reference/adamw.rs`.

use crate::device::recording::{Recorder, View};
use crate::graph::state::ALIGN;
use crate::graph::{Bindings, Class, Cost, HostIo, Op, Result, TensorType};
use crate::reference::{Scalar, adamw};
use crate::{kernel, twin};

/// Inputs: grads [n], squared norm [1], segment u32 [n/64], table [segments,4]; updates: params, first moment, second
/// moment [n], halt u32 [1].
///
/// PyTorch's semantics (decoupled weight decay), corrected for bias by the number of steps since the start
/// (`step.step + 1`). Once a gradient norm is not finite, `halt` holds that step + 1 and no update happens any more.
#[derive(Clone, Copy, Debug)]
pub struct AdamW {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Clip the global gradient norm to this; 0: never.
    pub max_norm: f32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    n: u32,
    beta1: f32,
    beta2: f32,
    log_beta1: f32,
    log_beta2: f32,
    eps: f32,
    max_norm: f32,
    r: u32,
}

impl AdamW {
    fn params(&self, n: usize) -> Params {
        let [beta1, beta2, eps] = [self.beta1, self.beta2, self.eps].map(|v| v as f32);
        let log = |beta: f32| f64::from(beta).ln() as f32;
        Params {
            n: n as u32,
            beta1,
            beta2,
            log_beta1: log(beta1),
            log_beta2: log(beta2),
            eps,
            max_norm: self.max_norm,
            r: 0,
        }
    }

    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let (grad, norm2, segment, table) =
            (io.input(0), io.input(1)[0], io.input_u32(2), io.input(3));
        let t = io.step.step + 1;
        let op = adamw::AdamW {
            lr: T::of(f64::from(io.step.lr)),
            beta1: T::of(self.beta1),
            beta2: T::of(self.beta2),
            eps: T::of(self.eps),
            max_norm: T::of(f64::from(self.max_norm)),
            t,
        };
        let [w, m, v, halt] = io.updates.as_mut_slice() else {
            return;
        };
        let state = [w.float(), m.float(), v.float()];
        let halt = halt.u32();
        if halt[0] == 0 && !op.run(grad, norm2, segment, table, state) {
            halt[0] = t;
        }
    }
}

impl Op for AdamW {
    fn name(&self) -> &'static str {
        "adamw"
    }
    fn class(&self) -> Class {
        Class::Optimiser
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let [grad, norm2, segment, table, w, m, v, halt] = inputs else {
            return Err(
                "needs grads, squared norm, segments, table; parameters, two moments, halt".into(),
            );
        };
        let n = grad.elements();
        let fits = [w, m, v].iter().all(|t| t.elements() == n)
            && norm2.elements() == 1
            && halt.elements() == 1;
        if !fits || n % ALIGN != 0 || segment.elements() != n / ALIGN || table.elements() % 4 != 0 {
            return Err("vectors of one length (a multiple of 64), a segment per 64 elements, a table of fours".into());
        }
        Ok(Vec::new())
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let (grad, norm2, segment, table) =
            (&io.inputs[0], &io.inputs[1], &io.inputs[2], &io.inputs[3]);
        let (w, m, v, halt) = (
            &io.updates[0],
            &io.updates[1],
            &io.updates[2],
            &io.updates[3],
        );
        let n = grad.elements();
        // Whole alignment units of the segment list as well: 64 segments = 4096 elements.
        let piece = (rec.limits().max_binding / 4 / 4096 * 4096).max(4096);
        for start in (0..n).step_by(piece) {
            let len = piece.min(n - start);
            let cut = |x: &View| x.flat(start..start + len);
            let seg = segment.flat(start / ALIGN..(start + len) / ALIGN);
            let bound = [
                &cut(grad),
                norm2,
                &seg,
                table,
                &cut(w),
                &cut(m),
                &cut(v),
                halt,
            ];
            rec.dispatch(
                &kernel!("adamw", "main"),
                &self.params(len / 4),
                &bound,
                (len / 4).div_ceil(256),
            )?;
        }
        let latch = kernel!("adamw", "latch").define("LATCH", "");
        Ok(rec.dispatch(&latch, &self.params(n), &[norm2, halt], 1)?)
    }
    fn cost(&self, inputs: &[&TensorType], _outputs: &[&TensorType]) -> Cost {
        Cost::updating(inputs, 4, 18.0)
    }
    twin!();
}
