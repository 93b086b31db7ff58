//! `batch_norm_grad`: the gradient of batch normalisation in training mode. Twin: `reference/batch_norm_grad.rs`.

use super::channels::{self, Params, Sums, matrix, runs};
use crate::device::Limits;
use crate::device::recording::{Recorder, row_chunks};
use crate::graph::{Bindings, Class, HostIo, Op, Result, TensorType};
use crate::reference::Scalar;
use crate::reference::batch_norm_grad::{self as reference, Mask};
use crate::{kernel, twin};

/// dy, x [..,c], gamma, mean, variance [c] (, for a ReLU's mask: beta [c], or where a residual was added the forward
/// output y [..,c]) -> dx, dgamma, dbeta (, dresidual).
#[derive(Clone, Copy, Debug)]
pub struct BatchNormGrad {
    /// Added to the variance.
    pub eps: f32,
    /// The forward pass ended with a ReLU.
    pub relu: bool,
    /// The forward pass added a residual.
    pub residual: bool,
}

impl Op for BatchNormGrad {
    fn name(&self) -> &'static str {
        "batch_norm_grad"
    }
    fn class(&self) -> Class {
        Class::Normalisation
    }
    fn takes_f16(&self) -> bool {
        true
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let [dy, x, gamma, mean, var, mask @ ..] = inputs else {
            return Err("needs dy, x, gamma, mean, variance".into());
        };
        if mask.len() != usize::from(self.relu) {
            return Err(
                "needs beta, or with a residual the forward output y, where that ended with a ReLU, and only \
                 there".into(),
            );
        }
        let (_, c) = matrix(x.dims());
        let (y, beta) = mask.split_at(if self.residual { mask.len() } else { 0 });
        let vectors = [gamma, mean, var].into_iter().chain(beta);
        if dy != x || y.iter().any(|y| y != x) || vectors.into_iter().any(|t| t.dims() != [c]) {
            return Err("dy and y must have the shape of x, the vectors its channels".into());
        }
        let mut out = vec![(*x).clone(), TensorType::f32([c]), TensorType::f32([c])];
        if self.residual {
            out.push((*x).clone());
        }
        Ok(out)
    }
    fn workspace(&self, inputs: &[&TensorType], limits: &Limits) -> Vec<TensorType> {
        let (_, c) = matrix(inputs[0].dims());
        vec![
            TensorType::f32([runs(inputs[0], limits), c, 2]),
            TensorType::f32([4, c]),
        ]
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let [dy, x, gamma, mean, var] = [0, 1, 2, 3, 4].map(|i| &io.inputs[i]);
        let mask = io.inputs.get(5);
        let (dx, dgamma, dbeta) = (&io.outputs[0], &io.outputs[1], &io.outputs[2]);
        let dr = io.outputs.get(3);
        let (part, factors) = (&io.workspace[0], &io.workspace[1]);
        let (m, c) = matrix(x.dims());
        let p = Params {
            eps: self.eps,
            inv_m: (1.0 / m as f64) as f32,
            ..Params::default()
        };
        let sums = Sums::of(m, c, x.is_half());
        // Behind a ReLU the residual's gradient is what the mask leaves of dy: the sums write it, and the last kernel
        // need not read dy and y.
        let masked = dr.filter(|_| self.relu);
        let mut first = 0;
        let pieces = row_chunks(&[x], rec.limits());
        for r in pieces.clone() {
            let (x, dy) = (x.rows(r.clone()), dy.rows(r.clone()));
            let y = mask.filter(|_| self.residual).map(|v| v.rows(r.clone()));
            let masked = masked.map(|v| v.rows(r));
            let k = kernel!("batch_norm_grad", "partial")
                .define("PARTIAL", "")
                .flag("HALF", x.is_half())
                .flag("RELU", self.relu)
                .flag("RESIDUAL", masked.is_some());
            let mut bound = vec![&dy, &x, mean, var, part];
            match (&y, mask) {
                (Some(y), _) => bound.push(y),
                (None, Some(beta)) => bound.extend([beta, gamma]),
                (None, None) => {}
            }
            bound.extend(masked.as_ref());
            let rows = (matrix(x.dims()).0, first);
            first += sums.record(rec, k, rows, &bound, p)?;
        }
        let k = kernel!("batch_norm_grad", "combine").define("COMBINE", "");
        let bound = [part, gamma, mean, var, dgamma, dbeta, factors];
        channels::record_combine(rec, &k, (first, c), &bound, p)?;
        let (dy, beta, dr) = match masked {
            Some(g) => (g, None, None),
            None => (dy, mask, dr),
        };
        // From the last piece to the first, as within a piece: what the sums read last may still be in a cache.
        for r in pieces.into_iter().rev() {
            let (x, dy, dx) = (x.rows(r.clone()), dy.rows(r.clone()), dx.rows(r.clone()));
            let dr = dr.map(|v| v.rows(r));
            let k = kernel!("batch_norm_grad", "apply")
                .define("APPLY", "")
                .flag("HALF", x.is_half())
                .flag("RELU", beta.is_some())
                .flag("RESIDUAL", dr.is_some());
            let mut bound = vec![&dy, &x, factors, &dx];
            bound.extend(beta);
            bound.extend(dr.as_ref());
            channels::record_map(rec, k, &x, &bound, p)?;
        }
        Ok(())
    }
    twin!();
}

impl BatchNormGrad {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let op = reference::BatchNormGrad {
            eps: T::of(f64::from(self.eps)),
            dy: io.input(0),
            x: io.input(1),
            mask: match (self.relu, self.residual) {
                (false, _) => Mask::None,
                (true, false) => Mask::Beta(io.input(5)),
                (true, true) => Mask::Output(io.input(5)),
            },
            gamma: io.input(2),
            mean: io.input(3),
            var: io.input(4),
        };
        if self.residual {
            let [dx, dgamma, dbeta, dr] = io.outputs_n();
            op.run(dx, dgamma, dbeta, Some(dr));
        } else {
            let [dx, dgamma, dbeta] = io.outputs_n();
            op.run(dx, dgamma, dbeta, None);
        }
    }
}
