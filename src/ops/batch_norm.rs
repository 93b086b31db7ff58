//! `batch_norm`: batch normalisation in training mode, with fused ReLU and residual. Twin: `reference/batch_norm.rs`.
//! The inference form ([`BatchNormInference`]) is the same kernel's last entry point with given statistics.

use super::batch_norm_grad::BatchNormGrad;
use super::channels::{self, Params, Sums, matrix, runs};
use crate::device::Limits;
use crate::device::recording::{Recorder, View, row_chunks};
use crate::graph::onnx::{Attribute, Axes, OnnxForm, Operand};
use crate::graph::{
    Bindings, Class, DType, Graph, HostIo, Node, NodeId, Op, Result, TensorId, TensorType,
};
use crate::reference::{Scalar, batch_norm};
use crate::{kernel, twin};
use std::sync::Arc;

/// x [..,c] (f32 or f16), gamma [c], beta [c] (, residual as x) -> y as x, mean [c], biased variance [c], these f32.
#[derive(Clone, Copy, Debug)]
pub struct BatchNorm {
    /// Added to the variance.
    pub eps: f32,
    /// y = max(y, 0) last.
    pub relu: bool,
    /// Fourth input: added before the ReLU.
    pub residual: bool,
}

/// x [..,c] (f32 or f16) -> mean [c], biased variance [c]: the first half of [`BatchNorm`], for norms whose statistics
/// are of other rows too (`batch_norm_of_ranks`, whose gradient rule accounts for both).
#[derive(Clone, Copy, Debug)]
pub struct BatchNormStatistics;

/// x [..,c] (f32 or f16), gamma, beta, mean, variance [c] (, residual) -> y: by running statistics when a network is
/// evaluated, and by the batch's own where the backward pass makes a result anew.
#[derive(Clone, Copy, Debug)]
pub struct BatchNormInference {
    /// Added to the variance.
    pub eps: f32,
    /// y = max(y, 0) last.
    pub relu: bool,
    /// Last input: added before the ReLU.
    pub residual: bool,
}

fn check(
    inputs: &[&TensorType],
    vectors: usize,
    residual: bool,
) -> std::result::Result<(), String> {
    if inputs.len() != 1 + vectors + usize::from(residual) {
        return Err(format!(
            "needs {} inputs",
            1 + vectors + usize::from(residual)
        ));
    }
    let (m, c) = matrix(inputs[0].dims());
    if inputs[0].shape.rank() < 2 || m == 0 {
        return Err("x needs rows and channels".into());
    }
    if inputs[1..=vectors]
        .iter()
        .any(|t| t.dims() != [c] || t.dtype != DType::F32)
    {
        return Err(format!("scale, shift and statistics must be [{c}]"));
    }
    if residual && inputs[vectors + 1] != inputs[0] {
        return Err("the residual must have the shape of x".into());
    }
    Ok(())
}

/// What the statistics of x need beside them: (mean, M2, count) of every run.
fn partial_moments(x: &TensorType, limits: &Limits) -> Vec<TensorType> {
    let (_, c) = matrix(x.dims());
    vec![TensorType::f32([runs(x, limits), c, 4])]
}

/// Records mean and variance of x, piece by piece, with `part` from [`partial_moments`].
fn record_statistics(
    rec: &mut Recorder<'_>,
    x: &View,
    part: &View,
    [mean, var]: [&View; 2],
) -> Result<()> {
    let (m, c) = matrix(x.dims());
    let sums = Sums::of(m, c, x.is_half());
    let mut first = 0;
    for r in row_chunks(&[x], rec.limits()) {
        let x = x.rows(r);
        let rows = (matrix(x.dims()).0, first);
        let k = kernel!("batch_norm", "partial")
            .define("PARTIAL", "")
            .flag("HALF", x.is_half());
        first += sums.record(rec, k, rows, &[&x, part], Params::default())?;
    }
    let k = kernel!("batch_norm", "combine").define("COMBINE", "");
    let bound = [part, mean, var];
    channels::record_combine(rec, &k, (first, c), &bound, Params::default())
}

/// Records the affine part, piece by piece.
fn record_apply(
    rec: &mut Recorder<'_>,
    x: &View,
    vectors: [&View; 4],
    residual: Option<&View>,
    y: &View,
    (eps, relu): (f32, bool),
) -> Result<()> {
    // From the last piece to the first, as within a piece: what the sums read last may still be in a cache.
    for r in row_chunks(&[x, y], rec.limits()).into_iter().rev() {
        let (x, y, res) = (
            x.rows(r.clone()),
            y.rows(r.clone()),
            residual.map(|v| v.rows(r)),
        );
        let k = kernel!("batch_norm", "apply")
            .define("APPLY", "")
            .flag("HALF", x.is_half())
            .flag("RELU", relu)
            .flag("RESIDUAL", residual.is_some());
        let [gamma, beta, mean, var] = vectors;
        let mut bound = vec![&x, gamma, beta, mean, var, &y];
        bound.extend(res.as_ref());
        let p = Params {
            eps,
            ..Params::default()
        };
        channels::record_map(rec, k, &x, &bound, p)?;
    }
    Ok(())
}

impl Op for BatchNorm {
    fn name(&self) -> &'static str {
        match (self.relu, self.residual) {
            (false, false) => "batch_norm",
            (true, false) => "batch_norm_relu",
            (false, true) => "batch_norm_add",
            (true, true) => "batch_norm_add_relu",
        }
    }
    fn class(&self) -> Class {
        Class::Normalisation
    }
    fn takes_f16(&self) -> bool {
        true
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        check(inputs, 2, self.residual)?;
        let (_, c) = matrix(inputs[0].dims());
        Ok(vec![
            inputs[0].clone(),
            TensorType::f32([c]),
            TensorType::f32([c]),
        ])
    }
    fn workspace(&self, inputs: &[&TensorType], limits: &Limits) -> Vec<TensorType> {
        partial_moments(inputs[0], limits)
    }
    fn gradient(
        &self,
        g: &mut Graph,
        node: NodeId,
        dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let n = g.node(node);
        let (x, gamma, beta, inputs) = (n.inputs[0], n.inputs[1], n.inputs[2], n.inputs.len());
        let (y, mean, var) = (n.outputs[0], n.outputs[1], n.outputs[2]);
        // The batch statistics are results for the running averages only: no gradient comes back through them.
        let Some(dy) = dy[0] else {
            return Ok(vec![None; inputs]);
        };
        let op = BatchNormGrad {
            eps: self.eps,
            relu: self.relu,
            residual: self.residual,
        };
        let mut of = vec![dy, x, gamma, mean, var];
        if self.relu {
            of.push(if self.residual { y } else { beta });
        }
        let d = g.push(op, &of)?;
        Ok(d.into_iter().map(Some).collect())
    }
    /// With a ReLU, y would be kept for the next layer's gradient alone: this op's own finds from x and beta what the
    /// ReLU let through. Recomputing y costs one read and one write of its size, and the gradient's two passes do not
    /// read y, so it is as fast as keeping y and needs half the memory. Not with a residual: the recipe would read
    /// it, and it would have to be kept in y's place. Not without a ReLU: such a norm ends a shortcut, and no
    /// gradient reads y.
    fn rematerialise(&self, node: &Node) -> Option<(Arc<dyn Op>, Vec<TensorId>)> {
        let (eps, relu, residual) = (self.eps, self.relu, self.residual);
        let op = BatchNormInference {
            eps,
            relu,
            residual,
        };
        let [x, gamma, beta, ..] = node.inputs[..] else {
            return None;
        };
        let of = vec![x, gamma, beta, node.outputs[1], node.outputs[2]];
        (relu && !residual).then(|| (Arc::new(op) as Arc<dyn Op>, of))
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let x = &io.inputs[0];
        let [y, mean, var] = [0, 1, 2].map(|i| &io.outputs[i]);
        record_statistics(rec, x, &io.workspace[0], [mean, var])?;
        let vectors = [&io.inputs[1], &io.inputs[2], mean, var];
        record_apply(rec, x, vectors, io.inputs.get(3), y, (self.eps, self.relu))
    }
    twin!();
}

impl BatchNorm {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let (x, gamma, beta) = (io.input(0), io.input(1), io.input(2));
        let residual = self.residual.then(|| io.input(3));
        let [y, mean, var] = io.outputs_n();
        batch_norm::statistics(gamma.len(), x, mean, var);
        batch_norm::apply(
            T::of(f64::from(self.eps)),
            self.relu,
            x,
            gamma,
            beta,
            mean,
            var,
            residual,
            y,
        );
    }
}

impl Op for BatchNormStatistics {
    fn name(&self) -> &'static str {
        "batch_norm_statistics"
    }
    fn class(&self) -> Class {
        Class::Normalisation
    }
    fn takes_f16(&self) -> bool {
        true
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        check(inputs, 0, false)?;
        let (_, c) = matrix(inputs[0].dims());
        Ok(vec![TensorType::f32([c]), TensorType::f32([c])])
    }
    fn workspace(&self, inputs: &[&TensorType], limits: &Limits) -> Vec<TensorType> {
        partial_moments(inputs[0], limits)
    }
    fn gradient(
        &self,
        _g: &mut Graph,
        _node: NodeId,
        _dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        // What x does through its statistics is part of the gradient of the norm that takes them.
        Ok(vec![None])
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let of = [&io.outputs[0], &io.outputs[1]];
        record_statistics(rec, &io.inputs[0], &io.workspace[0], of)
    }
    twin!();
}

impl BatchNormStatistics {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let (x, (_, c)) = (io.input(0), matrix(io.input_types[0].dims()));
        let [mean, var] = io.outputs_n();
        batch_norm::statistics(c, x, mean, var);
    }
}

impl Op for BatchNormInference {
    fn name(&self) -> &'static str {
        "batch_norm_inference"
    }
    fn class(&self) -> Class {
        Class::Normalisation
    }
    fn takes_f16(&self) -> bool {
        true
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        check(inputs, 4, self.residual)?;
        Ok(vec![inputs[0].clone()])
    }
    fn onnx(&self, _inputs: &[&TensorType]) -> Option<OnnxForm> {
        let mut form = OnnxForm::new(Axes::ChannelsFirst);
        let mut operands = vec![Operand::Input(0, Axes::ChannelsFirst)];
        operands.extend((1..5).map(|i| Operand::Input(i, Axes::Graph)));
        let eps = vec![("epsilon", Attribute::Float(self.eps))];
        let mut y = form.push_with("BatchNormalization", operands, eps);
        if self.residual {
            y = form.push("Add", vec![y, Operand::Input(5, Axes::ChannelsFirst)]);
        }
        if self.relu {
            form.push("Relu", vec![y]);
        }
        Some(form)
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let i = &io.inputs;
        record_apply(
            rec,
            &i[0],
            [&i[1], &i[2], &i[3], &i[4]],
            i.get(5),
            &io.outputs[0],
            (self.eps, self.relu),
        )
    }
    twin!();
}

impl BatchNormInference {
    pub(super) fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let (x, gamma, beta, mean, var) = (
            io.input(0),
            io.input(1),
            io.input(2),
            io.input(3),
            io.input(4),
        );
        let residual = self.residual.then(|| io.input(5));
        batch_norm::apply(
            T::of(f64::from(self.eps)),
            self.relu,
            x,
            gamma,
            beta,
            mean,
            var,
            residual,
            io.output(0),
        );
    }
}
