//! Rematerialisation: a tensor that the backward pass reads is computed a second time, just before it is read, instead
//! of being kept from the forward pass (Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016). It trades
//! one pass over memory for the tensor's bytes.
//!
//! An op opts in by [`Op::rematerialise`], which gives the recipe: another op, and inputs that are kept anyway. Of
//! ours, a batch norm with a ReLU does. For `y, mean, var = batch_norm_relu(x, gamma, beta)` the recipe is
//! `batch_norm_inference(x, gamma, beta, mean, var)`: x is kept for the batch norm's own gradient, the vectors are
//! small, and the result is y to the bit. Without it a layer keeps both x and y.
//!
//! By recipes nothing deeper is recomputed: a recipe's inputs are themselves kept, so the added work is one pass for
//! each tensor.
//!
//! Whole runs of nodes are recomputed where the graph says so ([`Graph::begin_checkpoint`]): at the first of their
//! results that the backward pass reads, all of them that it reads are made anew, from what nodes before the run left.
//!
//! [`Op::rematerialise`]: super::Op::rematerialise

use super::{Graph, NodeId, Origin, Result, TensorId};
use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// What of a segment is run again.
struct Again {
    /// Numbers of the nodes, in order.
    nodes: Vec<usize>,
    /// Their results that are not kept.
    results: HashSet<TensorId>,
}

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
        let segments = std::mem::take(&mut self.segments);
        let again = segments.iter().filter(|s| s.end <= from);
        let again: Vec<Again> = again.map(|s| self.again(s.clone(), &kept)).collect();
        self.segments = segments;
        for mut node in appended {
            for t in &mut node.inputs {
                if !copies.contains_key(t) {
                    match again.iter().find(|a| a.results.contains(t)) {
                        Some(a) => self.push_again(a, &mut copies)?,
                        None => {
                            if let Some(copy) = self.push_recipe(*t, from, &kept)? {
                                copies.insert(*t, copy);
                            }
                        }
                    }
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

    /// What of a segment is run again: the nodes that lead to what the backward pass reads of it.
    fn again(&self, segment: Range<usize>, read: &HashSet<TensorId>) -> Again {
        let outside = self.nodes.iter().enumerate();
        let outside = outside.filter(|(i, _)| !segment.contains(i));
        let outside: HashSet<TensorId> = outside.flat_map(|(_, n)| n.inputs.clone()).collect();
        let mut results: HashSet<TensorId> = HashSet::new();
        let mut nodes = Vec::new();
        let mut wanted: HashSet<TensorId> = read.clone();
        for i in segment.rev() {
            let n = &self.nodes[i];
            let own = |t: &&TensorId| wanted.contains(t) && !outside.contains(t);
            if !n.updates.is_empty() || !n.outputs.iter().any(|t| own(&t)) {
                continue;
            }
            let remade = n.outputs.iter().filter(|t| !outside.contains(t));
            results.extend(remade);
            wanted.extend(&n.inputs);
            nodes.push(i);
        }
        nodes.reverse();
        Again { nodes, results }
    }

    /// Appends the nodes of a segment a second time, and notes the copies of their results.
    fn push_again(&mut self, a: &Again, copies: &mut HashMap<TensorId, TensorId>) -> Result<()> {
        for i in &a.nodes {
            let node = self.nodes[*i].clone();
            let inputs = node.inputs.iter();
            let inputs: Vec<TensorId> = inputs.map(|t| *copies.get(t).unwrap_or(t)).collect();
            let scope = std::mem::replace(&mut self.scope, vec![node.label.clone()]);
            let made = self.push_arc(node.op.clone(), &inputs, &[]);
            self.scope = scope;
            for (t, copy) in node.outputs.iter().zip(made?) {
                if a.results.contains(t) {
                    copies.insert(*t, copy);
                }
            }
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
    use crate::graph::host::HostExecutor;
    use crate::graph::plan::{Plan, PlanOptions};
    use crate::graph::{Executor, Graph, HostData, TensorId, TensorType};
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

    /// Blocks of products and norms, each with a residual; checkpointed or not. Gradients by all weights.
    fn residual_blocks(blocks: usize, again: bool) -> (Graph, Vec<TensorId>) {
        let mut g = Graph::new();
        let mut x = g.input("x", TensorType::f32([64, 16]));
        let mut weights = Vec::new();
        for i in 0..blocks {
            let w = g.input(&format!("w{i}"), TensorType::f32([16, 16]));
            let began = g.begin_checkpoint();
            let y = g.matmul(x, w).and_then(|y| g.gelu(y)).unwrap();
            let y = g.matmul(y, w).and_then(|y| g.gelu(y)).unwrap();
            x = g.add(x, y).unwrap();
            if again {
                g.end_checkpoint(began);
            }
            weights.push(w);
        }
        let loss = g.push1(SumAll, &[x]).unwrap();
        let grads = crate::ops::backward(&mut g, loss, &weights).unwrap();
        let mut out = vec![loss];
        out.extend(grads.into_iter().flatten());
        (g, out)
    }

    #[test]
    fn a_checkpointed_block_keeps_its_input_alone_and_gives_the_same_bits() {
        let run = |again| {
            let (g, out) = residual_blocks(3, again);
            let inputs: Vec<_> = (0..4)
                .map(|i| {
                    let n = if i == 0 { 64 * 16 } else { 16 * 16 };
                    let v = (0..n).map(|k| ((k * (i + 3)) as f32 * 0.37).sin());
                    (TensorId(g_input(&g, i)), HostData::F32(v.collect()))
                })
                .collect();
            let got = HostExecutor::<f32>::new().evaluate(&g, &inputs, &out);
            let got = got.unwrap();
            got.iter().map(HostData::to_f32).collect::<Vec<_>>()
        };
        let (plain, again) = (run(false), run(true));
        assert_eq!(plain, again);
        assert!(plain[1].iter().any(|v| *v != 0.0));
        // A further block keeps one tensor of 64 x 16, where five of a plain one are read again.
        let peak = |blocks, again| {
            let (g, out) = residual_blocks(blocks, again);
            let plan = Plan::new(&g, &out, None, &PlanOptions::default());
            plan.unwrap().peak_bytes()
        };
        let tensor = 64 * 16 * 4;
        let of_weights = 2 * 16 * 16 * 4;
        let block = |again| (peak(12, again) - peak(4, again)) / 8 - of_weights;
        assert!(block(true) <= tensor + tensor / 4, "{}", block(true));
        assert!(block(false) >= 4 * tensor, "{}", block(false));
    }

    /// The graph's input number `i`.
    fn g_input(g: &Graph, i: usize) -> u32 {
        let inputs = g.tensors.iter().enumerate();
        let mut inputs = inputs.filter(|(_, t)| t.origin == crate::graph::Origin::Input);
        inputs.nth(i).unwrap().0 as u32
    }
}
