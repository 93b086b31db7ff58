//! `centre_scores_grad`: the gradient of centred scores. Twin: `reference/centre_scores_grad.rs`.

use super::centre_scores::CentreScores;
use crate::device::Limits;
use crate::device::recording::Recorder;
use crate::graph::{Bindings, Class, HostIo, Op, Result, TensorType};
use crate::reference::{Scalar, centre_scores_grad};
use crate::{kernel, twin};

/// dr, x [c,a,n], mean [c], gain [1] -> dx [c,a,n], dgain [1].
#[derive(Clone, Copy, Debug)]
pub struct CentreScoresGrad {
    /// The forward op.
    pub scores: CentreScores,
}

impl CentreScoresGrad {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let f = self.scores.shape(io.input_types[0].dims());
        let x = [io.input(0), io.input(1), io.input(2)];
        let gain = io.input(3)[0];
        let [dx, dgain] = io.outputs_n();
        dgain[0] = centre_scores_grad::centre_scores_grad(&f, gain, x, dx);
    }
}

impl Op for CentreScoresGrad {
    fn name(&self) -> &'static str {
        "centre_scores_grad"
    }
    fn class(&self) -> Class {
        Class::Loss
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let [c, _, _] = inputs[0].rank("dr")?;
        if inputs.len() != 4 || inputs[0] != inputs[1] || inputs[2].dims() != [c] {
            return Err("needs dr and x of one shape, mean [c] and gain [1]".into());
        }
        Ok(vec![inputs[0].clone(), TensorType::f32([1])])
    }
    fn workspace(&self, inputs: &[&TensorType], _limits: &Limits) -> Vec<TensorType> {
        let d = inputs[0].dims();
        vec![TensorType::f32([d[0] * d[1], 2]), TensorType::f32([d[0]])]
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let [dr, x, mean, gain] = [0, 1, 2, 3].map(|i| &io.inputs[i]);
        let (part, sum) = (&io.workspace[0], &io.workspace[1]);
        let (dx, dgain) = (&io.outputs[0], &io.outputs[1]);
        let d = x.dims();
        let p = self.scores.params(d);
        let rows = kernel!("centre_scores_grad", "rows").flag("ROWS", true);
        rec.dispatch(&rows, &p, &[dr, x, mean, part], d[0] * d[1])?;
        let heads = kernel!("centre_scores_grad", "heads").flag("HEADS", true);
        rec.dispatch(&heads, &p, &[part, sum, dgain], 1)?;
        let apply = kernel!("centre_scores_grad", "apply").flag("APPLY", true);
        Ok(rec.dispatch(&apply, &p, &[dr, sum, gain, dx], x.elements().div_ceil(64))?)
    }
    twin!();
}
