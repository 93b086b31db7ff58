//! `first_rows`: the first entries of the leading dimension (head 0 of all heads). Twin: `reference/first_rows.rs`.

use super::elementwise;
use crate::device::recording::Recorder;
use crate::graph::{
    Bindings, Class, Graph, HostIo, NodeId, Op, Result, Shape, TensorId, TensorType,
};
use crate::reference::{Scalar, first_rows};
use crate::{kernel, twin};

/// x [n,..] -> y [rows,..].
#[derive(Clone, Copy, Debug)]
pub struct FirstRows {
    /// How many.
    pub rows: usize,
}

impl Op for FirstRows {
    fn name(&self) -> &'static str {
        "first_rows"
    }
    fn class(&self) -> Class {
        Class::Layout
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let mut d = inputs[0].dims().to_vec();
        match d.first_mut() {
            Some(n) if self.rows >= 1 && *n >= self.rows => *n = self.rows,
            _ => return Err(format!("needs at least {} rows", self.rows)),
        }
        Ok(vec![TensorType::f32(Shape::from(d.as_slice()))])
    }
    fn gradient(
        &self,
        g: &mut Graph,
        node: NodeId,
        dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let Some(dy) = dy[0] else {
            return Ok(vec![None]);
        };
        let input = g.ty(g.node(node).inputs[0]).shape.clone();
        Ok(vec![Some(g.push1(
            super::first_rows_grad::FirstRowsGrad { input },
            &[dy],
        )?)])
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let y = &io.outputs[0];
        let x = io.inputs[0].flat(0..y.elements());
        Ok(elementwise::record(
            rec,
            kernel!("first_rows", "main"),
            &[&x, y],
            0.0,
            0.0,
        )?)
    }
    twin!();
}

impl FirstRows {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let x = io.input(0);
        first_rows::first_rows(x, io.output(0));
    }
}
