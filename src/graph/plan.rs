//! The plan: which nodes run, in which order, and in which memory; with the exact peak before anything is allocated.

use super::tensor::{DType, TensorType};
use super::{Graph, GraphError, NodeId, Origin, Result, TensorId};
use crate::device::Limits;
use std::collections::HashMap;
use std::fmt::Write as _;

/// A pooled piece of memory that several tensors use one after the other.
#[derive(Clone, Debug)]
pub struct Slot {
    /// Bytes: the largest of its tensors.
    pub bytes: usize,
    /// Element type (host memory is typed).
    pub dtype: DType,
    /// The largest of its tensors, for the report.
    pub tensor: String,
}

/// Order and memory of one graph.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Nodes to run, in order; nodes that reach no result are left out.
    pub order: Vec<NodeId>,
    /// Pooled memory.
    pub slots: Vec<Slot>,
    /// Slot of every tensor that the graph itself holds (inputs and results of nodes).
    pub placement: HashMap<TensorId, usize>,
    /// Slots of each node's temporaries.
    pub workspace: HashMap<NodeId, Vec<(TensorType, usize)>>,
    /// Bytes of all tensors if none shared memory.
    pub unpooled: usize,
}

/// How to plan.
#[derive(Clone, Debug, Default)]
pub struct PlanOptions {
    /// Give every tensor memory of its own (tests with guard words; searching a non-finite value).
    pub no_reuse: bool,
    /// Largest buffer, when the device has such a limit.
    pub max_buffer: Option<u64>,
    /// Memory that may be used, where it is known.
    pub available: Option<u64>,
}

impl Plan {
    /// Plans `graph` so that the tensors in `fetch` can be read after a run.
    ///
    /// # Errors
    /// [`GraphError::Memory`] when one tensor exceeds the device's largest buffer; names the largest tensors.
    pub fn new(
        graph: &Graph,
        fetch: &[TensorId],
        limits: Option<&Limits>,
        options: &PlanOptions,
    ) -> Result<Self> {
        let order = live_nodes(graph, fetch);
        let mut last_use: HashMap<TensorId, usize> = HashMap::new();
        for (at, n) in order.iter().enumerate() {
            let node = graph.node(*n);
            for t in node.inputs.iter().chain(&node.outputs) {
                last_use.insert(*t, at);
            }
        }
        for t in fetch {
            last_use.insert(*t, usize::MAX);
        }
        let mut plan = Self {
            order: order.clone(),
            slots: Vec::new(),
            placement: HashMap::new(),
            workspace: HashMap::new(),
            unpooled: 0,
        };
        let mut free: Vec<usize> = Vec::new();
        // Inputs keep their memory: the host may write them at any time between runs.
        for (i, t) in graph.tensors.iter().enumerate() {
            if t.origin == Origin::Input {
                let slot = plan.take(&mut Vec::new(), &t.ty, &t.name);
                plan.placement.insert(TensorId(i as u32), slot);
            }
        }
        for (at, n) in order.iter().enumerate() {
            let node = graph.node(*n);
            for o in &node.outputs {
                let slot = plan.take(&mut free, graph.ty(*o), &graph.tensor(*o).name);
                plan.placement.insert(*o, slot);
            }
            let mut scratch = Vec::new();
            if let Some(limits) = limits {
                let types: Vec<&TensorType> = node
                    .inputs
                    .iter()
                    .chain(&node.updates)
                    .map(|t| graph.ty(*t))
                    .collect();
                for ty in node.op.workspace(&types, limits) {
                    let slot = plan.take(
                        &mut free,
                        &ty,
                        &format!("{} workspace of {}", node.op.name(), node.label),
                    );
                    scratch.push((ty, slot));
                }
            }
            if !options.no_reuse {
                free.extend(scratch.iter().map(|s| s.1));
                let mut ended: Vec<TensorId> =
                    node.inputs.iter().chain(&node.outputs).copied().collect();
                ended.sort_unstable();
                ended.dedup();
                for t in ended {
                    let from_node = matches!(graph.tensor(t).origin, Origin::Node(..));
                    if from_node && last_use.get(&t) == Some(&at) {
                        free.push(plan.placement[&t]);
                    }
                }
            }
            if !scratch.is_empty() {
                plan.workspace.insert(*n, scratch);
            }
        }
        if let Some(max) = options.max_buffer
            && let Some(s) = plan.slots.iter().find(|s| s.bytes as u64 > max)
        {
            return Err(GraphError::Memory(format!(
                "{} needs {} in one buffer, but the adapter allows {}; use a smaller batch or micro-batches. Largest tensors:\n{}",
                s.tensor,
                mebibytes(s.bytes),
                mebibytes(max as usize),
                plan.largest(5)
            )));
        }
        if let Some(max) = options.available
            && plan.peak_bytes() as u64 > max
        {
            return Err(GraphError::Memory(format!(
                "a step needs {}, but {} of memory are free; use a smaller batch, micro-batches or a smaller network. Largest tensors:\n{}",
                mebibytes(plan.peak_bytes()),
                mebibytes(max as usize),
                plan.largest(5).trim_end()
            )));
        }
        Ok(plan)
    }

    /// Best fit among the free slots of the type, else the largest free one grown, else a new one.
    fn take(&mut self, free: &mut Vec<usize>, ty: &TensorType, name: &str) -> usize {
        // Whole words: what copies and clears work on.
        let bytes = ty.bytes().next_multiple_of(4).max(4);
        self.unpooled += bytes;
        let candidates = || {
            free.iter()
                .enumerate()
                .filter(|(_, s)| self.slots[**s].dtype == ty.dtype)
        };
        let best = candidates()
            .filter(|(_, s)| self.slots[**s].bytes >= bytes)
            .min_by_key(|(_, s)| self.slots[**s].bytes)
            .or_else(|| candidates().max_by_key(|(_, s)| self.slots[**s].bytes))
            .map(|(i, _)| i);
        if let Some(i) = best {
            let slot = free.swap_remove(i);
            if self.slots[slot].bytes < bytes {
                self.slots[slot].bytes = bytes;
                self.slots[slot].tensor = name.to_string();
            }
            return slot;
        }
        self.slots.push(Slot {
            bytes,
            dtype: ty.dtype,
            tensor: name.to_string(),
        });
        self.slots.len() - 1
    }

    /// Exact bytes of the pooled memory: activations, gradients, temporaries and inputs.
    pub fn peak_bytes(&self) -> usize {
        self.slots.iter().map(|s| s.bytes).sum()
    }

    /// Bytes and tensor of the `n` largest slots.
    pub fn largest_slots(&self, n: usize) -> Vec<(usize, &str)> {
        let mut slots: Vec<(usize, &str)> = self
            .slots
            .iter()
            .map(|s| (s.bytes, s.tensor.as_str()))
            .collect();
        slots.sort_by_key(|s| std::cmp::Reverse(s.0));
        slots.truncate(n);
        slots
    }

    /// The `n` largest slots, a line each.
    pub fn largest(&self, n: usize) -> String {
        let mut out = String::new();
        for (bytes, tensor) in self.largest_slots(n) {
            let _ = writeln!(out, "  {:>12}  {tensor}", mebibytes(bytes));
        }
        out
    }
}

/// States must fit what is free: says which groups are largest.
///
/// # Errors
/// [`GraphError::Memory`].
pub fn states_fit(states: &super::States, free: Option<u64>) -> Result<()> {
    let Some(max) = free.filter(|f| states.bytes() as u64 > *f) else {
        return Ok(());
    };
    let mut groups: Vec<(usize, &str)> = states
        .groups()
        .iter()
        .map(|g| (g.len * g.dtype.bytes(), g.name.as_str()))
        .collect();
    groups.sort_unstable_by(|a, b| b.cmp(a));
    let mut out = String::new();
    for (bytes, name) in groups.iter().take(5) {
        let _ = write!(out, "\n  {:>12}  {name}", mebibytes(*bytes));
    }
    Err(GraphError::Memory(format!(
        "parameters and other states need {}, but {} of memory are free; use a smaller network or optimiser, a smaller batch, or stream the data. Largest tensors:{out}",
        mebibytes(states.bytes()),
        mebibytes(max as usize)
    )))
}

/// Free memory of this machine, or of the container that the process runs in; none where the system does not tell.
pub fn free_memory() -> Option<u64> {
    let mut system = sysinfo::System::new().ok()?;
    system.refresh_memory();
    let machine = system.available_memory();
    let container = system.cgroup_limits().map(|c| c.free_memory);
    Some(container.map_or(machine, |c| c.min(machine))).filter(|m| *m > 0)
}

/// Bytes as `12.3 MiB`.
pub fn mebibytes(bytes: usize) -> String {
    format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64)
}

/// Nodes that a fetched tensor or a state update depends on, in the order of the graph (which is topological: a node can
/// only use tensors that exist).
fn live_nodes(graph: &Graph, fetch: &[TensorId]) -> Vec<NodeId> {
    let mut wanted = vec![false; graph.tensors.len()];
    for t in fetch {
        wanted[t.0 as usize] = true;
    }
    let mut order = Vec::new();
    for (i, n) in graph.nodes.iter().enumerate().rev() {
        if !n.updates.is_empty() || n.outputs.iter().any(|o| wanted[o.0 as usize]) {
            order.push(NodeId(i as u32));
            for t in &n.inputs {
                wanted[t.0 as usize] = true;
            }
        }
    }
    order.reverse();
    order
}
