//! `batch_norm_grad`: the gradient of batch normalisation in training mode. Twin: `reference/batch_norm_grad.rs`.

use super::channels::{self, Params, Sums, matrix, runs};
use crate::device::Limits;
use crate::device::recording::{Recorder, View, row_chunks};
use crate::graph::{Bindings, Class, HostIo, Op, Result, TensorType};
use crate::reference::Scalar;
use crate::reference::batch_norm_grad::{self as reference, Mask};
use crate::{kernel, twin};

/// dy, x [..,c], gamma, mean, variance [c] (, for a ReLU's mask: beta [c], or where a residual was added the forward
/// output y [..,c]) -> dx, dgamma, dbeta (, dresidual).
///
/// For norms whose statistics are of other rows too it is two ops, between which these rows' sums are added:
/// [`BatchNormGradSums`], [`BatchNormGradApply`].
#[derive(Clone, Copy, Debug)]
pub struct BatchNormGrad {
    /// Added to the variance.
    pub eps: f32,
    /// The forward pass ended with a ReLU.
    pub relu: bool,
    /// The forward pass added a residual.
    pub residual: bool,
}

/// The first half of [`BatchNormGrad`]: its inputs -> dgamma [c], dbeta [c] of these rows (, behind a ReLU with a
/// residual what the ReLU lets through of dy, which is the residual's gradient).
#[derive(Clone, Copy, Debug)]
pub struct BatchNormGradSums(pub BatchNormGrad);

/// The second half: dy, x [..,c], gamma, mean, variance [c], dgamma, dbeta [c] of all rows (, for a ReLU's mask beta
/// [c]; where a residual was added dy is what the ReLU lets through) -> dx.
#[derive(Clone, Copy, Debug)]
pub struct BatchNormGradApply {
    /// Added to the variance.
    pub eps: f32,
    /// The ReLU's mask is made of beta.
    pub relu: bool,
    /// Values per channel that the statistics are of, more than those of x.
    pub count: usize,
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
        let (x, c) = self.check(inputs)?;
        let mut out = vec![x.clone(), TensorType::f32([c]), TensorType::f32([c])];
        if self.residual {
            out.push(x.clone());
        }
        Ok(out)
    }
    fn workspace(&self, inputs: &[&TensorType], limits: &Limits) -> Vec<TensorType> {
        let (_, c) = matrix(inputs[0].dims());
        vec![TensorType::f32([runs(inputs[0], limits), c, 2]), factors(c)]
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let [dy, x] = [0, 1].map(|i| &io.inputs[i]);
        let mask = io.inputs.get(5);
        let (dx, dgamma, dbeta) = (&io.outputs[0], &io.outputs[1], &io.outputs[2]);
        let dr = io.outputs.get(3);
        let (part, factors) = (&io.workspace[0], &io.workspace[1]);
        let p = params(self.eps, matrix(x.dims()).0);
        // Behind a ReLU the residual's gradient is what the mask leaves of dy: the sums write it, and the last kernel
        // need not read dy and y.
        let masked = dr.filter(|_| self.relu);
        self.record_sums(rec, &io.inputs, masked, part, [dgamma, dbeta, factors])?;
        let (dy, beta, dr) = match masked {
            Some(g) => (g, None, None),
            None => (dy, mask, dr),
        };
        record_apply(rec, [dy, x, factors, dx], beta, dr, p)
    }
    twin!();
}

/// What the last kernel takes of each channel.
fn factors(c: usize) -> TensorType {
    TensorType::f32([4, c])
}

fn params(eps: f32, count: usize) -> Params {
    Params {
        eps,
        inv_m: (1.0 / count as f64) as f32,
        ..Params::default()
    }
}

/// Records dx = [3] of dy = [0], x = [1] and the factors = [2], piece by piece; the ReLU's mask by `beta`. `dr` gets
/// what the mask leaves of dy.
fn record_apply(
    rec: &mut Recorder<'_>,
    [dy, x, factors, dx]: [&View; 4],
    beta: Option<&View>,
    dr: Option<&View>,
    p: Params,
) -> Result<()> {
    // From the last piece to the first, as within a piece: what the sums read last may still be in a cache.
    for r in row_chunks(&[x], rec.limits()).into_iter().rev() {
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

impl BatchNormGrad {
    /// Type of x, and its channels.
    fn check<'t>(
        &self,
        inputs: &[&'t TensorType],
    ) -> std::result::Result<(&'t TensorType, usize), String> {
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
        Ok((*x, c))
    }

    /// Records dgamma, dbeta and, for x's own rows, the factors; `masked` gets what the ReLU lets through of dy.
    fn record_sums(
        &self,
        rec: &mut Recorder<'_>,
        inputs: &[View],
        masked: Option<&View>,
        part: &View,
        [dgamma, dbeta, factors]: [&View; 3],
    ) -> Result<()> {
        let [dy, x, gamma, mean, var] = [0, 1, 2, 3, 4].map(|i| &inputs[i]);
        let mask = inputs.get(5);
        let (m, c) = matrix(x.dims());
        let p = params(self.eps, m);
        let sums = Sums::of(m, c, x.is_half());
        let mut first = 0;
        for r in row_chunks(&[x], rec.limits()) {
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
        channels::record_combine(rec, &k, (first, c), &bound, p)
    }

    /// The operands of the twins.
    fn operands<'a, T: Scalar>(&self, io: &HostIo<'a, T>) -> reference::BatchNormGrad<'a, T> {
        reference::BatchNormGrad {
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
        }
    }

    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let op = self.operands(io);
        if self.residual {
            let [dx, dgamma, dbeta, dr] = io.outputs_n();
            op.run(dx, dgamma, dbeta, Some(dr));
        } else {
            let [dx, dgamma, dbeta] = io.outputs_n();
            op.run(dx, dgamma, dbeta, None);
        }
    }
}

impl Op for BatchNormGradSums {
    fn name(&self) -> &'static str {
        "batch_norm_grad_sums"
    }
    fn class(&self) -> Class {
        Class::Normalisation
    }
    fn takes_f16(&self) -> bool {
        true
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let (x, c) = self.0.check(inputs)?;
        let mut out = vec![TensorType::f32([c]), TensorType::f32([c])];
        if self.0.relu && self.0.residual {
            out.push(x.clone());
        }
        Ok(out)
    }
    fn workspace(&self, inputs: &[&TensorType], limits: &Limits) -> Vec<TensorType> {
        self.0.workspace(inputs, limits)
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let (part, factors) = (&io.workspace[0], &io.workspace[1]);
        let made = [&io.outputs[0], &io.outputs[1], factors];
        let masked = io.outputs.get(2);
        self.0.record_sums(rec, &io.inputs, masked, part, made)
    }
    twin!();
}

impl BatchNormGradSums {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let op = self.0.operands(io);
        if self.0.relu && self.0.residual {
            let [dgamma, dbeta, masked] = io.outputs_n();
            op.sums(dgamma, dbeta);
            op.masked(masked);
        } else {
            let [dgamma, dbeta] = io.outputs_n();
            op.sums(dgamma, dbeta);
        }
    }
}

impl Op for BatchNormGradApply {
    fn name(&self) -> &'static str {
        "batch_norm_grad_apply"
    }
    fn class(&self) -> Class {
        Class::Normalisation
    }
    fn takes_f16(&self) -> bool {
        true
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let [dy, x, vectors @ ..] = inputs else {
            return Err("needs dy and x".into());
        };
        let (m, c) = matrix(x.dims());
        if vectors.len() != 5 + usize::from(self.relu) || vectors.iter().any(|t| t.dims() != [c]) {
            return Err(format!(
                "needs gamma, mean, variance, dgamma, dbeta, and beta for a ReLU's mask, each [{c}]"
            ));
        }
        if dy != x || self.count < m {
            return Err("dy must have the shape of x, whose rows are among those counted".into());
        }
        Ok(vec![(*x).clone()])
    }
    fn workspace(&self, inputs: &[&TensorType], _limits: &Limits) -> Vec<TensorType> {
        vec![factors(matrix(inputs[0].dims()).1)]
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let [dy, x, gamma, mean, var, dgamma, dbeta] = [0, 1, 2, 3, 4, 5, 6].map(|i| &io.inputs[i]);
        let (factors, c) = (&io.workspace[0], gamma.elements());
        let p = params(self.eps, self.count);
        let k = kernel!("batch_norm_grad", "factors_of_sums").define("FACTORS", "");
        let of_channels = Params { c: c as u32, ..p };
        let bound = [gamma, mean, var, dgamma, dbeta, factors];
        rec.dispatch(&k, &of_channels, &bound, c.div_ceil(256))?;
        record_apply(
            rec,
            [dy, x, factors, &io.outputs[0]],
            io.inputs.get(7),
            None,
            p,
        )
    }
    twin!();
}

impl BatchNormGradApply {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let op = reference::BatchNormGrad {
            eps: T::of(f64::from(self.eps)),
            dy: io.input(0),
            x: io.input(1),
            mask: match self.relu {
                true => Mask::Beta(io.input(7)),
                false => Mask::None,
            },
            gamma: io.input(2),
            mean: io.input(3),
            var: io.input(4),
        };
        let sums = [io.input(5), io.input(6)];
        op.apply(self.count, sums, io.output(0), None);
    }
}
