//! A loss and its gradient by either [`Path`]: what the default's switch between them costs or saves.

use super::{Ceilings, Effort, Row, Subject, row, times};
use crate::graph::{Cost, Executor, Graph, GraphError, Result, TensorId, TensorType};
use crate::methods::loss::barlow_twins::{Redundancy, amcl_barlow_twins};
use crate::methods::loss::contrastive::amcl;
use crate::methods::loss::{Amcl, Path, Scorer};
use crate::ops::gemm::Gemm;
use crate::ops::standardize_columns::Deviation;
use crate::ops::swap_axes::SwapAxes;

/// Which loss, both with AMCL and a phi of one layer without bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// SimCLR's of z [c,2B,d']; pairs of views.
    Contrastive,
    /// Barlow Twins' of z1, z2 [c,B,d']; pairs of channels.
    BarlowTwins,
}

/// One loss of one shape by one path.
#[derive(Clone, Copy, Debug)]
pub struct LossSubject {
    kind: Kind,
    dims: [usize; 3],
    path: Path,
}

impl LossSubject {
    /// `loss+gradient simclr+amcl 3x2048x128 stream`.
    pub fn name(&self) -> String {
        let kind = match self.kind {
            Kind::Contrastive => "simclr+amcl",
            Kind::BarlowTwins => "barlow_twins+amcl",
        };
        let ([c, n, d], path) = (self.dims, self.path);
        format!("loss+gradient {kind} {c}x{n}x{d} {path:?}").to_lowercase()
    }

    /// The graph, its inputs, and what is fetched: the loss and its gradients.
    ///
    /// # Errors
    /// Shapes.
    pub fn graph(&self) -> Result<(Graph, Vec<TensorId>, Vec<TensorId>)> {
        let (mut g, [_, n, d]) = (Graph::new(), self.dims);
        let views = match self.kind {
            Kind::Contrastive => vec!["z"],
            Kind::BarlowTwins => vec!["z1", "z2"],
        };
        let mut inputs: Vec<TensorId> = views
            .into_iter()
            .map(|name| g.input(name, TensorType::f32(self.dims)))
            .collect();
        // Phi sees a view's features, or a channel's values over the batch.
        let width = match self.kind {
            Kind::Contrastive => d,
            Kind::BarlowTwins => n,
        };
        let w = g.input("w", TensorType::f32([width, width]));
        let a = Amcl::default();
        let loss = match inputs[..] {
            [z1, z2] => {
                let mut phi = |g: &mut Graph, z: TensorId| {
                    let axes = [g.dims(z)[0], n, d, 1];
                    let out = [axes[0], d, n].into();
                    let channels = g.push1(SwapAxes { axes, out }, &[z])?;
                    g.push1(Gemm::default(), &[channels, w])
                };
                let scorer = Scorer {
                    phi: &mut phi,
                    gain: None,
                };
                let of = Redundancy {
                    lambda: 0.005,
                    constant: [1.0, 1.0],
                    standardize: Deviation::BatchNorm,
                    path: self.path,
                };
                amcl_barlow_twins(&mut g, z1, z2, &of, &a, scorer)?.loss
            }
            _ => {
                let mut phi = |g: &mut Graph, z: TensorId| g.push1(Gemm::default(), &[z, w]);
                let scorer = Scorer {
                    phi: &mut phi,
                    gain: None,
                };
                amcl(&mut g, inputs[0], &a, scorer, self.path)?.loss
            }
        };
        inputs.push(w);
        let grads = crate::ops::backward(&mut g, loss, &inputs)?;
        let results = std::iter::once(loss).chain(grads.into_iter().flatten());
        Ok((g, inputs, results.collect()))
    }

    /// Times the loss and its gradient. Operations are those of matrices, the fewest: products over all pairs of
    /// views and of features, forward and to either side, so that rates of the two paths compare as times do; bytes
    /// those of the views and their gradients.
    ///
    /// # Errors
    /// Shapes, memory, device.
    pub fn measure(
        &self,
        mut exec: Box<dyn Executor>,
        effort: Effort,
        ceilings: Ceilings,
    ) -> std::result::Result<Row, GraphError> {
        let (g, inputs, results) = self.graph()?;
        let program = exec.compile(&g, &results)?;
        for (i, t) in inputs.iter().enumerate() {
            let data = Subject::uniform(g.ty(*t).clone()).make(i as u64);
            exec.upload(program, *t, &data)?;
        }
        let [c, n, d] = self.dims.map(|n| n as f64);
        let (pairs, depth) = match self.kind {
            Kind::Contrastive => (c * n * n, d),
            Kind::BarlowTwins => (c * d * d, n),
        };
        let cost = Cost {
            flops: 2.0 * 3.0 * 2.0 * pairs * depth,
            bytes: 2.0 * 4.0 * (inputs.len() - 1) as f64 * c * n * d,
        };
        let sorted = times(exec.as_mut(), program, effort)?;
        Ok(row(self.name(), false, &sorted, cost, ceilings))
    }
}

/// Sizes on both sides of the switch (2B or d' = 3,344 with three heads), each by matrices and streamed; `large` for
/// hardware GPUs.
pub fn subjects(large: bool) -> Vec<LossSubject> {
    let views: &[usize] = match large {
        true => &[1024, 2048, 4096, 8192],
        false => &[256, 512, 1024],
    };
    let channels: &[usize] = match large {
        true => &[2048, 4096],
        false => &[512, 1024],
    };
    let contrastive = views.iter().map(|n| (Kind::Contrastive, [3, *n, 128]));
    let barlow = channels.iter().map(|d| (Kind::BarlowTwins, [3, 256, *d]));
    let both =
        |(kind, dims)| [Path::Matrix, Path::Stream].map(|path| LossSubject { kind, dims, path });
    contrastive.chain(barlow).flat_map(both).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::host::HostExecutor;

    /// Names say the path, and both paths give one loss.
    #[test]
    fn both_paths_measure_the_same_loss() {
        let small = |kind, path| LossSubject {
            kind,
            dims: [2, 16, 24],
            path,
        };
        for kind in [Kind::Contrastive, Kind::BarlowTwins] {
            let loss = [Path::Matrix, Path::Stream].map(|path| {
                let (g, inputs, results) = small(kind, path).graph().unwrap();
                let mut exec = HostExecutor::<f64>::new();
                let p = exec.compile(&g, &results).unwrap();
                for (i, t) in inputs.iter().enumerate() {
                    let data = Subject::uniform(g.ty(*t).clone()).make(i as u64);
                    exec.upload(p, *t, &data).unwrap();
                }
                exec.run(p, &crate::graph::StepScalars::default()).unwrap();
                exec.fetch(p, results[0]).unwrap().to_f64()[0]
            });
            assert!((loss[0] - loss[1]).abs() < 1e-9 * loss[0].abs(), "{loss:?}");
        }
        let all = subjects(true);
        assert!(all[0].name().ends_with("3x1024x128 matrix"));
        assert!(all[1].name().ends_with("3x1024x128 stream"));
    }
}
