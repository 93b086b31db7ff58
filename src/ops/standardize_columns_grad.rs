//! `standardize_columns_grad`: the gradient of standardised columns, from their result. Twin:
//! `reference/standardize_columns_grad.rs`.

use super::standardize_columns::{Deviation, groups, params};
use crate::device::recording::Recorder;
use crate::graph::{Bindings, Class, HostIo, Op, Result, TensorType};
use crate::reference::{Scalar, standardize_columns_grad};
use crate::{kernel, twin};

/// dy, y [c,n,d], inv [c,d] -> dx [c,n,d].
#[derive(Clone, Copy, Debug)]
pub struct StandardizeColumnsGrad {
    /// The forward pass's.
    pub deviation: Deviation,
}

impl Op for StandardizeColumnsGrad {
    fn name(&self) -> &'static str {
        "standardize_columns_grad"
    }
    fn class(&self) -> Class {
        Class::Normalisation
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let [c, _, d] = inputs[0].rank("dy")?;
        if inputs.len() != 3 || inputs[0] != inputs[1] || inputs[2].dims() != [c, d] {
            return Err("needs dy, y [c,n,d] and inv [c,d]".into());
        }
        Ok(vec![inputs[0].clone()])
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let (dy, dx) = (&io.inputs[0], &io.outputs[0]);
        let views = [dy, &io.inputs[1], &io.inputs[2], dx];
        let kernel = kernel!("standardize_columns_grad", "main");
        Ok(rec.dispatch(&kernel, &params(dy, self.deviation), &views, groups(dy))?)
    }
    twin!();
}

impl StandardizeColumnsGrad {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let t = io.input_types[0].dims();
        let (n, d) = (t[1], t[2]);
        let x = [io.input(0), io.input(1), io.input(2)];
        let divisor = T::of(self.deviation.divisor(n));
        standardize_columns_grad::standardize_columns_grad((n, d), divisor, x, io.output(0));
    }
}
