//! `global_avg_pool`: the mean over all pixels. Twin: `reference/global_avg_pool.rs`.

use super::channels::{Params, Sums};
use crate::device::recording::{Recorder, row_chunks};
use crate::graph::onnx::{Attribute, Axes, OnnxForm, Operand};
use crate::graph::{Bindings, Class, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::{Scalar, global_avg_pool};
use crate::{kernel, twin};

/// x [n,h,w,c] (f32 or f16) -> y [n,c], f32.
#[derive(Clone, Copy, Debug)]
pub struct GlobalAvgPool;

impl Op for GlobalAvgPool {
    fn name(&self) -> &'static str {
        "global_avg_pool"
    }
    fn class(&self) -> Class {
        Class::Pooling
    }
    fn takes_f16(&self) -> bool {
        true
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let [n, _, _, c] = inputs[0].rank("x")?;
        Ok(vec![TensorType::f32([n, c])])
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
        let input = g.ty(g.node(node).inputs[0]).clone();
        Ok(vec![Some(g.push1(
            super::global_avg_pool_grad::GlobalAvgPoolGrad { input },
            &[dy],
        )?)])
    }
    fn onnx(&self, _inputs: &[&TensorType]) -> Option<OnnxForm> {
        let mut form = OnnxForm::new(Axes::Graph);
        let x = Operand::Input(0, Axes::ChannelsFirst);
        let mean = form.push("GlobalAveragePool", vec![x]);
        form.push_with("Flatten", vec![mean], vec![("axis", Attribute::Int(1))]);
        Some(form)
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let (x, y) = (&io.inputs[0], &io.outputs[0]);
        for r in row_chunks(&[x, y], rec.limits()) {
            let (x, y) = (x.rows(r.clone()), y.rows(r));
            let (n, s, c) = (x.dims()[0], x.dims()[1] * x.dims()[2], x.dims()[3]);
            let p = Params {
                inv_m: (1.0 / s as f64) as f32,
                ..Params::default()
            };
            let k = kernel!("global_avg_pool", "main").flag("HALF", x.is_half());
            // An image a run.
            Sums::by_rows(s, c).record(rec, k, (n * s, 0), &[&x, &y], p)?;
        }
        Ok(())
    }
    twin!();
}

impl GlobalAvgPool {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let x = io.input(0);
        let d = io.input_types[0].dims();
        global_avg_pool::global_avg_pool(d[1] * d[2], d[3], x, io.output(0));
    }
}
