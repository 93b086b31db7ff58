//! `moments_of_ranks`: mean and variance over the rows of all ranks, from those of each. It has no kernel: numbers go
//! through the host.

use super::elementwise;
use crate::comm::World;
use crate::device::recording::Recorder;
use crate::graph::{Bindings, Class, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::Scalar;
use crate::twin;

/// Mean [c] and biased variance [c] of this rank's rows -> those of all ranks' rows, on every rank the same bits:
/// (n, mean, M2) are merged by Chan's formula, by rank from 0. Ranks may have different numbers of rows.
///
/// No gradient comes back through it: that of the norm which takes the statistics accounts for them
/// ([`super::batch_norm_of_ranks::BatchNormOfRanks`]).
#[derive(Clone, Debug)]
pub struct MomentsOfRanks {
    /// This rank among the others.
    pub world: World,
    /// Values per channel that this rank's statistics are of.
    pub count: usize,
}

impl Op for MomentsOfRanks {
    fn name(&self) -> &'static str {
        "moments_of_ranks"
    }
    fn class(&self) -> Class {
        Class::Exchange
    }
    fn on_host(&self) -> bool {
        true
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        match inputs {
            [mean, _] => elementwise::same(inputs).map(|_| vec![(*mean).clone(); 2]),
            _ => Err("needs mean and variance".into()),
        }
    }
    fn gradient(
        &self,
        _g: &mut Graph,
        _node: NodeId,
        _dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        Ok(vec![None; 2])
    }
    fn record(&self, _rec: &mut Recorder<'_>, _io: &Bindings) -> Result<()> {
        super::hosts_alone(self.name())
    }
    twin!();
}

impl MomentsOfRanks {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let (mean, var) = (io.input(0), io.input(1));
        let count = [T::of(self.count as f64)];
        let all = self
            .world
            .all_gather("moments", &[&count[..], mean, var].concat());
        let c = mean.len();
        let merged = all.map(|all| {
            let mut ranks = all.chunks_exact(1 + 2 * c);
            let mut of_all = ranks.next().unwrap_or_default().to_vec();
            ranks.for_each(|rank| merge(&mut of_all, rank));
            of_all.split_off(1)
        });
        let [mean, var] = io.outputs_n();
        super::exchanged_parts(merged, &mut [mean, var]);
    }
}

/// Adds the rows of `b` to those of `a`, each a count, means and biased variances: Chan, Golub, LeVeque, "Updating
/// Formulae and a Pairwise Algorithm for Computing Sample Variances", 1979. Variances are kept in place of M2 = n var.
fn merge<T: Scalar>(a: &mut [T], b: &[T]) {
    let c = a.len() / 2;
    let n = a[0] + b[0];
    let (own, other) = (a[0] / n, b[0] / n);
    a[0] = n;
    for i in 1..=c {
        let d = b[i] - a[i];
        a[i] += d * other;
        a[c + i] = a[c + i] * own + b[c + i] * other + d * d * own * other;
    }
}

#[cfg(test)]
mod tests {
    use super::merge;

    /// Unequal numbers of rows, far from zero: against the definition over all rows.
    #[test]
    fn merged_moments_are_those_of_all_rows() {
        let x: Vec<f64> = (0..23).map(|i| 1e3 + f64::from(i * i % 17) * 0.3).collect();
        let moments = |x: &[f64]| {
            let n = x.len() as f64;
            let mean = x.iter().sum::<f64>() / n;
            let var = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
            vec![n, mean, var]
        };
        let mut merged = moments(&x[..5]);
        merge(&mut merged, &moments(&x[5..7]));
        merge(&mut merged, &moments(&x[7..]));
        for (got, want) in merged.iter().zip(moments(&x)) {
            assert!((got - want).abs() < 1e-12 * want, "{got} {want}");
        }
        // The spread between parts counts: the mean of the variances is another number.
        let parts = [&x[..5], &x[5..7], &x[7..]].map(|p| moments(p)[2] * p.len() as f64);
        assert!((parts.iter().sum::<f64>() / 23.0 - merged[2]).abs() > 1e-3);
    }
}
