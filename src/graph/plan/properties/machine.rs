//! The judge: a machine that walks through the nodes of plans and follows which tensor's value each block of memory
//! holds. It knows nothing of live ranges.

use super::super::*;
use super::graphs::Made;
use std::collections::HashSet;

/// What a block of memory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    Nothing,
    /// A tensor of a program.
    Tensor(usize, TensorId),
    Temporary,
}

/// Memory in blocks of [`ALIGNMENT`] bytes. Tensors start at blocks, so two overlap in bytes where they have a block in
/// common.
#[derive(Default)]
pub(super) struct Machine {
    pub(super) slots: Vec<Vec<Held>>,
}

/// A program on the machine: its graph and plan, and the machine's numbers of its slots.
pub(super) struct Loaded<'a> {
    pub(super) number: usize,
    pub(super) made: &'a Made,
    pub(super) plan: &'a Plan,
    pub(super) slots: Vec<usize>,
}

impl Machine {
    /// Loads a plan; `pool` are the machine's slots that its options offered.
    pub(super) fn load<'a>(
        &mut self,
        number: usize,
        made: &'a Made,
        plan: &'a Plan,
        pool: &[usize],
    ) -> Loaded<'a> {
        let slots = plan.slots.iter().map(|s| match s.pool {
            Some(i) => pool[i],
            None => {
                self.slots
                    .push(vec![Held::Nothing; s.bytes.div_ceil(ALIGNMENT)]);
                self.slots.len() - 1
            }
        });
        let slots = slots.collect();
        Loaded {
            number,
            made,
            plan,
            slots,
        }
    }

    /// The blocks of a place, or what is wrong with it.
    pub(super) fn blocks(
        &mut self,
        p: &Loaded<'_>,
        at: Location,
        bytes: usize,
    ) -> std::result::Result<&mut [Held], String> {
        if !at.offset.is_multiple_of(ALIGNMENT) || at.offset + bytes > p.plan.slots[at.slot].bytes {
            return Err(format!("{bytes} bytes do not lie at {at:?}"));
        }
        let first = at.offset / ALIGNMENT;
        Ok(&mut self.slots[p.slots[at.slot]][first..first + bytes.div_ceil(ALIGNMENT)])
    }

    /// The tensor's value is where its place is.
    pub(super) fn holds(
        &mut self,
        p: &Loaded<'_>,
        t: TensorId,
        when: &str,
    ) -> std::result::Result<(), String> {
        let Some(at) = p.plan.placement.get(&t) else {
            return Ok(());
        };
        let wanted = Held::Tensor(p.number, t);
        let blocks = self.blocks(p, *at, p.made.graph.ty(t).bytes())?;
        match blocks.iter().find(|b| **b != wanted) {
            Some(other) => Err(format!("{when}: {t:?} is gone, {other:?} is there")),
            None => Ok(()),
        }
    }

    pub(super) fn write(&mut self, p: &Loaded<'_>, t: TensorId) -> std::result::Result<(), String> {
        if let Some(at) = p.plan.placement.get(&t) {
            let bytes = p.made.graph.ty(t).bytes();
            self.blocks(p, *at, bytes)?.fill(Held::Tensor(p.number, t));
        }
        Ok(())
    }

    /// Runs a program once; its inputs have been written.
    pub(super) fn run(&mut self, p: &Loaded<'_>) -> std::result::Result<(), String> {
        let g = &p.made.graph;
        for id in &p.plan.order {
            let node = g.node(*id);
            let title = node.title();
            for t in &node.inputs {
                self.holds(p, *t, &title)?;
            }
            // Buffers that the node reads and those that it writes.
            let slot = |t: &TensorId| p.plan.placement.get(t).map(|at| p.slots[at.slot]);
            let group = |t: &TensorId| g.tensor(*t).state().map(|s| s.group);
            let read: HashSet<usize> = node.inputs.iter().filter_map(slot).collect();
            let mut written: Vec<usize> = node.outputs.iter().filter_map(slot).collect();
            let temporaries = p.plan.workspace.get(id).map_or(&[][..], |w| &w[..]);
            written.extend(temporaries.iter().map(|(_, at)| p.slots[at.slot]));
            let distinct: HashSet<usize> = written.iter().copied().collect();
            if distinct.len() < written.len() || !distinct.is_disjoint(&read) {
                return Err(format!("{title} reads and writes one buffer"));
            }
            let into: Vec<u32> = node.outputs.iter().filter_map(group).collect();
            if node
                .inputs
                .iter()
                .filter_map(group)
                .any(|s| into.contains(&s))
            {
                return Err(format!("{title} writes into a group that it reads"));
            }
            for (ty, at) in temporaries {
                self.blocks(p, *at, ty.bytes())?.fill(Held::Temporary);
            }
            for t in &node.outputs {
                self.write(p, *t)?;
            }
        }
        self.kept(p, "after its run")
    }

    /// Inputs and fetched tensors are there.
    pub(super) fn kept(&mut self, p: &Loaded<'_>, when: &str) -> std::result::Result<(), String> {
        let kept = p.made.inputs.iter().chain(&p.made.fetch);
        kept.copied().try_for_each(|t| self.holds(p, t, when))
    }
}
