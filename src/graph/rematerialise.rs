//! Rematerialisation: a tensor that the backward pass reads is computed a second time, just before it is read, instead
//! of being kept from the forward pass (Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016). It trades
//! one pass over memory for the tensor's bytes.
//!
//! An op opts in by [`Op::rematerialise`], which gives the recipe: another op, and inputs that are kept anyway. Of
//! ours, a batch norm with a ReLU does. For `y, mean, var = batch_norm_relu(x, gamma, beta)` the recipe is
//! `batch_norm_inference(x, gamma, beta, mean, var)`: x is kept for the batch norm's own gradient, the vectors are
//! small, and the result is y to the bit. Without it a layer keeps both x and y.
//!
//! Nothing deeper is recomputed: a recipe's inputs are themselves kept, so the added work is one pass for each tensor.
//!
//! [`Op::rematerialise`]: super::Op::rematerialise

use super::{Graph, NodeId, Origin, Result, TensorId};
use std::collections::{HashMap, HashSet};

impl Graph {
    /// Rewrites the nodes from number `from` on, which differentiation appended: where they read a tensor that has a
    /// recipe ([`super::Op::rematerialise`]), they read a copy that a new node makes. Each tensor is recomputed once,
    /// just before its first reader, and only if the recipe's first input is kept anyway, because one of these nodes
    /// reads it.
    ///
    /// The new nodes move those behind them up. Tensors keep their names, and in them their nodes' old numbers.
    ///
    /// # Errors
    /// As [`Graph::push`].
    pub(super) fn rematerialise(&mut self, from: usize) -> Result<()> {
        let mut copies: HashMap<TensorId, TensorId> = HashMap::new();
        let appended = self.nodes.split_off(from);
        let kept: HashSet<TensorId> = appended.iter().flat_map(|n| n.inputs.clone()).collect();
        for mut node in appended {
            for t in &mut node.inputs {
                if !copies.contains_key(t)
                    && let Some(copy) = self.push_recipe(*t, from, &kept)?
                {
                    copies.insert(*t, copy);
                }
                *t = *copies.get(t).unwrap_or(t);
            }
            let id = NodeId(self.nodes.len() as u32);
            for (i, o) in node.outputs.iter().enumerate() {
                self.tensors[o.0 as usize].origin = Origin::Node(id, i);
            }
            self.nodes.push(node);
        }
        Ok(())
    }

    /// Appends the node that recomputes `t`, if `t` is the first output of a node before number `from` that has a
    /// recipe, and the recipe's first input is `kept`.
    fn push_recipe(
        &mut self,
        t: TensorId,
        from: usize,
        kept: &HashSet<TensorId>,
    ) -> Result<Option<TensorId>> {
        let Origin::Node(id, 0) = self.tensor(t).origin else {
            return Ok(None);
        };
        // Nodes that differentiation appended have no recipe, and their ids are not settled yet.
        let Some(node) = self
            .nodes
            .get(id.0 as usize)
            .filter(|_| (id.0 as usize) < from)
        else {
            return Ok(None);
        };
        let recipe = node.op.rematerialise(node);
        let Some((op, inputs)) = recipe.filter(|(_, inputs)| kept.contains(&inputs[0])) else {
            return Ok(None);
        };
        let scope = std::mem::replace(&mut self.scope, vec![node.label.clone()]);
        let made = self.push_arc(op, &inputs, &[]);
        self.scope = scope;
        Ok(Some(made?[0]))
    }
}

#[cfg(test)]
mod tests {
    use crate::graph::plan::{Plan, PlanOptions};
    use crate::graph::{Graph, TensorId, TensorType};
    use crate::ops::batch_norm::BatchNorm;
    use crate::ops::conv2d::Conv2d;
    use crate::ops::sum_all::SumAll;

    /// Layers of convolution and batch norm, and the gradient by the first weights; the results of the norms.
    fn network(layers: usize, relu: bool) -> (Graph, Vec<TensorId>, Vec<TensorId>) {
        let mut g = Graph::new();
        let mut x = g.input("x", TensorType::f32([4, 16, 16, 8]));
        let w = g.input("w", TensorType::f32([8, 3, 3, 8]));
        let [gamma, beta] = ["gamma", "beta"].map(|n| g.input(n, TensorType::f32([8])));
        let mut norms = Vec::new();
        for layer in 0..layers {
            let conv = Conv2d {
                stride: 1,
                padding: 1,
            };
            let norm = BatchNorm {
                eps: 1e-5,
                relu,
                residual: false,
            };
            x = g
                .scope(&format!("{layer}"), |g| {
                    let x = g.push1(conv, &[x, w])?;
                    g.push1(norm, &[x, gamma, beta])
                })
                .unwrap();
            norms.push(x);
        }
        let loss = g.push1(SumAll, &[x]).unwrap();
        let dw = crate::ops::backward(&mut g, loss, &[w]).unwrap()[0].unwrap();
        (g, norms, vec![loss, dw])
    }

    #[test]
    fn results_behind_a_relu_are_recomputed_once_and_not_kept() {
        let recomputed = |g: &Graph| -> Vec<String> {
            let made = g.nodes().iter();
            let made = made.filter(|n| n.op.name() == "batch_norm_inference");
            made.map(|n| n.label.clone()).collect()
        };
        let (g, norms, results) = network(4, true);
        // The last one's is only summed: no gradient reads it. Each has its layer's name, the last layer's first.
        assert_eq!(recomputed(&g), ["2", "1", "0"]);
        let backward = g.nodes().iter().position(|n| n.op.name() == "constant");
        let backward = &g.nodes()[backward.unwrap()..];
        for y in &norms[..3] {
            assert!(backward.iter().all(|n| !n.inputs.contains(y)));
        }
        // Every tensor still knows its node.
        for (i, n) in g.nodes().iter().enumerate() {
            for o in &n.outputs {
                assert_eq!(g.producer(*o).map(|n| n.0 as usize), Some(i));
            }
        }
        // A layer keeps one image, its convolution's, where two would be kept.
        let peak = |layers| {
            let (g, _, results) = network(layers, true);
            let plan = Plan::new(&g, &results, None, &PlanOptions::default());
            plan.unwrap().peak_bytes()
        };
        let image = 4 * 16 * 16 * 8 * 4;
        let layer = (peak(12) - peak(4)) / 8;
        assert!(layer < image + image / 4, "{layer} bytes, an image {image}");
        assert_eq!(results.len(), 2);
        // Without a ReLU there is no recipe: the next convolution's gradient reads the tensor as the forward pass left
        // it.
        let (plain, norms, _) = network(4, false);
        assert!(recomputed(&plain).is_empty());
        let readers = |y| {
            plain
                .nodes()
                .iter()
                .filter(|n| n.inputs.contains(y))
                .count()
        };
        assert_eq!(readers(&norms[0]), 2, "the next layer and its gradient");
    }
}
