//! The plan: which nodes run, in which order, and in which memory; with the exact peak before anything is allocated.

use super::tensor::{DType, TensorType};
use super::{Graph, GraphError, NodeId, Origin, Result, TensorId};
use crate::device::Limits;
use std::collections::HashMap;
use std::fmt::Write as _;

/// A buffer that several tensors use, one after the other or side by side.
#[derive(Clone, Debug)]
pub struct Slot {
    /// Bytes.
    pub bytes: usize,
    /// Element type of the first of its tensors (and of all, in typed memory).
    pub dtype: DType,
    /// The largest of its tensors, for the report.
    pub tensor: String,
    /// Number in [`PlanOptions::pool`] when another program's buffer is used.
    pub pool: Option<usize>,
    /// It holds inputs or fetched tensors, so it keeps its contents between runs and no other program may use it.
    pub kept: bool,
}

/// Where a tensor lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Location {
    /// Number of the slot.
    pub slot: usize,
    /// First byte in it: a multiple of [`ALIGNMENT`].
    pub offset: usize,
}

/// Offsets in a slot are multiples of this many bytes: WebGPU's default alignment of storage bindings, and the largest
/// that an adapter may ask for.
pub const ALIGNMENT: usize = 256;

/// Order and memory of one graph.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Nodes to run, in order; nodes that reach no result are left out.
    pub order: Vec<NodeId>,
    /// Memory. Tensors of one node never share a slot, because a buffer cannot be read and written in one dispatch.
    pub slots: Vec<Slot>,
    /// Where inputs lie, and nodes' results that are not written into states.
    pub placement: HashMap<TensorId, Location>,
    /// Types and places of each node's temporaries.
    pub workspace: HashMap<NodeId, Vec<(TensorType, Location)>>,
    /// Bytes of all tensors if none shared memory.
    pub unpooled: usize,
}

/// How to plan.
#[derive(Clone, Debug, Default)]
pub struct PlanOptions {
    /// Give every tensor a slot of its own (for tests with guard words, and to search for a non-finite value).
    pub no_reuse: bool,
    /// Tensors share memory only with tensors of their element type.
    pub typed: bool,
    /// Buffers of other programs that are free while this one runs: bytes and element type of each.
    pub pool: Vec<(usize, DType)>,
    /// Largest buffer, when the device has such a limit.
    pub max_buffer: Option<u64>,
    /// Memory that may be used, where it is known.
    pub available: Option<u64>,
}

/// What a live range is the memory of.
#[derive(Clone)]
enum Owner {
    Tensor(TensorId),
    /// A node's temporary.
    Workspace(NodeId, TensorType),
}

/// Memory that must keep its contents while the nodes `first..=last` of the order run.
#[derive(Clone)]
struct LiveRange {
    bytes: usize,
    dtype: DType,
    first: usize,
    /// `usize::MAX`: until the next run.
    last: usize,
    /// The nodes of the order that read or write it, ascending.
    users: Vec<usize>,
    owner: Owner,
    name: String,
}

impl LiveRange {
    fn kept(&self) -> bool {
        self.last == usize::MAX
    }

    /// Both are live at some node.
    fn overlaps(&self, o: &Self) -> bool {
        self.first <= o.last && o.first <= self.last
    }

    /// A node reads or writes both.
    fn shares_a_node(&self, o: &Self) -> bool {
        self.users.iter().any(|n| o.users.binary_search(n).is_ok())
    }
}

/// Assigns a place to each live range, and makes the slots. The largest range is placed first (Pisarchyk and Lee,
/// "Efficient Memory Management for Deep Neural Net Inference", 2020, greedy by size). It goes into the tightest gap
/// that is free during its lifetime, in a slot that holds nothing which a node uses together with it; without such a
/// gap it gets a new slot. At last, slots that are not kept take buffers from the pool that are large enough.
fn assign(ranges: &[LiveRange], options: &PlanOptions) -> (Vec<Slot>, Vec<Location>) {
    let mut by_size: Vec<usize> = (0..ranges.len()).collect();
    by_size.sort_by_key(|i| std::cmp::Reverse(ranges[*i].bytes));
    let mut slots: Vec<Slot> = Vec::new();
    // The ranges in each slot, with their offsets.
    let mut occupants: Vec<Vec<(usize, usize)>> = Vec::new();
    let mut locations = vec![Location::default(); ranges.len()];
    for i in by_size {
        let n = &ranges[i];
        let suits = |s: &usize| {
            let slot = &slots[*s];
            !options.no_reuse
                && slot.bytes >= n.bytes
                // A kept tensor withdraws its slot from other programs, so none is kept that is over twice its size.
                && (!n.kept() || slot.kept || 2 * n.bytes >= slot.bytes)
                && (!options.typed || slot.dtype == n.dtype)
                && occupants[*s]
                    .iter()
                    .all(|(o, _)| !ranges[*o].shares_a_node(n))
        };
        let gap = |s: usize| {
            let mut taken: Vec<(usize, usize)> = occupants[s]
                .iter()
                .map(|(o, at)| (&ranges[*o], *at))
                .filter(|(o, _)| n.overlaps(o))
                .map(|(o, at)| (at, at + o.bytes))
                .collect();
            taken.push((slots[s].bytes, slots[s].bytes));
            taken.sort_unstable();
            let mut from = 0;
            let mut best = None;
            for (start, end) in taken {
                let room = start.saturating_sub(from);
                if room >= n.bytes && best.is_none_or(|(r, _)| room < r) {
                    best = Some((
                        room,
                        Location {
                            slot: s,
                            offset: from,
                        },
                    ));
                }
                from = from.max(end.next_multiple_of(ALIGNMENT));
            }
            best
        };
        let best = (0..slots.len())
            .filter(suits)
            .filter_map(gap)
            .min_by_key(|(room, _)| *room);
        let location = best.map_or_else(
            || {
                slots.push(Slot {
                    bytes: n.bytes,
                    dtype: n.dtype,
                    tensor: n.name.clone(),
                    pool: None,
                    kept: n.kept(),
                });
                occupants.push(Vec::new());
                Location {
                    slot: slots.len() - 1,
                    offset: 0,
                }
            },
            |(_, location)| location,
        );
        slots[location.slot].kept |= n.kept();
        occupants[location.slot].push((i, location.offset));
        locations[i] = location;
    }
    // The largest first, each slot takes the smallest buffer of the pool that holds it. A program of the same shape as
    // an earlier one thus takes all of that one's buffers.
    let mut pool: Vec<usize> = (0..options.pool.len()).collect();
    for slot in slots.iter_mut().filter(|s| !s.kept) {
        let holds = |(_, i): &(usize, &usize)| {
            let (bytes, dtype) = options.pool[**i];
            bytes >= slot.bytes && (!options.typed || dtype == slot.dtype)
        };
        let best = pool.iter().enumerate().filter(holds);
        if let Some((at, _)) = best.min_by_key(|(_, i)| options.pool[**i].0) {
            slot.pool = Some(pool.swap_remove(at));
        }
    }
    (slots, locations)
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
        let ranges = live_ranges(graph, &order, fetch, limits);
        let plan = Self::lay_out(order, ranges, options);
        plan.check(options)?;
        Ok(plan)
    }

    /// Places live ranges.
    fn lay_out(order: Vec<NodeId>, ranges: Vec<LiveRange>, options: &PlanOptions) -> Self {
        let unpooled = ranges.iter().map(|n| n.bytes).sum();
        let (slots, locations) = assign(&ranges, options);
        let mut placement = HashMap::new();
        let mut workspace: HashMap<NodeId, Vec<(TensorType, Location)>> = HashMap::new();
        for (range, location) in ranges.into_iter().zip(locations) {
            match range.owner {
                Owner::Tensor(t) => {
                    placement.insert(t, location);
                }
                // A node's temporaries are in the order in which it asked for them.
                Owner::Workspace(n, ty) => workspace.entry(n).or_default().push((ty, location)),
            }
        }
        Self {
            order,
            slots,
            placement,
            workspace,
            unpooled,
        }
    }

    /// Whether it fits what the options allow.
    fn check(&self, options: &PlanOptions) -> Result<()> {
        if let Some(max) = options.max_buffer
            && let Some(s) = self.slots.iter().find(|s| s.bytes as u64 > max)
        {
            return Err(GraphError::Memory(format!(
                "{} needs {} in one buffer, but the adapter allows {}; use a smaller batch or micro-batches. \
                 Largest tensors:\n{}",
                s.tensor,
                mebibytes(s.bytes),
                mebibytes(max as usize),
                self.largest(5)
            )));
        }
        if let Some(max) = options.available
            && self.peak_bytes() as u64 > max
        {
            return Err(GraphError::Memory(format!(
                "a step needs {}, but {} of memory are free; use a smaller batch, micro-batches or a smaller \
                 network. Largest tensors:\n{}",
                mebibytes(self.peak_bytes()),
                mebibytes(max as usize),
                self.largest(5).trim_end()
            )));
        }
        Ok(())
    }

    /// Bytes of all slots, wherever they come from.
    pub fn bytes(&self) -> usize {
        self.slots.iter().map(|s| s.bytes).sum()
    }

    /// Exact bytes that this program adds to what other programs have: activations, gradients, temporaries and inputs.
    pub fn peak_bytes(&self) -> usize {
        let new = self.slots.iter().filter(|s| s.pool.is_none());
        new.map(|s| s.bytes).sum()
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

/// The live ranges of all tensors of the graph that lie in no state, and, with a device's limits, of the nodes'
/// temporaries.
fn live_ranges(
    graph: &Graph,
    order: &[NodeId],
    fetch: &[TensorId],
    limits: Option<&Limits>,
) -> Vec<LiveRange> {
    let mut users: HashMap<TensorId, Vec<usize>> = HashMap::new();
    for (at, n) in order.iter().enumerate() {
        let node = graph.node(*n);
        for t in node.inputs.iter().chain(&node.outputs) {
            let by = users.entry(*t).or_default();
            if by.last() != Some(&at) {
                by.push(at);
            }
        }
    }
    let mut ranges = Vec::new();
    let mut live = |ty: &TensorType, (first, last), users, owner, name: String| {
        ranges.push(LiveRange {
            // Whole words, because copies and clears work on words.
            bytes: ty.bytes().next_multiple_of(4).max(4),
            dtype: ty.dtype,
            first,
            last,
            users,
            owner,
            name,
        });
    };
    // Inputs are kept, because the host may write them at any time between runs.
    for (i, t) in graph.tensors.iter().enumerate() {
        if t.origin == Origin::Input {
            let id = TensorId(i as u32);
            let by = users.remove(&id).unwrap_or_default();
            let always = (0, usize::MAX);
            live(&t.ty, always, by, Owner::Tensor(id), t.name.clone());
        }
    }
    for (at, n) in order.iter().enumerate() {
        let node = graph.node(*n);
        let planned = |o: &&TensorId| graph.tensor(**o).state().is_none();
        for o in node.outputs.iter().filter(planned) {
            let by = users.remove(o).unwrap_or_default();
            let last = match fetch.contains(o) {
                true => usize::MAX,
                false => by.last().copied().unwrap_or(at),
            };
            let name = graph.tensor(*o).name.clone();
            live(graph.ty(*o), (at, last), by, Owner::Tensor(*o), name);
        }
        let Some(limits) = limits else {
            continue;
        };
        let read = node.inputs.iter().chain(&node.updates);
        let types: Vec<&TensorType> = read.map(|t| graph.ty(*t)).collect();
        for ty in node.op.workspace(&types, limits) {
            let name = format!("{} workspace of {}", node.op.name(), node.label);
            let owner = Owner::Workspace(*n, ty.clone());
            live(&ty, (at, at), vec![at], owner, name);
        }
    }
    ranges
}

/// States must fit what is free: says which groups are largest.
///
/// # Errors
/// [`GraphError::Memory`].
pub fn states_fit(states: &super::States, free: Option<u64>) -> Result<()> {
    // Where the system does not tell what is free: more than a program can address.
    let max = free.unwrap_or(isize::MAX as u64);
    if states.bytes() as u64 <= max {
        return Ok(());
    }
    let mut groups: Vec<(usize, String)> = states
        .groups()
        .iter()
        .map(|g| (g.len.saturating_mul(g.dtype.bytes()), g.group.name()))
        .collect();
    groups.sort_unstable_by(|a, b| b.cmp(a));
    let mut out = String::new();
    for (bytes, name) in groups.iter().take(5) {
        let _ = write!(out, "\n  {:>12}  {name}", mebibytes(*bytes));
    }
    Err(GraphError::Memory(format!(
        "parameters and other states need {}, but {} of memory are free; use a smaller network or optimiser, \
         a smaller batch, or stream the data. Largest tensors:{out}",
        mebibytes(states.bytes()),
        mebibytes(max as usize)
    )))
}

/// Bytes as `12.3 MiB`.
pub fn mebibytes(bytes: usize) -> String {
    format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64)
}

/// Nodes that a fetched tensor or a state depends on, in the order of the graph (which is topological: a node can
/// only use tensors that exist).
fn live_nodes(graph: &Graph, fetch: &[TensorId]) -> Vec<NodeId> {
    let mut wanted = vec![false; graph.tensors.len()];
    for t in fetch {
        wanted[t.0 as usize] = true;
    }
    let mut order = Vec::new();
    for (i, n) in graph.nodes.iter().enumerate().rev() {
        let reaches = |o: &TensorId| wanted[o.0 as usize] || graph.tensor(*o).state().is_some();
        if !n.updates.is_empty() || n.op.acts() || n.outputs.iter().any(reaches) {
            order.push(NodeId(i as u32));
            for t in &n.inputs {
                wanted[t.0 as usize] = true;
            }
        }
    }
    order.reverse();
    at_once(graph, order)
}

/// Nodes that act (exchanges between ranks) follow the last node that they need, wherever they were appended: what they
/// begin then goes on beside the rest.
fn at_once(graph: &Graph, order: Vec<NodeId>) -> Vec<NodeId> {
    let acts = |id: &NodeId| graph.node(*id).op.acts();
    if !order.iter().any(acts) {
        return order;
    }
    let maker = |t: &TensorId| match graph.tensor(*t).origin {
        Origin::Node(node, _) => Some(node),
        Origin::Input | Origin::State(_) => None,
    };
    let (acting, mut others): (Vec<NodeId>, Vec<NodeId>) = order.into_iter().partition(acts);
    for id in acting {
        let last = graph.node(id).inputs.iter().filter_map(maker).max();
        let mut at = others
            .iter()
            .position(|n| Some(*n) == last)
            .map_or(0, |i| i + 1);
        while others.get(at).is_some_and(acts) {
            at += 1;
        }
        others.insert(at, id);
    }
    others
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
