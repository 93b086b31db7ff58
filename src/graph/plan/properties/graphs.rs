//! Random graphs of real ops, and the states that they share.

use super::super::*;
use crate::graph::state::Group;
use crate::graph::{StateId, States};
use crate::ops;
use crate::ops::accumulate::Accumulate;
use crate::ops::add::Add;
use crate::ops::batch_norm::BatchNorm;
use crate::ops::cast_f16::CastF16;
use crate::ops::cast_f32::CastF32;
use crate::ops::column_sum::ColumnSum;
use crate::ops::gemm::Gemm;
use crate::ops::mul::Mul;
use crate::ops::nearest::Nearest;
use crate::ops::relu::Relu;
use crate::ops::reshape::Reshape;
use crate::ops::scale::Scale;
use crate::ops::softmax::Softmax;
use crate::ops::squared_distance::SquaredDistance;
use crate::ops::sum_all::SumAll;
use crate::ops::swap_axes::SwapAxes;
use proptest::prelude::*;
use std::collections::HashSet;

/// Groups of the states: operands, sums in place, results that are written into a state.
pub(super) const PARAMS: Group = Group::saved("params");
pub(super) const SUMS: Group = Group::saved("sums");
pub(super) const RESULTS: Group = Group::saved("results");

/// Rows and columns of matrices: of one block of 256 bytes and of several, of whole blocks and of parts.
const ROWS: [usize; 3] = [1, 3, 8];
const COLUMNS: [usize; 4] = [1, 5, 16, 64];

/// A node to be: which op, and which of the tensors so far it reads.
type Step = (u8, usize, usize);

/// How a random graph is made.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    /// Rows and columns of the two inputs.
    pub(super) inputs: [(usize, usize); 2],
    pub(super) steps: Vec<Step>,
    /// The graph ends with a gradient, whose results are written into states where they can be.
    pub(super) differentiated: bool,
    /// Which tensors are fetched, and which are written into states.
    pub(super) fetched: Vec<usize>,
    pub(super) written: Vec<usize>,
}

pub(super) fn recipes() -> impl Strategy<Value = Recipe> {
    let shape = || (0..ROWS.len(), 0..COLUMNS.len());
    (
        (shape(), shape()),
        prop::collection::vec((0..14u8, 0..1000usize, 0..1000usize), 1..24),
        any::<bool>(),
        prop::collection::vec(0..1000usize, 1..4),
        prop::collection::vec(0..1000usize, 0..3),
    )
        .prop_map(|((a, b), steps, differentiated, fetched, written)| Recipe {
            inputs: [a, b].map(|(r, c)| (ROWS[r], COLUMNS[c])),
            steps,
            differentiated,
            fetched,
            written,
        })
}

/// A graph with its inputs and the tensors that are fetched.
pub(super) struct Made {
    pub(super) graph: Graph,
    pub(super) inputs: Vec<TensorId>,
    pub(super) fetch: Vec<TensorId>,
}

/// States that graphs share: parameters of every width, sums, and places for results.
pub(super) struct Shared {
    pub(super) states: States,
    /// By columns: a vector, a square matrix, and a sum of each number of rows.
    pub(super) vectors: Vec<StateId>,
    pub(super) squares: Vec<StateId>,
    pub(super) sums: Vec<((usize, usize), StateId)>,
}

impl Shared {
    pub(super) fn new() -> Self {
        let mut states = States::new();
        let mut of = |group: Group, dims: &[usize]| {
            let name = format!("{}{dims:?}", group.name());
            states.add(group, &name, TensorType::f32(dims))
        };
        let vectors = COLUMNS.map(|c| of(PARAMS, &[c])).to_vec();
        let squares = COLUMNS.map(|c| of(PARAMS, &[c, c])).to_vec();
        let shapes = ROWS.iter().flat_map(|r| COLUMNS.map(|c| (*r, c)));
        let sums = shapes.map(|(r, c)| ((r, c), of(SUMS, &[r, c]))).collect();
        Self {
            states,
            vectors,
            squares,
            sums,
        }
    }

    /// The graph of a recipe. A step whose tensors do not fit its op becomes a ReLU. `name` keeps its results' states
    /// from those of other graphs.
    pub(super) fn make(&mut self, recipe: &Recipe, name: &str) -> Made {
        let mut graph = Graph::new();
        let inputs = recipe
            .inputs
            .map(|(r, c)| graph.input("x", TensorType::f32([r, c])));
        let mut all = inputs.to_vec();
        let mut params = HashSet::new();
        for (i, (op, a, b)) in recipe.steps.iter().enumerate() {
            let (a, b) = (all[a % all.len()], all[b % all.len()]);
            let made = graph.scope(&format!("{i}"), |g| self.step(g, *op, [a, b], &mut params));
            all.extend(made);
        }
        let mut results = Vec::new();
        if recipe.differentiated {
            let last = all[all.len() - 1];
            let loss = graph.push1(SumAll, &[last]).unwrap();
            let mut wrt: Vec<TensorId> = params.into_iter().collect();
            wrt.sort_unstable();
            let grads = ops::backward(&mut graph, loss, &wrt);
            // Not all of these ops can be differentiated.
            results.extend(grads.unwrap_or_default().into_iter().flatten());
            results.push(loss);
        }
        results.extend(recipe.written.iter().map(|i| all[i % all.len()]));
        for (i, t) in results.into_iter().enumerate() {
            let state = format!("{name}.{i}");
            let id = self.states.add(RESULTS, &state, graph.ty(t).clone());
            graph.write_into(t, &self.states, id);
        }
        let fetch = recipe.fetched.iter().map(|i| all[i % all.len()]).collect();
        Made {
            graph,
            inputs: inputs.to_vec(),
            fetch,
        }
    }

    pub(super) fn step(
        &self,
        g: &mut Graph,
        op: u8,
        [a, b]: [TensorId; 2],
        params: &mut HashSet<TensorId>,
    ) -> Vec<TensorId> {
        let [r, c] = [0, 1].map(|i| g.dims(a)[i]);
        let of_width = |ids: &[StateId]| {
            let i = COLUMNS.iter().position(|width| *width == c);
            i.map(|i| ids[i])
        };
        let mut param = |g: &mut Graph, id: StateId| {
            let t = g.state(&self.states, id);
            params.insert(t);
            t
        };
        let made = match op {
            0 => g.push(Add, &[a, b]),
            1 => g.push(Mul, &[a, b]),
            2 => g.push(Scale { factor: 0.5 }, &[a]),
            3 => g.push(Softmax, &[a]),
            4 => g.push(
                Reshape {
                    shape: [c, r].into(),
                },
                &[a],
            ),
            5 => {
                let (axes, out) = ([1, r, c, 1], [c, r].into());
                g.push(SwapAxes { axes, out }, &[a])
            }
            // a b^T, so that matrices of one width fit.
            6 => {
                let product = Gemm {
                    trans_b: true,
                    alpha: 0.125,
                    ..Gemm::default()
                };
                g.push(product, &[a, b])
            }
            7 | 8 => match of_width(&self.squares) {
                Some(id) => {
                    let w = param(g, id);
                    g.push(Gemm::default(), &[a, w])
                }
                None => g.push(Relu, &[a]),
            },
            // Three results, one of them recomputed in the backward pass.
            9 | 10 => match of_width(&self.vectors) {
                Some(id) => {
                    let norm = BatchNorm {
                        eps: 1e-5,
                        relu: op == 9,
                        residual: false,
                    };
                    let v = param(g, id);
                    let made = g.push(norm, &[a, v, v]);
                    made.map(|m| vec![m[0]])
                }
                None => g.push(Relu, &[a]),
            },
            // Integers, and a halves' pass.
            11 => {
                let k = c.min(2);
                let found = g.push(Nearest { k }, &[a]).unwrap();
                let table = g
                    .push(
                        SwapAxes {
                            axes: [1, r, c, 1],
                            out: [c, r].into(),
                        },
                        &[a],
                    )
                    .unwrap()[0];
                let square = Gemm {
                    trans_b: true,
                    ..Gemm::default()
                };
                let q = g.push1(square, &[a, a]).unwrap();
                let far = g.push1(SquaredDistance, &[q, table, found[1]]).unwrap();
                Ok(vec![found[0], far])
            }
            12 => {
                let half = g.push1(CastF16, &[a]).unwrap();
                g.push(CastF32, &[half])
            }
            _ => {
                let sum = g.push1(ColumnSum, &[a]).unwrap();
                let shape = [1, c].into();
                let row = g.push(Reshape { shape }, &[sum]);
                let into = self.sums.iter().find(|s| s.0 == (r, c));
                // Updates a state in place, unless `a` itself is one.
                if let (Some((_, id)), None) = (into, g.tensor(a).state()) {
                    let into = g.state(&self.states, *id);
                    g.push_updating(Accumulate, &[a], &[into]).unwrap();
                }
                row
            }
        };
        made.unwrap_or_else(|_| g.push(Relu, &[a]).unwrap())
    }
}
