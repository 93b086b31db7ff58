//! Differentiation: the gradient's nodes are appended to the same graph.

use super::op::Op;
use super::{Graph, NodeId, Origin, Result, TensorId};

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
/// [`super::GraphError::NoGradient`] when an op on such a path has no rule; shape errors of the appended nodes.
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
            for (t, d) in inputs.iter().zip(dx) {
                let (Some(d), true) = (d, needed[t.0 as usize]) else {
                    continue;
                };
                debug_assert_eq!(g.dims(d), g.dims(*t), "{}: gradient shape", op.name());
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

impl Graph {
    /// The node that makes a tensor, if one does.
    pub fn producer(&self, t: TensorId) -> Option<NodeId> {
        match self.tensor(t).origin {
            Origin::Node(n, _) => Some(n),
            _ => None,
        }
    }
}
