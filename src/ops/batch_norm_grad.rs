//! `batch_norm_grad`: the gradient of batch normalisation in training mode. Twin: `reference/batch_norm_grad.rs`.

use super::batch_norm::{Params, ROWS, matrix, runs};
use crate::device::Limits;
use crate::device::recording::{Recorder, row_chunks};
use crate::graph::{Bindings, HostIo, Op, Result, TensorType};
use crate::reference::{Scalar, batch_norm_grad};
use crate::{kernel, twin};

/// dy, x, y [..,c] (y: the forward output, for the ReLU's mask), gamma, mean, variance [c] -> dx, dgamma, dbeta (, dresidual).
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
    fn takes_f16(&self) -> bool {
        true
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let [dy, x, y, gamma, mean, var] = inputs else {
            return Err("needs dy, x, y, gamma, mean, variance".into());
        };
        let (_, c) = matrix(x.dims());
        if dy != x || y != x || [gamma, mean, var].iter().any(|t| t.dims() != [c]) {
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
            TensorType::f32([c, 8]),
        ]
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let [dy, x, y, gamma, mean, var] = [0, 1, 2, 3, 4, 5].map(|i| &io.inputs[i]);
        let (dx, dgamma, dbeta) = (&io.outputs[0], &io.outputs[1], &io.outputs[2]);
        let (part, stats) = (&io.workspace[0], &io.workspace[1]);
        let (m, c) = matrix(x.dims());
        let params = |m: usize, first: usize, total: usize, runs: usize, inv_m: f32| Params {
            m: m as u32,
            c: c as u32,
            rows: ROWS as u32,
            first: first as u32,
            total: total as u32,
            runs: runs as u32,
            eps: self.eps,
            inv_m,
        };
        let mut first = 0;
        let pieces = row_chunks(&[x], rec.limits());
        for r in pieces.clone() {
            let (x, dy, y) = (x.rows(r.clone()), dy.rows(r.clone()), y.rows(r));
            let rows = matrix(x.dims()).0;
            let count = rows.div_ceil(ROWS);
            let k = kernel!("batch_norm_grad", "partial")
                .define("PARTIAL", "")
                .flag("HALF", x.is_half())
                .flag("RELU", self.relu);
            let mut bound = vec![&dy, &x, mean, var, part];
            if self.relu {
                bound.push(&y);
            }
            rec.dispatch(
                &k,
                &params(rows, first, count * c, 0, 0.0),
                &bound,
                (count * c).div_ceil(64),
            )?;
            first += count;
        }
        let k = kernel!("batch_norm_grad", "combine").define("COMBINE", "");
        rec.dispatch(
            &k,
            &params(0, 0, c, first, 0.0),
            &[part, dgamma, dbeta],
            c.div_ceil(64),
        )?;
        let k = kernel!("batch_norm_grad", "pack").define("STATS", "");
        let p = params(0, 0, c, 0, (1.0 / m as f64) as f32);
        rec.dispatch(
            &k,
            &p,
            &[gamma, mean, var, dgamma, dbeta, stats],
            c.div_ceil(64),
        )?;
        for r in pieces {
            let (x, dy, y, dx) = (
                x.rows(r.clone()),
                dy.rows(r.clone()),
                y.rows(r.clone()),
                dx.rows(r.clone()),
            );
            let dr = io.outputs.get(3).map(|v| v.rows(r));
            let total = x.elements();
            let k = kernel!("batch_norm_grad", "apply")
                .define("APPLY", "")
                .flag("HALF", x.is_half())
                .flag("RELU", self.relu)
                .flag("RESIDUAL", self.residual);
            let mut bound = vec![&dy, &x, stats, &dx];
            if self.relu {
                bound.push(&y);
            }
            bound.extend(dr.as_ref());
            rec.dispatch(&k, &params(0, 0, total, 0, 0.0), &bound, total.div_ceil(64))?;
        }
        Ok(())
    }
    twin!();
}

impl BatchNormGrad {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let op = batch_norm_grad::BatchNormGrad {
            eps: T::of(f64::from(self.eps)),
            dy: io.input(0),
            x: io.input(1),
            y: self.relu.then(|| io.input(2)),
            gamma: io.input(3),
            mean: io.input(4),
            var: io.input(5),
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
