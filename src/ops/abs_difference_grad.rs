//! `abs_difference_grad`: the gradient through a distance, by its sign. Twin: `reference/abs_difference_grad.rs`.

use super::elementwise::elementwise;
use crate::graph::{HostIo, Op};
use crate::reference::{Scalar, abs_difference_grad};

/// Inputs dy, a and b; da = dy sign(a - b), 0 where they are equal. A NaN among a or b gives 0: the loss, which has
/// the distance, is one then.
#[derive(Clone, Copy, Debug)]
pub struct AbsDifferenceGrad;

impl Op for AbsDifferenceGrad {
    elementwise!("abs_difference_grad");
}

impl AbsDifferenceGrad {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let (dy, a, b) = (io.input(0), io.input(1), io.input(2));
        abs_difference_grad::abs_difference_grad(dy, a, b, io.output(0));
    }
}
