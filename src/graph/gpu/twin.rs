//! One node by its f32 twin in the middle of a GPU program: exchanges between ranks, and any op, to bisect a fault.

use super::{GpuExecutor, Program, encode};
use crate::device::recording::View;
use crate::graph::exec::HostData;
use crate::graph::op::{HostIo, HostMut, HostRef, InlineVec};
use crate::graph::step::StepScalars;
use crate::graph::tensor::{DType, TensorType};
use crate::graph::{Graph, Node, NodeId, Result};

/// Runs a node that has inputs alone ([`crate::graph::Op::acts`]).
pub(super) fn act(n: &Node, graph: &Graph, inputs: &[HostData], step: &StepScalars) {
    let types: Vec<TensorType> = n.inputs.iter().map(|t| graph.ty(*t).clone()).collect();
    n.op.reference_f32(&mut HostIo {
        inputs: inputs.iter().map(as_ref).collect(),
        outputs: InlineVec::new(),
        updates: InlineVec::new(),
        input_types: &types,
        output_types: &[],
        step: *step,
    });
}

fn as_ref(d: &HostData) -> HostRef<'_, f32> {
    match d {
        HostData::F32(x) => HostRef::Float(x),
        HostData::U32(x) => HostRef::U32(x),
        HostData::F64(_) => unreachable!("the device holds no f64"),
    }
}

impl GpuExecutor {
    /// What a node reads, its inputs and then its updates: buffers, and where in them.
    pub(super) fn operands(
        &self,
        p: &Program,
        id: NodeId,
    ) -> Result<Vec<(wgpu::Buffer, View, DType)>> {
        let n = p.graph.node(id);
        let io = self.places(p).bindings(id)?;
        let views = io.inputs.into_iter().chain(io.updates);
        let types = n.inputs.iter().chain(&n.updates);
        let types = types.map(|t| p.graph.ty(*t).dtype);
        Ok(views
            .zip(types)
            .map(|(v, dtype)| (p.buffer(&v).clone(), v, dtype))
            .collect())
    }

    /// Runs one node by its f32 twin: read back, compute, upload.
    pub(super) fn run_twin(&self, p: &Program, id: NodeId, step: &StepScalars) -> Result<()> {
        let operands = self.operands(p, id)?.into_iter();
        let read = operands.map(|(_, v, dtype)| self.read_view(p, &v, dtype, "twin"));
        self.run_twin_of(p, id, step, read.collect::<Result<_>>()?)
    }

    /// As [`GpuExecutor::run_twin`], of operands that were read back.
    pub(super) fn run_twin_of(
        &self,
        p: &Program,
        id: NodeId,
        step: &StepScalars,
        mut inputs: Vec<HostData>,
    ) -> Result<()> {
        let n = p.graph.node(id);
        let io = self.places(p).bindings(id)?;
        let mut updates = inputs.split_off(n.inputs.len().min(inputs.len()));
        let mut outputs: Vec<HostData> = n
            .outputs
            .iter()
            .map(|t| match p.graph.ty(*t).dtype {
                DType::F32 | DType::F16 => HostData::F32(vec![f32::NAN; p.graph.ty(*t).elements()]),
                DType::U32 => HostData::U32(vec![u32::MAX; p.graph.ty(*t).elements()]),
            })
            .collect();
        let input_types: Vec<TensorType> = n
            .inputs
            .iter()
            .chain(&n.updates)
            .map(|t| p.graph.ty(*t).clone())
            .collect();
        let output_types: Vec<TensorType> =
            n.outputs.iter().map(|t| p.graph.ty(*t).clone()).collect();
        fn as_mut(d: &mut HostData) -> HostMut<'_, f32> {
            match d {
                HostData::F32(x) => HostMut::Float(x),
                HostData::U32(x) => HostMut::U32(x),
                HostData::F64(_) => unreachable!("the device holds no f64"),
            }
        }
        let mut host = HostIo {
            inputs: inputs.iter().map(as_ref).collect(),
            outputs: outputs.iter_mut().map(as_mut).collect(),
            updates: updates.iter_mut().map(as_mut).collect(),
            input_types: &input_types,
            output_types: &output_types,
            step: *step,
        };
        n.op.reference_f32(&mut host);
        drop(host);
        let written = io.outputs.iter().zip(&outputs).zip(&n.outputs);
        let updated = io.updates.iter().zip(&updates).zip(&n.updates);
        for ((v, d), t) in written.chain(updated) {
            let bytes = encode(d, p.graph.ty(*t).dtype);
            self.device
                .queue
                .write_buffer(p.buffer(v), v.offset, &bytes);
        }
        Ok(())
    }
}
