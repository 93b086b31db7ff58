//! The search for the first node that makes a value that is not finite.

use super::{GpuExecutor, Segment, encode};
use crate::graph::exec::{NonFinite, ProgramId, range_of};
use crate::graph::step::StepScalars;
use crate::graph::{Origin, Result, TensorId};

impl GpuExecutor {
    /// [`crate::graph::Executor::find_non_finite`]: runs the program once more, a node at a time, each tensor in memory
    /// of its own.
    pub(super) fn search(
        &self,
        program: ProgramId,
        step: &StepScalars,
    ) -> Result<Option<NonFinite>> {
        let (graph, inputs) = {
            let p = &self.programs[program.0];
            let mut inputs = Vec::new();
            for (i, t) in p.graph.tensors.iter().enumerate() {
                if t.origin == Origin::Input {
                    let id = TensorId(i as u32);
                    inputs.push((
                        id,
                        self.read_view(p, &self.view(p, id)?, t.ty.dtype, &t.name)?,
                    ));
                }
            }
            (p.graph.clone(), inputs)
        };
        let fetch = self.programs[program.0].fetch.clone();
        let p = self.build(&graph, &fetch, true)?;
        for (t, data) in &inputs {
            let location = p.plan.placement[t];
            self.device.queue.write_buffer(
                &p.slots()[location.slot],
                location.offset as u64,
                &encode(data, p.graph.ty(*t).dtype),
            );
        }
        self.device
            .queue
            .write_buffer(&p.step, 0, bytemuck::bytes_of(step));
        for (segment, id) in p.segments.iter().zip(&p.plan.order) {
            let n = graph.node(*id);
            let range = |t: &TensorId| -> Result<(f64, f64, usize)> {
                let view = self.view(&p, *t)?;
                Ok(range_of(&self.read_view(
                    &p,
                    &view,
                    graph.ty(*t).dtype,
                    "searching a non-finite value",
                )?))
            };
            let mut ranges = Vec::new();
            for t in n.inputs.iter().chain(&n.updates) {
                let (lo, hi, bad) = range(t)?;
                ranges.push((graph.tensor(*t).name.clone(), lo, hi, bad));
            }
            match segment {
                Segment::Gpu(r) => r.submit(&self.device),
                Segment::Twin(n) => self.run_twin(&p, *n, step)?,
            }
            for t in n.outputs.iter().chain(&n.updates) {
                if range(t)?.2 > 0 {
                    return Ok(Some(NonFinite {
                        op: n.op.name(),
                        label: n.label.clone(),
                        inputs: ranges,
                    }));
                }
            }
        }
        Ok(None)
    }
}
