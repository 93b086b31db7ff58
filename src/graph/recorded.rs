//! A program as data: where its tensors lie in numbered buffers, and the dispatches of its nodes. Made without a device.

use super::op::Bindings;
use super::plan::{Location, Plan};
use super::state::States;
use super::tensor::TensorType;
use super::{Graph, GraphError, NodeId, Result, TensorId};
use crate::device::recording::{BufferId, Recorder, Recording, View};

/// Work that runs in one place.
#[derive(Clone, Debug, PartialEq)]
pub enum Segment {
    /// Dispatches on the device.
    Device(Recording),
    /// A node that its twin computes on the host, between dispatches. A program with one runs only where the host has
    /// the twins: never in a page.
    Host(NodeId),
}

/// The numbers of a program's buffers.
pub struct Places<'a> {
    /// The graph.
    pub graph: &'a Graph,
    /// Its plan.
    pub plan: &'a Plan,
    /// All states.
    pub states: &'a States,
    /// The buffers of those groups of states that are allocated.
    pub groups: &'a [BufferId],
    /// The buffers of the plan's slots.
    pub slots: &'a [BufferId],
}

impl Places<'_> {
    fn slot(&self, location: Location, ty: &TensorType) -> View {
        View::new(
            self.slots[location.slot],
            location.offset as u64,
            ty.dims(),
            ty.dtype.bytes(),
        )
    }

    /// Where a tensor lies.
    ///
    /// # Errors
    /// It belongs to a group of states that is not allocated.
    pub fn view(&self, t: TensorId) -> Result<View> {
        let ty = self.graph.ty(t);
        let Some(id) = self.graph.tensor(t).state() else {
            return Ok(self.slot(self.plan.placement[&t], ty));
        };
        let buffer = self.groups.get(id.group as usize).ok_or_else(|| {
            GraphError::Invalid(format!(
                "state `{}` is not allocated",
                self.graph.tensor(t).name
            ))
        })?;
        Ok(View::new(
            *buffer,
            (self.states.entry(id).offset * 4) as u64,
            ty.dims(),
            ty.dtype.bytes(),
        ))
    }

    /// What a node reads and writes.
    ///
    /// # Errors
    /// As [`Places::view`].
    pub fn bindings(&self, id: NodeId) -> Result<Bindings> {
        let n = self.graph.node(id);
        let views = |ts: &[TensorId]| ts.iter().map(|t| self.view(*t)).collect::<Result<Vec<_>>>();
        let temporaries = self.plan.workspace.get(&id).into_iter().flatten();
        Ok(Bindings {
            inputs: views(&n.inputs)?,
            outputs: views(&n.outputs)?,
            updates: views(&n.updates)?,
            workspace: temporaries.map(|(ty, at)| self.slot(*at, ty)).collect(),
        })
    }

    /// The nodes' dispatches in the plan's order. Ops without kernels and those named in `twins` stay with the host; `one_by_one` gives each node
    /// a segment of its own.
    ///
    /// # Errors
    /// A tensor that no binding of the device holds; a shader that does not preprocess.
    pub fn record<'r>(
        &self,
        recorder: impl Fn() -> Recorder<'r>,
        twins: &[String],
        one_by_one: bool,
    ) -> Result<Vec<Segment>> {
        let mut segments = Vec::new();
        let mut open: Option<Recorder<'r>> = None;
        for &id in &self.plan.order {
            let n = self.graph.node(id);
            let on_host = n.op.on_host() || twins.iter().any(|t| t == n.op.name());
            if on_host || one_by_one {
                segments.extend(open.take().map(|r| Segment::Device(r.finish())));
            }
            if on_host {
                segments.push(Segment::Host(id));
                continue;
            }
            let rec = open.get_or_insert_with(&recorder);
            rec.set_label(n.title());
            n.op.record(rec, &self.bindings(id)?)?;
        }
        segments.extend(open.map(|r| Segment::Device(r.finish())));
        Ok(segments)
    }
}
