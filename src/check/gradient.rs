//! Gradient rules against central differences through the f64 twin.
//!
//! The op stands mid-graph: loss = sum over outputs of sum(coefficient * output), with random coefficients, so that a
//! rule that drops its upstream gradient is caught.

use super::{Case, Feed, Fill, harness};
use crate::graph::host::HostExecutor;
use crate::graph::{DType, Executor, Graph, GraphError, HostData, States, TensorId};
use crate::ops;

/// Largest number of elements of an input that are differenced (spread evenly over it).
const PROBES: usize = 24;

/// A case's op mid-graph: what is fed, and the loss.
struct Probe {
    graph: Graph,
    states: States,
    inputs: Vec<TensorId>,
    feeds: Vec<(TensorId, HostData)>,
    loss: TensorId,
}

impl Probe {
    /// `None`: the op has no float output that a loss could be made of.
    fn new(case: &Case) -> Result<Option<Self>, GraphError> {
        let (mut graph, states, inputs, outputs) = harness::build(case)?;
        let fed = inputs.iter().zip(&case.inputs).enumerate();
        let mut feeds: Vec<(TensorId, HostData)> =
            fed.map(|(i, (t, f))| (*t, f.make(case.seed(i)))).collect();
        let mut loss = None;
        for (i, o) in outputs.iter().enumerate().take(case.loss_outputs) {
            if graph.ty(*o).dtype != DType::F32 {
                continue;
            }
            let feed = Feed {
                ty: graph.ty(*o).clone(),
                fill: Fill::Uniform(0.5, 1.5),
            };
            let coef = graph.input(&format!("coefficient {i}"), feed.ty.clone());
            feeds.push((coef, feed.make(case.seed(100 + i))));
            let product = graph.push1(ops::mul::Mul, &[*o, coef])?;
            let part = graph.push1(ops::sum_all::SumAll, &[product])?;
            loss = Some(match loss {
                None => part,
                Some(l) => graph.push1(ops::add::Add, &[l, part])?,
            });
        }
        Ok(loss.map(|loss| Self {
            graph,
            states,
            inputs,
            feeds,
            loss,
        }))
    }
}

/// The inputs to which the op's rule gives a gradient, found by asking the rule: none where the op has no rule.
///
/// # Errors
/// What is wrong with the case's graph.
pub fn differentiable(case: &Case) -> Result<Vec<usize>, String> {
    let fail = |e: GraphError| format!("{}: {e}", case.title());
    let Some(mut probe) = Probe::new(case).map_err(fail)? else {
        return Ok(Vec::new());
    };
    let inputs = probe.inputs.iter().zip(&case.inputs).enumerate();
    let (at, wrt): (Vec<usize>, Vec<TensorId>) = inputs
        .filter(|(_, (_, f))| f.ty.dtype == DType::F32)
        .map(|(i, (t, _))| (i, *t))
        .unzip();
    match ops::backward(&mut probe.graph, probe.loss, &wrt) {
        Ok(grads) => {
            let given = at.into_iter().zip(grads);
            Ok(given.filter_map(|(i, g)| g.map(|_| i)).collect())
        }
        Err(GraphError::NoGradient { .. }) => Ok(Vec::new()),
        Err(e) => Err(fail(e)),
    }
}

/// The worst relative error of a case's gradients, or what is wrong.
///
/// The bound: central differences with step h have an error of order h^2 (third derivative) + eps/h; with h = 1e-4 in
/// f64 both are under 1e-7 for functions of order one, so 1e-5 relative to the largest gradient holds with room, and a
/// wrong factor or a dropped term does not pass.
///
/// # Errors
/// A message with the case, input and element that differ most.
pub fn check(case: &Case) -> Result<f64, String> {
    let title = case.title();
    let fail = |e: GraphError| format!("{title}: {e}");
    let probe = Probe::new(case).map_err(fail)?;
    let Some(probe) = probe else {
        return Err(format!("{title}: no float output to differentiate"));
    };
    let Probe {
        graph: mut g,
        states,
        inputs,
        feeds,
        loss,
    } = probe;
    let mut worst = 0f64;
    let mut exec = HostExecutor::<f64>::new().poisoned();
    let wrt: Vec<TensorId> = case.differentiable.iter().map(|i| inputs[*i]).collect();
    let grads = ops::backward(&mut g, loss, &wrt).map_err(fail)?;
    let mut fetch = vec![loss];
    fetch.extend(grads.iter().flatten());
    exec.allocate_states(&states).map_err(fail)?;
    let program = exec.compile(&g, &fetch).map_err(fail)?;
    for (t, d) in &feeds {
        exec.upload(program, *t, d).map_err(fail)?;
    }
    exec.run(program, &case.step).map_err(fail)?;
    let rules: Vec<Vec<f64>> = grads
        .iter()
        .zip(&case.differentiable)
        .map(|(t, i)| match t {
            Some(t) => exec.fetch(program, *t).map(|d| d.to_f64()).map_err(fail),
            None => Err(format!("{title}: input {i} got no gradient")),
        })
        .collect::<Result<_, _>>()?;
    for (rule, &i) in rules.iter().zip(&case.differentiable) {
        let base = feeds[i].1.to_f64();
        let scale = rule.iter().fold(1e-3f64, |m, v| m.max(v.abs()));
        let stride = base.len().div_ceil(PROBES).max(1);
        for at in (0..base.len()).step_by(stride) {
            let mut side = |delta: f64| -> Result<f64, String> {
                let mut v = base.clone();
                v[at] += delta;
                exec.upload(program, inputs[i], &HostData::F64(v))
                    .map_err(fail)?;
                exec.run(program, &case.step).map_err(fail)?;
                Ok(exec.fetch(program, loss).map_err(fail)?.to_f64()[0])
            };
            let h = case.difference;
            let numeric = (side(h)? - side(-h)?) / (2.0 * h);
            let error = (numeric - rule[at]).abs() / scale;
            worst = worst.max(error);
            if error.is_nan() || error >= 1e-5 {
                return Err(format!(
                    "{title}: gradient of input {i}, element {at}: rule {:.6e}, central difference {numeric:.6e}",
                    rule[at]
                ));
            }
        }
        exec.upload(program, inputs[i], &feeds[i].1).map_err(fail)?;
    }
    Ok(worst)
}
