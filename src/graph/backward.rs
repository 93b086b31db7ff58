//! Differentiation: the gradient's nodes are appended to the same graph.

use super::op::Op;
use super::{Graph, GraphError, NodeId, Origin, Result, TensorId};

/// The two ops that differentiation itself needs; `ops` provides them ([`crate::ops::backward`] binds them).
pub struct Builders<A, O> {
    /// An op of two inputs that adds them.
    pub add: fn() -> A,
    /// An op without inputs that makes a tensor of ones (times the loss scale) of the given type.
    pub seed: fn(&super::TensorType) -> O,
}

/// Appends the gradient of the scalar `loss`, and returns the gradient of each tensor in `wrt` (`None`: it does not
/// reach the loss).
///
/// Nodes that lie on no path from `wrt` to `loss` get no gradient nodes, so constants and targets cost nothing.
///
/// # Errors
/// [`GraphError::NoGradient`] when an op on such a path has no rule; [`GraphError::Shape`] when a rule gives a gradient
/// of another shape than its input's, or another number of them; shape errors of the appended nodes.
pub fn backward<A: Op + 'static, O: Op + 'static>(
    g: &mut Graph,
    loss: TensorId,
    wrt: &[TensorId],
    builders: &Builders<A, O>,
) -> Result<Vec<Option<TensorId>>> {
    let count = g.nodes.len();
    // Which tensors depend on a differentiated one.
    let mut needed = vec![false; g.tensors.len()];
    for t in wrt {
        needed[t.0 as usize] = true;
    }
    for n in &g.nodes {
        if n.inputs.iter().any(|t| needed[t.0 as usize]) {
            for o in &n.outputs {
                needed[o.0 as usize] = true;
            }
        }
    }
    let mut grads: Vec<Option<TensorId>> = vec![None; g.tensors.len()];
    let seed = (builders.seed)(g.ty(loss));
    grads[loss.0 as usize] = Some(g.push1(seed, &[])?);
    for i in (0..count).rev() {
        let (outputs, inputs, label) = {
            let n = &g.nodes[i];
            (n.outputs.clone(), n.inputs.clone(), n.label.clone())
        };
        if !inputs.iter().any(|t| needed[t.0 as usize]) {
            continue;
        }
        let dy: Vec<Option<TensorId>> = outputs.iter().map(|o| grads[o.0 as usize]).collect();
        if dy.iter().all(Option::is_none) {
            continue;
        }
        let op = g.nodes[i].op.clone();
        let scope = std::mem::take(&mut g.scope);
        if !label.is_empty() {
            g.scope.push(label);
        }
        let dx = op.gradient(g, NodeId(i as u32), &dy);
        let dx = dx.and_then(|dx| {
            if dx.len() != inputs.len() {
                let reason = format!(
                    "its gradient rule gives {} gradients; expected one an input, {}",
                    dx.len(),
                    inputs.len()
                );
                return Err(wrong_rule(g, op.as_ref(), &inputs, reason));
            }
            for (t, d) in inputs.iter().zip(dx) {
                let (Some(d), true) = (d, needed[t.0 as usize]) else {
                    continue;
                };
                if g.dims(d) != g.dims(*t) {
                    let reason = format!(
                        "its gradient rule gives {:?} for the input `{}`; expected the shape of the input, {:?}",
                        g.dims(d),
                        g.tensor(*t).name,
                        g.dims(*t)
                    );
                    return Err(wrong_rule(g, op.as_ref(), &inputs, reason));
                }
                grads[t.0 as usize] = Some(match grads[t.0 as usize] {
                    Some(sum) => g.push1((builders.add)(), &[sum, d])?,
                    None => d,
                });
            }
            Ok(())
        });
        g.scope = scope;
        dx?;
    }
    g.rematerialise(count)?;
    Ok(wrt.iter().map(|t| grads[t.0 as usize]).collect())
}

/// The error of a rule that gives other gradients than its inputs ask for.
fn wrong_rule(g: &Graph, op: &dyn Op, inputs: &[TensorId], reason: String) -> GraphError {
    let shapes: Vec<String> = inputs.iter().map(|t| format!("{:?}", g.dims(*t))).collect();
    GraphError::Shape {
        op: op.name(),
        label: g.scope.join("."),
        reason,
        inputs: shapes.join(", "),
    }
}

impl Graph {
    /// The node that makes a tensor, if one does.
    pub fn producer(&self, t: TensorId) -> Option<NodeId> {
        match self.tensor(t).origin {
            Origin::Node(n, _) => Some(n),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Bindings, Class, HostIo, Op, TensorType};
    use super::*;
    use crate::device::recording::Recorder;
    use crate::ops::sum_all::SumAll;

    /// y = x, whose rule gives a gradient of so many elements, so many times.
    #[derive(Clone, Copy, Debug)]
    struct Odd {
        elements: usize,
        times: usize,
    }

    impl Op for Odd {
        fn name(&self) -> &'static str {
            "odd"
        }
        fn class(&self) -> Class {
            Class::Elementwise
        }
        fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
            Ok(vec![inputs[0].clone()])
        }
        fn gradient(
            &self,
            g: &mut Graph,
            _node: NodeId,
            _dy: &[Option<TensorId>],
        ) -> Result<Vec<Option<TensorId>>> {
            let dx = g.input("dx", TensorType::f32([self.elements]));
            Ok(vec![Some(dx); self.times])
        }
        fn record(&self, _rec: &mut Recorder<'_>, _io: &Bindings) -> Result<()> {
            Ok(())
        }
        fn reference_f32(&self, _io: &mut HostIo<'_, f32>) {}
        fn reference_f64(&self, _io: &mut HostIo<'_, f64>) {}
    }

    #[test]
    fn a_rule_that_gives_another_shape_or_number_is_an_error_in_release_too() {
        let of = |elements, times| {
            let mut g = Graph::new();
            let x = g.input("x", TensorType::f32([6]));
            let y = g.scope("block", |g| g.push1(Odd { elements, times }, &[x]))?;
            let loss = g.push1(SumAll, &[y])?;
            crate::ops::backward(&mut g, loss, &[x])
        };
        assert!(of(6, 1).unwrap()[0].is_some(), "the control: the right one");
        for ((elements, times), words) in [((5, 1), "[5] for the input `x`"), ((6, 2), "gives 2")] {
            let text = of(elements, times).unwrap_err().to_string();
            assert!(
                text.contains(words) && text.starts_with("odd (block"),
                "{text}"
            );
        }
    }
}
