//! `micro_part`: a micro-batch's share of what a batch holds (gradient caching). Twin: `reference/micro_part.rs`.

use crate::device::recording::Recorder;
use crate::graph::{Bindings, Class, HostIo, Op, Result, Shape, TensorType};
use crate::reference::{Scalar, micro_part};
use crate::{kernel, twin};

/// x, of `parts` times the elements of `out` -> those of part step.micro (below `parts`), under the shape `out`.
/// Without a gradient: what it reads is given.
#[derive(Clone, Debug)]
pub struct MicroPart {
    /// Micro-batches.
    pub parts: usize,
    /// Shape of the result.
    pub out: Shape,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    n: u32,
    part: u32,
    y_start: u32,
    x_start: u32,
    m: u32,
    r: [u32; 3],
}

impl Op for MicroPart {
    fn name(&self) -> &'static str {
        "micro_part"
    }
    fn class(&self) -> Class {
        Class::Layout
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let [x] = inputs else {
            return Err("needs one input".into());
        };
        let n = self.parts * self.out.elements();
        if x.elements() != n || n > u32::MAX as usize {
            return Err(format!(
                "{} elements are not {} parts of shape {}",
                x.elements(),
                self.parts,
                self.out
            ));
        }
        Ok(vec![TensorType::f32(self.out.clone())])
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let (x, y) = (&io.inputs[0], &io.outputs[0]);
        let k = kernel!("micro_part", "main");
        for to in y.flat_chunks(rec.limits()) {
            for from in x.flat_chunks(rec.limits()) {
                let p = Params {
                    n: to.len() as u32,
                    part: y.elements() as u32,
                    y_start: to.start as u32,
                    x_start: from.start as u32,
                    m: from.len() as u32,
                    r: [0; 3],
                };
                let views = [&x.flat(from), &y.flat(to.clone())];
                rec.dispatch(&k, &p, &views, to.len().div_ceil(64))?;
            }
        }
        Ok(())
    }
    twin!();
}

impl MicroPart {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let (micro, x) = (io.step.micro as usize, io.input(0));
        micro_part::micro_part(micro, x, io.output(0));
    }
}
