//! `class_votes`: neighbours' votes for classes. Twin: `reference/class_votes.rs`.

use crate::device::recording::{Recorder, row_chunks};
use crate::graph::{Bindings, Class, HostIo, Op, Result, TensorType};
use crate::reference::Scalar;
use crate::reference::class_votes::{self, Weight};
use crate::{kernel, twin};

/// Values f32 [rows,k] and labels u32 [rows,k] of each row's neighbours -> votes f32 [rows,classes]. For evaluation:
/// it has no gradient.
#[derive(Clone, Copy, Debug)]
pub struct ClassVotes {
    /// Classes.
    pub classes: usize,
    /// What a vote weighs.
    pub weight: Weight,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    k: u32,
    classes: u32,
    total: u32,
    per_t: f32,
}

impl Op for ClassVotes {
    fn name(&self) -> &'static str {
        "class_votes"
    }
    fn class(&self) -> Class {
        Class::Search
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let [rows, k] = inputs[0].rank("value")?;
        if inputs[1].dims() != [rows, k] || k == 0 || self.classes == 0 {
            return Err("needs neighbours, a label for each, and classes".into());
        }
        Ok(vec![TensorType::f32([rows, self.classes])])
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let (v, label, y) = (&io.inputs[0], &io.inputs[1], &io.outputs[0]);
        let per_t = match self.weight {
            Weight::Similarity { t } => 1.0 / t,
            Weight::SquaredDistance => 0.0,
        };
        for r in row_chunks(&[v, label, y], rec.limits()) {
            let (v, label, y) = (v.rows(r.clone()), label.rows(r.clone()), y.rows(r));
            let p = Params {
                k: v.dims()[1] as u32,
                classes: self.classes as u32,
                total: y.elements() as u32,
                per_t,
            };
            let cosine = matches!(self.weight, Weight::Similarity { .. });
            let kernel = kernel!("class_votes", "main").flag("COSINE", cosine);
            rec.dispatch(&kernel, &p, &[&v, &label, &y], y.elements().div_ceil(64))?;
        }
        Ok(())
    }
    twin!();
}

impl ClassVotes {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let k = io.input_types[0].dims()[1];
        let (v, label) = (io.input(0), io.input_u32(1));
        class_votes::class_votes(k, self.classes, self.weight, v, label, io.output(0));
    }
}
