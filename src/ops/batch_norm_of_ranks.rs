//! `batch_norm_of_ranks`: batch normalisation by statistics of all ranks' rows, with fused ReLU and residual. It runs
//! the last entry point of `batch_norm`'s kernel, and has its twin.

use super::batch_norm::BatchNormInference;
use super::batch_norm_grad::{BatchNormGrad, BatchNormGradApply, BatchNormGradSums};
use super::sum_of_ranks::SumOfRanks;
use crate::comm::World;
use crate::device::recording::Recorder;
use crate::graph::{
    Bindings, Class, Graph, HostIo, Node, NodeId, Op, Result, TensorId, TensorType,
};
use std::sync::Arc;

/// x [..,c] (f32 or f16), gamma, beta [c], mean, biased variance [c] of all ranks' rows, as
/// [`super::moments_of_ranks::MomentsOfRanks`] makes them of x (, residual) -> y.
///
/// Its gradient is that of batch norm over all these rows: the sums of dgamma and dbeta over the ranks take the places
/// of a rank's own, so x's gradient accounts for what x does to every rank through the statistics, which have none of
/// their own. A rank's dgamma and dbeta are its own rows', as all its gradients of parameters.
#[derive(Clone, Debug)]
pub struct BatchNormOfRanks {
    /// This rank among the others.
    pub world: World,
    /// Values per channel of all ranks.
    pub count: usize,
    /// Scale, ReLU and residual.
    pub norm: BatchNormInference,
}

impl Op for BatchNormOfRanks {
    fn name(&self) -> &'static str {
        "batch_norm_of_ranks"
    }
    fn class(&self) -> Class {
        Class::Normalisation
    }
    fn takes_f16(&self) -> bool {
        true
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        self.norm.infer(inputs)
    }
    fn gradient(
        &self,
        g: &mut Graph,
        node: NodeId,
        dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let n = g.node(node);
        let ([x, gamma, beta, mean, var], y) = ([0, 1, 2, 3, 4].map(|i| n.inputs[i]), n.outputs[0]);
        let Some(dy) = dy[0] else {
            return Ok(vec![None; n.inputs.len()]);
        };
        let BatchNormInference {
            eps,
            relu,
            residual,
        } = self.norm;
        let of_own = BatchNormGradSums(BatchNormGrad {
            eps,
            relu,
            residual,
        });
        let mut of = vec![dy, x, gamma, mean, var];
        if relu {
            of.push(if residual { y } else { beta });
        }
        let own = g.push(of_own, &of)?;
        let world = self.world.clone();
        let of_all = g.push(SumOfRanks { world }, &own[..2])?;
        // Behind a ReLU with a residual the sums have applied the mask already.
        let behind = own.get(2).copied().unwrap_or(dy);
        let mut of = vec![behind, x, gamma, mean, var, of_all[0], of_all[1]];
        let by_beta = relu && !residual;
        of.extend(by_beta.then_some(beta));
        let apply = BatchNormGradApply {
            eps,
            relu: by_beta,
            count: self.count,
        };
        let dx = g.push1(apply, &of)?;
        let mut out = vec![Some(dx), Some(own[0]), Some(own[1]), None, None];
        out.extend(residual.then_some(Some(behind)));
        Ok(out)
    }
    /// As [`BatchNorm`](super::batch_norm::BatchNorm)'s result is.
    fn rematerialise(&self, node: &Node) -> Option<(Arc<dyn Op>, Vec<TensorId>)> {
        let again = self.norm.relu && !self.norm.residual;
        again.then(|| (Arc::new(self.norm) as Arc<dyn Op>, node.inputs.clone()))
    }
    fn record(&self, rec: &mut Recorder<'_>, io: &Bindings) -> Result<()> {
        self.norm.record(rec, io)
    }
    fn reference_f32(&self, io: &mut HostIo<'_, f32>) {
        self.norm.twin(io);
    }
    fn reference_f64(&self, io: &mut HostIo<'_, f64>) {
        self.norm.twin(io);
    }
}
