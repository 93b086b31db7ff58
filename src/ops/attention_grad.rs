//! `attention_grad`: the gradient of attention, from the rows' log-sum-exps. Twin: `reference/attention_grad.rs`.

use super::attention::Attention;
use crate::device::Limits;
use crate::device::recording::{Kernel, Recorder, row_chunks};
use crate::graph::{Bindings, Class, Cost, DType, HostIo, Op, Result, TensorType};
use crate::reference::Scalar;
use crate::reference::attention_grad::Kept;
use crate::{kernel, twin};

/// qkv [b,n,3d], o [b,n,d], lse [b,heads,n] of the forward pass, do [b,n,d] -> dqkv [b,n,3d], f32.
#[derive(Clone, Copy, Debug)]
pub struct AttentionGrad {
    /// The forward op.
    pub forward: Attention,
}

impl Op for AttentionGrad {
    fn name(&self) -> &'static str {
        "attention_grad"
    }
    fn class(&self) -> Class {
        Class::FusedProduct
    }
    fn takes_f16(&self) -> bool {
        true
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let [qkv, o, lse, dout] = inputs else {
            return Err("needs qkv, o, lse and do".into());
        };
        let want = self.forward.infer(&[qkv])?;
        let f32s = dout.dtype == DType::F32;
        if [(*o).clone(), (*lse).clone()] != want[..] || dout.shape != o.shape || !f32s {
            return Err("o and lse must be those of qkv, do f32 and of the shape of o".into());
        }
        Ok(vec![TensorType::f32(qkv.shape.clone())])
    }
    fn workspace(&self, inputs: &[&TensorType], _limits: &Limits) -> Vec<TensorType> {
        vec![inputs[2].clone()]
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        let [qkv, o, lse, dout] = [0, 1, 2, 3].map(|i| &io.inputs[i]);
        let all = [qkv, o, lse, dout, &io.outputs[0], &io.workspace[0]];
        let width = o.dims()[2] / self.forward.heads;
        for r in row_chunks(&all, rec.limits()) {
            let [qkv, o, lse, dout, dqkv, inner] = all.map(|v| v.rows(r.clone()));
            let wide = width.is_multiple_of(4);
            let products = kernel!("attention_grad", "products")
                .flag("INNER", true)
                .flag("VEC4", wide)
                .flag("HALF", o.is_half());
            let p = self.forward.params(o.dims()[1], width).by_queries(r.len());
            let groups = lse.elements().div_ceil(64);
            rec.dispatch(&products, &p, &[&dout, &o, &inner], groups)?;
            let bound = [&qkv, &dout, &lse, &inner, &dqkv];
            let second = |k: Kernel| k.flag("SECOND_TENSOR", true);
            let queries = [
                kernel!("attention_grad", "queries"),
                second(kernel!("attention_grad", "queries_lanes")),
            ];
            self.forward.dispatch(rec, queries, width, &bound)?;
            let keys = [
                kernel!("attention_grad", "keys").flag("KEYS", true),
                second(kernel!("attention_grad", "keys_lanes")).flag("KEYS", true),
            ];
            self.forward.dispatch(rec, keys, width, &bound)?;
        }
        Ok(())
    }
    twin!();
    /// Five products count, those of the definition: what the kernels make twice is no work of the model's.
    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        let all: Vec<&TensorType> = inputs.iter().chain(outputs).copied().collect();
        self.forward.cost(&all, 5)
    }
}

impl AttentionGrad {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let kept = Kept {
            qkv: io.input(0),
            o: io.input(1),
            lse: io.input(2),
            dout: io.input(3),
        };
        let heads = self.forward.heads::<T>(&io.input_types[0]);
        heads.attention_grad(&kept, io.output(0));
    }
}
