//! Similarities of positive and of negative pairs of test images, by the backbone and by each head: the AMCL
//! paper's Figs. 1 and 3.

mod temperatures;

use super::{DownstreamError, Result};
use crate::config::method::method;
use crate::data::augment::Policy;
use crate::data::{Dataset, packed};
use crate::eval::knn::cosines;
use crate::eval::spread;
use crate::graph::{Executor, Graph, HostData, StepScalars, TensorId, TensorType};
use crate::methods::loss::{Adaptive, Amcl};
use crate::methods::{Diagnostics, Spec};
use crate::nn::heads::Phi;
use crate::nn::import::import;
use crate::nn::{Mode, Model, Net, Part};
use crate::ops::augment::words;
use crate::reference::augment::ROW;
use crate::reference::philox::{Purpose, Stream};
use crate::run::weights::Trained;
use serde::Serialize;
use temperatures::PairTemperatures;

/// Where the first bin begins. As in Fig. 3, bins are 0.06 wide and have an edge at -0.2. They go beyond the
/// figure on both sides, over all cosines and over scaled scores up to 2.02, because tails that share an
/// outermost bin would count as overlap. Scores outside even of these count in the first or last bin.
pub const FIRST: f32 = -1.04;
/// Width of a bin.
pub const WIDTH: f32 = 0.06;
/// Number of bins.
pub const BINS: usize = 51;

/// Scores of positive and of negative pairs.
#[derive(Clone, Debug, Serialize)]
pub struct Scores {
    /// Which score: `backbone`, `head 1`, `head 1, temperature-scaled`, ..., `heads, mean`,
    /// `heads, temperature-scaled mean`; for SimSiam's predictors likewise.
    pub of: String,
    /// Mean over positive pairs.
    pub positive: f64,
    /// Mean over negative pairs.
    pub negative: f64,
    /// Overlap of the two histograms, percent of the pairs.
    pub overlap: f64,
    /// Counts of positive pairs in bins of 0.06 from -1.04.
    pub positive_bins: Vec<usize>,
    /// Counts of negative pairs.
    pub negative_bins: Vec<usize>,
    /// Pairs of either kind that lie below the first bin or above the last. They count in these bins.
    pub outside: usize,
}

impl Scores {
    /// Bins the scores of positive pairs and of as many negative ones.
    pub fn new(of: impl Into<String>, [pos, neg]: [&[f32]; 2]) -> Self {
        // A score at an edge, or above it by rounding, belongs to the bin below. So cosines of equal views
        // count below 1.
        let bin = |x: &f32| ((x - FIRST) / WIDTH - 1e-3).floor();
        let bins = |v: &[f32]| {
            let mut out = vec![0; BINS];
            for x in v {
                out[(bin(x).max(0.0) as usize).min(BINS - 1)] += 1;
            }
            out
        };
        let outside = |x: &&f32| !(0.0..BINS as f32).contains(&bin(x));
        let mean = |v: &[f32]| v.iter().map(|x| f64::from(*x)).sum::<f64>() / v.len().max(1) as f64;
        let (a, b) = (bins(pos), bins(neg));
        let common: usize = a.iter().zip(&b).map(|(a, b)| a.min(b)).sum();
        Self {
            of: of.into(),
            positive: mean(pos),
            negative: mean(neg),
            overlap: 100.0 * common as f64 / pos.len().max(1) as f64,
            positive_bins: a,
            negative_bins: b,
            outside: pos.iter().chain(neg).filter(outside).count(),
        }
    }
}

/// What [`similarity`] found.
#[derive(Clone, Debug, Serialize)]
pub struct Similarity {
    /// Scores to the backbone, to each head, and to the heads merged.
    pub scores: Vec<Scores>,
    /// Pairs of each kind: as many as were asked for, at most as many as there are test images.
    pub pairs: usize,
    /// How heads are merged into one score, in words.
    pub merged: String,
    /// What the temperature-scaled scores are, in words, or why there are none.
    pub scaled: String,
    /// Why the backbone's features say nothing, if that is so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub doubt: Option<String>,
}

/// Rows (anchor, other) of positive and of negative pairs.
struct Pairs([Vec<(usize, usize)>; 2]);

/// Values of positive and of negative pairs.
type Values = [Vec<f32>; 2];

impl Pairs {
    /// Row i of `n` is the first view of image i, row n + i the second.
    fn draw(n: usize, stream: &mut Stream) -> Self {
        let negative = (0..n).map(|i| (i, n + (i + 1 + stream.below(n - 1)) % n));
        Self([(0..n).map(|i| (i, n + i)).collect(), negative.collect()])
    }

    /// `of` each pair's rows of x and of y, both [rows,d].
    fn values(&self, x: &[f32], y: &[f32], d: usize, of: impl Fn(&[f32], &[f32]) -> f32) -> Values {
        let of = |(i, j): &(usize, usize)| of(&x[i * d..(i + 1) * d], &y[j * d..(j + 1) * d]);
        [0, 1].map(|k| self.0[k].iter().map(of).collect())
    }

    fn cosines(&self, x: &[f32], y: &[f32], d: usize) -> Values {
        self.values(x, y, d, |x, y| cosines(x, y, d)[0])
    }
}

fn dot(x: &[f32], y: &[f32]) -> f32 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

/// Mean over heads.
fn mean(of: &[Values]) -> Values {
    [0, 1].map(|k| {
        let n = of.first().map_or(0, |v| v[k].len());
        let sum = |i: usize| of.iter().map(|v| v[k][i]).sum::<f32>();
        (0..n).map(|i| sum(i) / of.len() as f32).collect()
    })
}

/// Appends embeddings z [c,n,d'] -> the anchors that the loss compares with z, [heads,n,d'], and phi of both
/// where pairs have temperatures (`amcl`).
fn compared(
    of: &dyn Diagnostics,
    amcl: Option<Amcl>,
    net: &mut Net<'_>,
    z: TensorId,
) -> crate::graph::Result<(TensorId, Option<[TensorId; 2]>)> {
    let &[own, n, d] = net.dims(z) else {
        return Ok((z, None));
    };
    let mut anchors = z;
    if let Some(predictor) = of.predictor() {
        let layers = predictor.layers(net, Part::Predictor, d);
        let input = match own {
            // All predictors share one target, which has no dimension of heads.
            1 => net.reshape(z, [n, d])?,
            _ => z,
        };
        anchors = layers.call(net, input)?;
    }
    let Some(a) = amcl else {
        return Ok((anchors, None));
    };
    let phi = Phi::new(net, d, a.phi_hidden, false).values(net);
    let mut of_rows = |x: TensorId| {
        let unit = net.l2_normalize(x)?;
        phi.call(net, unit)
    };
    let of_z = of_rows(z)?;
    let of_anchors = if anchors == z {
        of_z
    } else {
        of_rows(anchors)?
    };
    Ok((anchors, Some([of_anchors, of_z])))
}

/// What a run's network makes of two views of n images: rows 0..n are the first view.
struct Looked {
    /// Backbone features [2n,d].
    features: Vec<f32>,
    d: usize,
    /// Projections [heads,2n,d'].
    projections: Vec<f32>,
    out: usize,
    /// Predictions [heads,2n,d'], where the loss compares these with projections.
    predictions: Option<Vec<f32>>,
    /// phi of what the loss compares, where pairs have temperatures of their own.
    phi: Option<[Vec<f32>; 2]>,
}

impl Looked {
    /// Runs the network of evaluation on the images `ids`, under the augmentation `policy` as `seed` draws it.
    fn new(
        run: &Trained,
        (data, ids): (&Dataset, &[u32]),
        (policy, seed): (&Policy, u64),
        of: &dyn Diagnostics,
        exec: &mut dyn Executor,
    ) -> Result<Self> {
        let (n, size) = (ids.len(), run.config.model.image_size);
        let side = (data.height, data.width);
        let (mut g, mut model) = (Graph::new(), Model::default());
        let images = g.input("images", TensorType::u32([n, words(side.0, side.1)]));
        let table = g.input("views", TensorType::f32([2 * n, ROW]));
        let x = g.push1(policy.op(side, size), &[images, table])?;
        let encoder = run.config.backbone()?;
        let mut net = Net::new(&mut g, &mut model, Mode::Eval);
        let f = encoder.layers(&mut net).call(&mut net, x)?.pooled;
        let heads = of
            .projector()
            .layers(&mut net, Part::Projector, encoder.width());
        let z = heads.call(&mut net, f)?;
        let amcl = of.temperatures().ok().map(|t| t.0);
        let (anchors, phi) = compared(of, amcl, &mut net, z)?;
        let (d, out) = (g.dims(f)[1], g.dims(z)[2]);

        exec.allocate_states(&model.states)?;
        let mut fetch = vec![f, z, anchors];
        fetch.extend(phi.into_iter().flatten());
        fetch.sort_unstable();
        fetch.dedup();
        let program = exec.compile(&g, &fetch)?;
        let missing = import(&model, exec, &run.weights)?.missing;
        if !missing.is_empty() {
            let all = missing.join(", ");
            return Err(DownstreamError::Request(format!(
                "the checkpoint lacks {all}"
            )));
        }
        let mut packed = packed::pack(data, ids)?;
        let rows = policy.two_views(packed.sides.as_slice(), ids, size, seed, 0);
        packed.upload(exec, program, images)?;
        exec.upload(program, table, &HostData::F32(rows))?;
        exec.run(program, &StepScalars::default())?;
        let mut values = |t| Ok::<_, DownstreamError>(exec.fetch(program, t)?.to_f32());
        Ok(Self {
            features: values(f)?,
            d,
            projections: values(z)?,
            out,
            predictions: match anchors == z {
                true => None,
                false => Some(values(anchors)?),
            },
            phi: match phi {
                Some([p, q]) => Some([values(p)?, values(q)?]),
                None => None,
            },
        })
    }

    /// Values of one head, of [heads,2n,d']. All predictors take the values of the one target.
    fn head<'a>(&self, x: &'a [f32], h: usize, n: usize) -> &'a [f32] {
        let each = 2 * n * self.out;
        let heads = (x.len() / each).max(1);
        x.chunks(each).nth(h % heads).unwrap_or_default()
    }

    /// Scores of each head of `x`, called `kind`, compared with the projections, and of all heads merged; with
    /// temperatures, those of scaled pairs too.
    fn scores(
        &self,
        kind: &str,
        x: &[f32],
        pairs: &Pairs,
        temperatures: Option<&PairTemperatures>,
    ) -> Vec<Scores> {
        let n = pairs.0[0].len();
        let (mut found, mut plain, mut scaled) = (Vec::new(), Vec::new(), Vec::new());
        for h in 0..x.len() / (2 * n * self.out) {
            let name = format!("{kind} {}", h + 1);
            let (own, other) = (self.head(x, h, n), self.head(&self.projections, h, n));
            let s = pairs.cosines(own, other, self.out);
            found.push(scores(&name, &s));
            if let (Some([p, q]), Some(t)) = (&self.phi, temperatures) {
                // As in the loss, phi may be shared: then it is of the first head's features.
                let of = match t.amcl.adaptive {
                    Adaptive::FirstHead => 0,
                    _ => h,
                };
                let (p, q) = (self.head(p, of, n), self.head(q, of, n));
                let tau = t.taus(pairs, p, q, self.out);
                let mean = tau.iter().flatten().sum::<f32>() / (2 * n) as f32;
                let by = |k: usize| {
                    let pairs = s[k].iter().zip(&tau[k]);
                    pairs.map(|(s, tau)| s * mean / tau).collect()
                };
                scaled.push([by(0), by(1)]);
                found.push(scores(&format!("{name}, temperature-scaled"), &scaled[h]));
            }
            plain.push(s);
        }
        for (values, of) in [(plain, "mean"), (scaled, "temperature-scaled mean")] {
            if values.len() > 1 {
                found.push(scores(&format!("{kind}s, {of}"), &mean(&values)));
            }
        }
        found
    }
}

/// Scores `count` positive pairs (two views of a test image) and as many negative pairs (views of different
/// images), drawn from `seed` under the augmentation `policy`. There are fewer pairs where there are fewer
/// test images. The temperature-scaled score of a pair is s t / tau, where t is the mean temperature over the
/// head's pairs: it is above the cosine where the head's temperature is low. Heads are merged by their mean.
///
/// # Errors
/// Fewer than two images; a method without projection heads to look through; the device.
pub fn similarity(
    run: &Trained,
    data: &Dataset,
    policy: &Policy,
    count: usize,
    seed: u64,
    exec: &mut dyn Executor,
) -> Result<Similarity> {
    if data.len() < 2 || count < 2 {
        return Err(DownstreamError::Request(format!(
            "negative pairs need at least two images: {} test images, {count} pairs wanted",
            data.len()
        )));
    }
    let method = method(&run.config)?;
    let Some(of) = method.diagnostics() else {
        return Err(DownstreamError::Request(without_heads(run.config.spec()?)));
    };
    let n = count.min(data.len());
    let mut stream = Stream::new(seed, 0, 0, Purpose::Split);
    let mut ids: Vec<u32> = (0..data.len() as u32).collect();
    for i in 0..n {
        ids.swap(i, i + stream.below(data.len() - i));
    }
    ids.truncate(n);
    let looked = Looked::new(run, (data, &ids), (policy, seed), of, exec)?;
    let pairs = Pairs::draw(n, &mut stream);

    let (temperatures, mut scaled) = match of.temperatures() {
        Ok((amcl, which)) => {
            let t = PairTemperatures::of(run, amcl, which)?;
            let words = t.describe();
            (Some(t), words)
        }
        Err(why) => (None, why.to_string()),
    };
    let (x, d) = (&looked.features, looked.d);
    let mut found = vec![scores("backbone", &pairs.cosines(x, x, d))];
    let z = &looked.projections;
    match &looked.predictions {
        None => found.extend(looked.scores("head", z, &pairs, temperatures.as_ref())),
        Some(predictions) => {
            // The loss compares predictions with projections, so these pairs have the temperatures.
            found.extend(looked.scores("head", z, &pairs, None));
            let of_predictors =
                looked.scores("predictor", predictions, &pairs, temperatures.as_ref());
            found.extend(of_predictors);
            if temperatures.is_some() {
                scaled +=
                    "; s the cosine of a prediction and a projection, which the loss compares";
            }
        }
    }
    Ok(Similarity {
        scores: found,
        pairs: n,
        merged: "a pair's score is its mean over heads (of cosines, or of scaled scores)".into(),
        scaled,
        doubt: spread::doubt(&looked.features, looked.d),
    })
}

/// Why the heads of a method cannot be looked through, in words.
fn without_heads(spec: &Spec) -> String {
    match spec.has_heads {
        true => format!(
            "the similarities of {}'s projection heads mean nothing",
            spec.name
        ),
        false => format!("{} has no projection heads to look through", spec.name),
    }
}

fn scores(of: &str, v: &Values) -> Scores {
    Scores::new(of, [&v[0], &v[1]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_without_heads_is_not_said_to_compare_no_pairs() {
        let mae = Spec {
            has_heads: false,
            ..*crate::methods::METHODS[0]
        };
        let said = without_heads(&mae);
        assert!(
            said.ends_with("has no projection heads to look through"),
            "{said}"
        );
        // The control: a method that has them.
        assert!(!without_heads(crate::methods::METHODS[0]).contains("has no"));
    }

    #[test]
    fn overlap_is_what_both_histograms_hold() {
        let s = Scores::new("x", [&[0.9, 0.9, 0.5, -1.5], &[0.1, 0.5, 0.9, 0.91]]);
        assert_eq!((s.overlap, s.outside), (75.0, 1));
        assert_eq!(s.positive_bins[0], 1, "below the first bin");
        assert!((s.positive - 0.2).abs() < 1e-6 && (s.negative - 0.6025).abs() < 1e-6);
        let apart = Scores::new("x", [&[0.9; 4], &[0.1; 4]]);
        assert_eq!((apart.overlap, apart.outside), (0.0, 0));
        let same = [0.3, 1.0, -0.1, 7.0];
        let same = Scores::new("x", [&same, &same]);
        assert_eq!((same.overlap, same.outside), (100.0, 2));
        // Equal views are in the bin that ends at 1, however their cosine was rounded.
        let ones = Scores::new("x", [&[1.0, 1.000_001], &[-0.2, -1.0]]);
        assert_eq!((ones.positive_bins[33], ones.outside), (2, 0));
        for v in [&same.positive_bins, &same.negative_bins] {
            assert_eq!(v.iter().sum::<usize>(), 4);
        }
    }
}
