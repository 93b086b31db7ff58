//! The plan: which nodes run, in which order, and in which memory; with the exact peak before anything is allocated.

use super::tensor::{DType, TensorType};
use super::{Graph, GraphError, NodeId, Origin, Result, TensorId};
use crate::device::Limits;
use std::collections::HashMap;
use std::fmt::Write as _;

/// A piece of memory (a buffer) that several tensors use one after the other or side by side.
#[derive(Clone, Debug)]
pub struct Slot {
    /// Bytes.
    pub bytes: usize,
    /// Element type of the first of its tensors (and of all, in typed memory).
    pub dtype: DType,
    /// The largest of its tensors, for the report.
    pub tensor: String,
    /// Number in [`PlanOptions::pool`] when the memory was there before.
    pub pool: Option<usize>,
    /// It keeps its contents between runs: it holds inputs and results. All else is for other programs to use as well.
    pub kept: bool,
}

/// Where a tensor lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spot {
    /// Number of the slot.
    pub slot: usize,
    /// First byte in it: a multiple of [`ALIGNMENT`].
    pub offset: usize,
}

/// What offsets in a slot are multiples of: no adapter asks for more than 256 bytes of a storage binding (WebGPU's default limit).
pub const ALIGNMENT: usize = 256;

/// Order and memory of one graph.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Nodes to run, in order; nodes that reach no result are left out.
    pub order: Vec<NodeId>,
    /// Memory. Tensors of one node never share a slot: a buffer cannot be read and written in one dispatch.
    pub slots: Vec<Slot>,
    /// Place of every tensor that the graph itself holds (inputs, and results of nodes that are not written into states).
    pub placement: HashMap<TensorId, Spot>,
    /// Places of each node's temporaries.
    pub workspace: HashMap<NodeId, Vec<(TensorType, Spot)>>,
    /// Bytes of all tensors if none shared memory.
    pub unpooled: usize,
}

/// How to plan.
#[derive(Clone, Debug, Default)]
pub struct PlanOptions {
    /// Give every tensor memory of its own (tests with guard words; searching a non-finite value).
    pub no_reuse: bool,
    /// Tensors share memory only with tensors of their element type.
    pub typed: bool,
    /// Memory of other programs, free while this one runs: bytes and element type of each piece.
    pub pool: Vec<(usize, DType)>,
    /// Largest buffer, when the device has such a limit.
    pub max_buffer: Option<u64>,
    /// Memory that may be used, where it is known.
    pub available: Option<u64>,
}

/// Who needs memory.
#[derive(Clone, Copy)]
enum Holder {
    Tensor(TensorId),
    /// Of a node, by number.
    Workspace(NodeId, usize),
}

/// Memory that is needed while the nodes `from..=to` of the order run.
struct Need {
    bytes: usize,
    dtype: DType,
    from: usize,
    to: usize,
    /// The nodes of the order that touch it, ascending.
    touched: Vec<usize>,
    holder: Holder,
    name: String,
}

impl Need {
    fn kept(&self) -> bool {
        self.to == usize::MAX
    }

    /// Is there a node that touches both?
    fn meets(&self, o: &Self) -> bool {
        self.touched
            .iter()
            .any(|n| o.touched.binary_search(n).is_ok())
    }
}

/// Slots, and the place of each need: the largest first (Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020: greedy by size), each into the tightest
/// gap that nobody holds at its time, in a slot without a tensor of the same nodes. Then slots that keep nothing are pieces of the pool where it has such.
fn share(needs: &[Need], options: &PlanOptions) -> (Vec<Slot>, Vec<Spot>) {
    let mut by_size: Vec<usize> = (0..needs.len()).collect();
    by_size.sort_by_key(|i| std::cmp::Reverse(needs[*i].bytes));
    let mut slots: Vec<Slot> = Vec::new();
    // The needs in each slot, with their offsets.
    let mut held: Vec<Vec<(usize, usize)>> = Vec::new();
    let mut spots = vec![Spot::default(); needs.len()];
    for i in by_size {
        let n = &needs[i];
        let suits = |s: &usize| {
            let slot = &slots[*s];
            !options.no_reuse
                && slot.bytes >= n.bytes
                // What is kept takes its slot from the other programs: not a large one for little.
                && (!n.kept() || slot.kept || 2 * n.bytes >= slot.bytes)
                && (!options.typed || slot.dtype == n.dtype)
                && held[*s].iter().all(|(o, _)| !needs[*o].meets(n))
        };
        let gap = |s: usize| {
            let mut taken: Vec<(usize, usize)> = held[s]
                .iter()
                .map(|(o, at)| (&needs[*o], *at))
                .filter(|(o, _)| n.from <= o.to && o.from <= n.to)
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
                        Spot {
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
        let spot = best.map_or_else(
            || {
                slots.push(Slot {
                    bytes: n.bytes,
                    dtype: n.dtype,
                    tensor: n.name.clone(),
                    pool: None,
                    kept: n.kept(),
                });
                held.push(Vec::new());
                Spot {
                    slot: slots.len() - 1,
                    offset: 0,
                }
            },
            |(_, spot)| spot,
        );
        slots[spot.slot].kept |= n.kept();
        held[spot.slot].push((i, spot.offset));
        spots[i] = spot;
    }
    // The largest first, each takes the smallest piece of the pool that holds it: a program like the one before it takes all of that one's.
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
    (slots, spots)
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
        let mut touched: HashMap<TensorId, Vec<usize>> = HashMap::new();
        for (at, n) in order.iter().enumerate() {
            let node = graph.node(*n);
            for t in node.inputs.iter().chain(&node.outputs) {
                let by = touched.entry(*t).or_default();
                if by.last() != Some(&at) {
                    by.push(at);
                }
            }
        }
        let mut needs = Vec::new();
        let mut need = |ty: &TensorType, (from, to), touched, holder, name: String| {
            needs.push(Need {
                // Whole words: what copies and clears work on.
                bytes: ty.bytes().next_multiple_of(4).max(4),
                dtype: ty.dtype,
                from,
                to,
                touched,
                holder,
                name,
            });
        };
        // Inputs keep their memory: the host may write them at any time between runs.
        for (i, t) in graph.tensors.iter().enumerate() {
            if t.origin == Origin::Input {
                let id = TensorId(i as u32);
                let by = touched.remove(&id).unwrap_or_default();
                need(
                    &t.ty,
                    (0, usize::MAX),
                    by,
                    Holder::Tensor(id),
                    t.name.clone(),
                );
            }
        }
        let mut workspace: HashMap<NodeId, Vec<(TensorType, Spot)>> = HashMap::new();
        for (at, n) in order.iter().enumerate() {
            let node = graph.node(*n);
            let planned = |o: &&TensorId| graph.tensor(**o).state().is_none();
            for o in node.outputs.iter().filter(planned) {
                let by = touched.remove(o).unwrap_or_default();
                let last = match fetch.contains(o) {
                    true => usize::MAX,
                    false => by.last().copied().unwrap_or(at),
                };
                let name = graph.tensor(*o).name.clone();
                need(graph.ty(*o), (at, last), by, Holder::Tensor(*o), name);
            }
            let Some(limits) = limits else {
                continue;
            };
            let types: Vec<&TensorType> = node
                .inputs
                .iter()
                .chain(&node.updates)
                .map(|t| graph.ty(*t))
                .collect();
            for (i, ty) in node.op.workspace(&types, limits).into_iter().enumerate() {
                let name = format!("{} workspace of {}", node.op.name(), node.label);
                need(&ty, (at, at), vec![at], Holder::Workspace(*n, i), name);
                workspace.entry(*n).or_default().push((ty, Spot::default()));
            }
        }
        let unpooled = needs.iter().map(|n| n.bytes).sum();
        let (slots, spots) = share(&needs, options);
        let mut placement = HashMap::new();
        for (need, spot) in needs.iter().zip(spots) {
            match need.holder {
                Holder::Tensor(t) => {
                    placement.insert(t, spot);
                }
                Holder::Workspace(n, i) => {
                    if let Some(w) = workspace.get_mut(&n) {
                        w[i].1 = spot;
                    }
                }
            }
        }
        let plan = Self {
            order,
            slots,
            placement,
            workspace,
            unpooled,
        };
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

    /// Bytes of all slots, wherever they come from.
    pub fn bytes(&self) -> usize {
        self.slots.iter().map(|s| s.bytes).sum()
    }

    /// Exact bytes of memory that this program adds to what other programs have: activations, gradients, temporaries and inputs.
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

/// States must fit what is free: says which groups are largest.
///
/// # Errors
/// [`GraphError::Memory`].
pub fn states_fit(states: &super::States, free: Option<u64>) -> Result<()> {
    let Some(max) = free.filter(|f| states.bytes() as u64 > *f) else {
        return Ok(());
    };
    let mut groups: Vec<(usize, String)> = states
        .groups()
        .iter()
        .map(|g| (g.len * g.dtype.bytes(), g.group.name()))
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
        if !n.updates.is_empty() || n.outputs.iter().any(reaches) {
            order.push(NodeId(i as u32));
            for t in &n.inputs {
                wanted[t.0 as usize] = true;
            }
        }
    }
    order.reverse();
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need(bytes: usize, touched: &[usize], kept: bool) -> Need {
        Need {
            bytes,
            dtype: DType::F32,
            from: touched[0],
            to: if kept {
                usize::MAX
            } else {
                touched[touched.len() - 1]
            },
            touched: touched.to_vec(),
            holder: Holder::Tensor(TensorId(0)),
            name: bytes.to_string(),
        }
    }

    /// Forward and backward of layers that shrink: layer i makes a tensor at node i that node 2 n - i reads again; a gradient lives from one node to the next.
    fn network(layers: usize) -> Vec<Need> {
        let mut v = Vec::new();
        for i in 0..layers {
            let (bytes, back) = (1 << (20 - i), 2 * layers - i);
            v.push(need(bytes, &[i, i + 1, back], false));
            v.push(need(bytes, &[back, back + 1], false));
            v.push(need(1 << 10, &[back], false));
            v.push(need(100, &[i], true));
        }
        v
    }

    /// The first pair of needs whose places clash.
    fn clash(needs: &[Need], spots: &[Spot]) -> Option<(usize, usize)> {
        let bad = |i: usize, j: usize| {
            let (a, b, s, t) = (&needs[i], &needs[j], spots[i], spots[j]);
            let together = a.from <= b.to && b.from <= a.to;
            let overlap = s.offset < t.offset + b.bytes && t.offset < s.offset + a.bytes;
            s.slot == t.slot && (a.meets(b) || together && overlap)
        };
        let pairs = || (0..needs.len()).flat_map(|i| (0..i).map(move |j| (i, j)));
        pairs().find(|(i, j)| bad(*i, *j))
    }

    #[test]
    fn places_never_clash_and_waste_little() {
        let needs = network(8);
        let (slots, spots) = share(&needs, &PlanOptions::default());
        assert_eq!(clash(&needs, &spots), None);
        for (n, s) in needs.iter().zip(&spots) {
            assert!(s.offset % ALIGNMENT == 0 && s.offset + n.bytes <= slots[s.slot].bytes);
        }
        // The judge judges: one place for all is found out.
        assert!(clash(&needs, &vec![Spot::default(); needs.len()]).is_some());
        // What is alive at once at worst, and what the slots are: a gradient of the first layer reuses what later layers saved, side by side.
        let live = |t: usize| -> usize {
            let alive = needs.iter().filter(|n| n.from <= t && t <= n.to);
            alive.map(|n| n.bytes).sum()
        };
        let most = (0..20).map(live).max().unwrap_or(0);
        let bytes: usize = slots.iter().map(|s| s.bytes).sum();
        assert!(
            bytes >= most && bytes * 10 <= most * 12,
            "{bytes} of {most}"
        );
        let own = PlanOptions {
            no_reuse: true,
            ..PlanOptions::default()
        };
        assert_eq!(share(&needs, &own).0.len(), needs.len());
    }

    #[test]
    fn another_program_uses_what_is_there() {
        let needs = network(4);
        let first = share(&needs, &PlanOptions::default()).0;
        let free = first.iter().filter(|s| !s.kept);
        let options = PlanOptions {
            pool: free.map(|s| (s.bytes, s.dtype)).collect(),
            ..PlanOptions::default()
        };
        let (slots, spots) = share(&needs, &options);
        assert_eq!(clash(&needs, &spots), None);
        // New are only those that keep their contents; a piece is one slot's and holds it.
        assert!(slots.iter().all(|s| s.pool.is_none() == s.kept));
        let mut pieces: Vec<usize> = slots.iter().filter_map(|s| s.pool).collect();
        pieces.sort_unstable();
        assert!(pieces.windows(2).all(|w| w[0] < w[1]), "{pieces:?}");
        let holds = |s: &Slot| s.pool.is_none_or(|i| options.pool[i].0 >= s.bytes);
        assert!(slots.iter().all(holds));
        // A piece of another type, or too small a one, is not used.
        let small = PlanOptions {
            typed: true,
            pool: vec![(1 << 30, DType::U32), (64, DType::F32)],
            ..PlanOptions::default()
        };
        assert!(share(&needs, &small).0.iter().all(|s| s.pool.is_none()));
    }
}
