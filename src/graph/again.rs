//! Results made anew in the backward pass instead of kept for it (Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016; here only what one pass over memory makes).

use super::{Graph, NodeId, Origin, Result, TensorId};
use std::collections::{HashMap, HashSet};

impl Graph {
    /// Lets the nodes from number `from` on, which differentiation appended, read anew what [`super::Op::again`] offers to make: each such tensor once, just before its first reader, and
    /// only if what it is made of is kept anyway, because one of these nodes reads it. What making anew reads is itself never made anew. (Tensors keep their names, and in them the
    /// numbers that their nodes had.)
    ///
    /// # Errors
    /// As [`Graph::push`].
    pub(super) fn make_again(&mut self, from: usize) -> Result<()> {
        let mut made: HashMap<TensorId, TensorId> = HashMap::new();
        let appended = self.nodes.split_off(from);
        let kept: HashSet<TensorId> = appended.iter().flat_map(|n| n.inputs.clone()).collect();
        for mut node in appended {
            for t in &mut node.inputs {
                if !made.contains_key(t)
                    && let Some(again) = self.push_again(*t, from, &kept)?
                {
                    made.insert(*t, again);
                }
                *t = *made.get(t).unwrap_or(t);
            }
            let id = NodeId(self.nodes.len() as u32);
            for (i, o) in node.outputs.iter().enumerate() {
                self.tensors[o.0 as usize].origin = Origin::Node(id, i);
            }
            self.nodes.push(node);
        }
        Ok(())
    }

    /// Appends the node that makes `t` anew, if `t` is the first result of a node before number `from` that can be, of tensors of which the first is `kept`.
    fn push_again(
        &mut self,
        t: TensorId,
        from: usize,
        kept: &HashSet<TensorId>,
    ) -> Result<Option<TensorId>> {
        let Some(Origin::Node(n, 0)) = self.tensors.get(t.0 as usize).map(|t| t.origin) else {
            return Ok(None);
        };
        let Some(node) = self
            .nodes
            .get(n.0 as usize)
            .filter(|_| (n.0 as usize) < from)
        else {
            return Ok(None);
        };
        let Some((op, inputs)) = node.op.again(node).filter(|(_, of)| kept.contains(&of[0])) else {
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
    fn results_behind_a_relu_are_made_anew_once_and_not_kept() {
        let again = |g: &Graph| -> Vec<String> {
            let made = g.nodes().iter();
            let made = made.filter(|n| n.op.name() == "batch_norm_inference");
            made.map(|n| n.label.clone()).collect()
        };
        let (g, norms, results) = network(4, true);
        // The last one's is only summed: no gradient reads it. Each has its layer's name, the last layer's first.
        assert_eq!(again(&g), ["2", "1", "0"]);
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
        // Nothing is made anew that no ReLU ended: it is the next convolution's input, read as it was.
        let (plain, norms, _) = network(4, false);
        assert!(again(&plain).is_empty());
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
