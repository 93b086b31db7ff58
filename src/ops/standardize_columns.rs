//! `standardize_columns`: columns of zero mean and unit deviation (Barlow Twins). Twin:
//! `reference/standardize_columns.rs`.

use super::standardize_columns_grad::StandardizeColumnsGrad;
use crate::device::recording::{Recorder, View};
use crate::graph::{Bindings, Class, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::{Scalar, standardize_columns};
use crate::{kernel, twin};
use serde::{Deserialize, Serialize};

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct Params {
    total: u32,
    n: u32,
    d: u32,
    divisor: f32,
    eps: f32,
    r: [u32; 3],
}

/// Parameters of a kernel with a thread a column of [c,n,d].
pub(super) fn params(x: &View, deviation: Deviation) -> Params {
    let d = x.dims();
    Params {
        total: (d[0] * d[2]) as u32,
        n: d[1] as u32,
        d: d[2] as u32,
        divisor: deviation.divisor(d[1]) as f32,
        eps: deviation.eps() as f32,
        r: [0; 3],
    }
}

/// What a column is divided by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deviation {
    /// The root of its biased variance plus 1e-5, as batch norm has it: Barlow Twins of its authors, of lightly and of
    /// solo-learn. A constant column becomes zero.
    #[default]
    BatchNorm,
    /// Its unbiased deviation (over n - 1) without an epsilon: MIFA-Lab's contrastive2021, from which AMCL starts. A
    /// constant column has no number.
    Unbiased,
}

impl Deviation {
    /// What the sum of n squares is divided by.
    pub fn divisor(self, n: usize) -> f64 {
        match self {
            Self::BatchNorm => n as f64,
            Self::Unbiased => n as f64 - 1.0,
        }
    }
    /// What is added to the variance.
    pub fn eps(self) -> f64 {
        match self {
            Self::BatchNorm => 1e-5,
            Self::Unbiased => 0.0,
        }
    }
}

/// Groups of such a kernel.
pub(super) fn groups(x: &View) -> usize {
    (x.dims()[0] * x.dims()[2]).div_ceil(64)
}

/// x [c,n,d] -> y alike and inv [c,d] = 1/std; the deviation down each column of n.
#[derive(Clone, Copy, Debug, Default)]
pub struct StandardizeColumns {
    /// Which.
    pub deviation: Deviation,
}

impl Op for StandardizeColumns {
    fn name(&self) -> &'static str {
        "standardize_columns"
    }
    fn class(&self) -> Class {
        Class::Normalisation
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let [c, n, d] = inputs[0].rank("x")?;
        if n < 2 {
            return Err("a deviation needs at least two rows".into());
        }
        Ok(vec![inputs[0].clone(), TensorType::f32([c, d])])
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
        let deviation = self.deviation;
        let (y, inv) = (g.node(node).outputs[0], g.node(node).outputs[1]);
        let dx = g.push1(StandardizeColumnsGrad { deviation }, &[dy, y, inv])?;
        Ok(vec![Some(dx)])
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let (x, y, inv) = (&io.inputs[0], &io.outputs[0], &io.outputs[1]);
        let kernel = kernel!("standardize_columns", "main");
        let p = params(x, self.deviation);
        Ok(rec.dispatch(&kernel, &p, &[x, y, inv], groups(x))?)
    }
    twin!();
}

impl StandardizeColumns {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let t = io.input_types[0].dims();
        let (n, d) = (t[1], t[2]);
        let x = io.input(0);
        let [y, inv] = io.outputs_n();
        let form = (
            T::of(self.deviation.divisor(n)),
            T::of(self.deviation.eps()),
        );
        standardize_columns::standardize_columns((n, d), form, x, y, inv);
    }
}
