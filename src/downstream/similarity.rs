//! Similarities of positive and of negative pairs of test images, by the backbone and by each head: the AMCL
//! paper's Figs. 1 and 3.

use super::{DownstreamError, Result};
use crate::config::method::method;
use crate::data::augment::Policy;
use crate::data::{Dataset, packed};
use crate::eval::knn::cosines;
use crate::graph::{Executor, Graph, HostData, StepScalars, TensorId, TensorType};
use crate::methods::loss::{Adaptive, Amcl, Parametrisation};
use crate::methods::{Diagnostics, Temperatures};
use crate::nn::heads::Phi;
use crate::nn::import::import;
use crate::nn::{Mode, Model, Net, Part};
use crate::ops::augment::{Augment, words};
use crate::ops::l2_normalize::L2Normalize;
use crate::ops::reshape::Reshape;
use crate::reference::augment::ROW;
use crate::reference::philox::{Purpose, Stream};
use crate::run::weights::Trained;
use serde::Serialize;

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

/// How temperatures come from phi, as in the run's loss.
struct PairTemperatures {
    amcl: Amcl,
    /// Learned gain of the centred parametrisation.
    gain: f32,
    /// The loss has positive pairs only (SimSiam). Then scores are centred at the mean over the positive
    /// pairs, and a negative pair (i,j) has the temperature that the loss would give it if it were positive.
    positives_only: bool,
}

impl PairTemperatures {
    fn of(run: &Trained, amcl: Amcl, pairs: Temperatures) -> Result<Self> {
        let gain = run.weights.get("phi.gain");
        let gain = gain.and_then(|g| g.values.first()).copied();
        if gain.is_none() && amcl.parametrisation == Parametrisation::Centred {
            return Err(DownstreamError::Request(
                "the checkpoint has no phi.gain, which centred temperatures need".into(),
            ));
        }
        Ok(Self {
            amcl,
            gain: gain.unwrap_or(1.0),
            positives_only: pairs == Temperatures::PositivePairs,
        })
    }

    /// Scaled scores in words.
    fn describe(&self) -> String {
        let mean = match (self.amcl.parametrisation, self.positives_only) {
            (Parametrisation::Dot, _) => "",
            (Parametrisation::Centred, true) => {
                "; tau from scores centred at their mean over the positive pairs here, \
                 as the loss centres them at a batch's"
            }
            (Parametrisation::Centred, false) => {
                "; tau from scores centred at their mean over all pairs of these views, \
                 as the loss centres them at a batch's"
            }
        };
        format!("s t / tau of each pair, t the mean tau of the head's pairs here{mean}")
    }

    /// Temperatures of pairs, from phi of the anchors and of what they are compared with, both [rows,d] of one head.
    fn taus(&self, pairs: &Pairs, p: &[f32], q: &[f32], d: usize) -> Values {
        let a = &self.amcl;
        let scores = match a.parametrisation {
            Parametrisation::Dot => pairs.values(p, q, d, dot),
            Parametrisation::Centred => {
                let cosines = pairs.cosines(p, q, d);
                let mean = if self.positives_only {
                    cosines[0].iter().sum::<f32>() / cosines[0].len() as f32
                } else {
                    mean_cosine(p, q, d)
                };
                let offset = offset(a);
                cosines.map(|v| v.iter().map(|x| self.gain * (x - mean) + offset).collect())
            }
        };
        let (of_positive, of_negative) = a.roles();
        let adapts = [of_positive, of_negative || self.positives_only];
        let tau = |r: &f32| a.tau_min as f32 + a.range() as f32 / (1.0 + r.min(80.0).exp());
        [0, 1].map(|k| match adapts[k] {
            true => scores[k].iter().map(tau).collect(),
            false => vec![a.tau_const as f32; scores[k].len()],
        })
    }
}

/// The score whose temperature is tau0.
fn offset(a: &Amcl) -> f32 {
    (a.range() / (a.tau0 - a.tau_min) - 1.0).ln() as f32
}

/// Mean cosine over all pairs of different rows, x and y [rows,d].
fn mean_cosine(x: &[f32], y: &[f32], d: usize) -> f32 {
    let unit = |x: &[f32]| -> Vec<f64> {
        let row = |r: &[f32]| {
            let r: Vec<f64> = r.iter().map(|v| f64::from(*v)).collect();
            let length = r.iter().map(|v| v * v).sum::<f64>().sqrt().max(1e-12);
            r.into_iter().map(move |v| v / length)
        };
        x.chunks(d).flat_map(row).collect()
    };
    let (x, y, n) = (unit(x), unit(y), (x.len() / d) as f64);
    let sum = |x: &[f64], k: usize| x.iter().skip(k).step_by(d).sum::<f64>();
    // The product of the sums of rows is the sum of the products; the diagonal is no pair.
    let all: f64 = (0..d).map(|k| sum(&x, k) * sum(&y, k)).sum();
    let diagonal: f64 = x.iter().zip(&y).map(|(x, y)| x * y).sum();
    ((all - diagonal) / (n * (n - 1.0))) as f32
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
            1 => net.push1(
                Reshape {
                    shape: [n, d].into(),
                },
                &[z],
            )?,
            _ => z,
        };
        anchors = layers.call(net, input)?;
    }
    let Some(a) = amcl else {
        return Ok((anchors, None));
    };
    let phi = Phi::new(net, d, a.phi_hidden, false).values(net);
    let mut of_rows = |x: TensorId| {
        let unit = net.push1(L2Normalize { eps: 1e-12 }, &[x])?;
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

/// Scores `count` positive pairs (two views of a test image) and as many negative pairs (views of different
/// images), drawn from `seed` under the augmentation `policy`. There are fewer pairs where there are fewer
/// test images. The temperature-scaled score of a pair is s t / tau, where t is the mean temperature over the
/// head's pairs: it is above the cosine where the head's temperature is low. Heads are merged by their mean.
///
/// # Errors
/// Fewer than two images; the device.
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
    let c = &run.config;
    let n = count.min(data.len());
    let (side, size) = ((data.height, data.width), c.model.image_size);
    let mut stream = Stream::new(seed, 0, 0, Purpose::Split);
    let mut ids: Vec<u32> = (0..data.len() as u32).collect();
    for i in 0..n {
        ids.swap(i, i + stream.below(data.len() - i));
    }
    ids.truncate(n);

    let (mut g, mut model) = (Graph::new(), Model::default());
    let images = g.input("images", TensorType::u32([n, words(side.0, side.1)]));
    let table = g.input("views", TensorType::f32([2 * n, ROW]));
    let op = Augment {
        height: side.0,
        width: side.1,
        size,
        blur: policy.blurs(),
        mean: policy.mean,
        std: policy.std,
    };
    let x = g.push1(op, &[images, table])?;
    let method = method(c)?;
    let Some(of) = method.diagnostics() else {
        return Err(DownstreamError::Request(format!(
            "{} compares no pairs of images",
            c.method.name
        )));
    };
    let temperatures = of.temperatures();
    let encoder = method.encoder();
    let mut net = Net::new(&mut g, &mut model, Mode::Eval);
    let f = encoder.layers(&mut net).call(&mut net, x)?.pooled;
    let heads = of
        .projector()
        .layers(&mut net, Part::Projector, encoder.width());
    let z = heads.call(&mut net, f)?;
    let (anchors, phi) = compared(of, temperatures.ok().map(|t| t.0), &mut net, z)?;
    let (d, out) = (g.dims(f)[1], g.dims(z)[2]);
    let mut fetch = vec![f, z, anchors];
    fetch.extend(phi.into_iter().flatten());
    exec.allocate_states(&model.states)?;
    let mut kept = fetch.clone();
    kept.sort_unstable();
    kept.dedup();
    let program = exec.compile(&g, &kept)?;
    let missing = import(&model, exec, &run.weights)?.missing;
    if !missing.is_empty() {
        let all = missing.join(", ");
        return Err(DownstreamError::Request(format!(
            "the checkpoint lacks {all}"
        )));
    }
    let rows = policy.two_views(side, &ids, size, seed, 0);
    exec.upload(program, images, &HostData::U32(packed::pack(data, &ids)))?;
    exec.upload(program, table, &HostData::F32(rows))?;
    exec.run(program, &StepScalars::default())?;
    let mut values = Vec::new();
    for t in fetch {
        values.push(exec.fetch(program, t)?.to_f32());
    }

    let pairs = Pairs::draw(n, &mut stream);
    // One head after the other. All predictors take the values of the one target.
    let head = |x: &'_ [f32], h: usize| -> Vec<f32> {
        let heads = x.len() / (2 * n * out);
        x.chunks(2 * n * out)
            .nth(h % heads.max(1))
            .map_or(Vec::new(), <[f32]>::to_vec)
    };
    let mut found = vec![scores(
        "backbone",
        &pairs.cosines(&values[0], &values[0], d),
    )];
    let mut add =
        |kind: &str, x: &[f32], phi: Option<[&[f32]; 2]>, t: Option<&PairTemperatures>| {
            let z = &values[1];
            let (mut plain, mut scaled) = (Vec::new(), Vec::new());
            for h in 0..x.len() / (2 * n * out) {
                let name = format!("{kind} {}", h + 1);
                let s = pairs.cosines(&head(x, h), &head(z, h), out);
                found.push(scores(&name, &s));
                if let (Some([p, q]), Some(t)) = (phi, t) {
                    // As in the loss, phi may be shared: then it is of the first head's features.
                    let of = if t.amcl.adaptive == Adaptive::FirstHead {
                        0
                    } else {
                        h
                    };
                    let tau = t.taus(&pairs, &head(p, of), &head(q, of), out);
                    let mean = tau.iter().flatten().sum::<f32>() / (2 * n) as f32;
                    let by = |k: usize| {
                        s[k].iter()
                            .zip(&tau[k])
                            .map(|(s, tau)| s * mean / tau)
                            .collect()
                    };
                    scaled.push([by(0), by(1)]);
                    found.push(scores(&format!("{name}, temperature-scaled"), &scaled[h]));
                }
                plain.push(s);
            }
            if plain.len() > 1 {
                found.push(scores(&format!("{kind}s, mean"), &mean(&plain)));
            }
            if scaled.len() > 1 {
                found.push(scores(
                    &format!("{kind}s, temperature-scaled mean"),
                    &mean(&scaled),
                ));
            }
        };
    let (taus, why) = match temperatures {
        Ok((amcl, pairs)) => (Some(PairTemperatures::of(run, amcl, pairs)?), ""),
        Err(why) => (None, why),
    };
    let of_pairs = values.get(3..5).map(|v| [&v[0][..], &v[1][..]]);
    let mut scaled = taus.as_ref().map_or(why.into(), PairTemperatures::describe);
    if anchors == z {
        add("head", &values[1], of_pairs, taus.as_ref());
    } else {
        // The loss compares predictions with projections, so these pairs have the temperatures.
        add("head", &values[1], None, None);
        add("predictor", &values[2], of_pairs, taus.as_ref());
        if taus.is_some() {
            scaled += "; s the cosine of a prediction and a projection, which the loss compares";
        }
    }
    Ok(Similarity {
        scores: found,
        pairs: n,
        merged: "a pair's score is its mean over heads (of cosines, or of scaled scores)".into(),
        scaled,
    })
}

fn scores(of: &str, v: &Values) -> Scores {
    Scores::new(of, [&v[0], &v[1]])
}

#[cfg(test)]
mod tests {
    use super::*;

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

    /// Two views of two images; phi is what was given.
    fn temperatures(parametrisation: Parametrisation, adaptive: Adaptive) -> PairTemperatures {
        PairTemperatures {
            amcl: Amcl {
                parametrisation,
                adaptive,
                tau_const: 0.3,
                ..Amcl::default()
            },
            gain: 2.0,
            positives_only: false,
        }
    }

    #[test]
    fn temperatures_are_the_loss_s() {
        let pairs = Pairs([vec![(0, 2), (1, 3)], vec![(0, 3), (1, 2)]]);
        let p = [1.0, 0.0, 0.0, 2.0, 1.0, 0.0, 1.0, 1.0];
        let a = Amcl::default();
        let tau = |r: f32| a.tau_min as f32 + a.range() as f32 / (1.0 + r.exp());
        let near = |v: &Values, w: [[f32; 2]; 2]| {
            let both = v.iter().flatten().zip(w.iter().flatten());
            both.for_each(|(x, y)| assert!((x - y).abs() < 1e-5, "{v:?} {w:?}"));
        };
        let dot = temperatures(Parametrisation::Dot, Adaptive::Full).taus(&pairs, &p, &p, 2);
        near(&dot, [[tau(1.0), tau(2.0)], [tau(1.0), tau(0.0)]]);
        let one =
            temperatures(Parametrisation::Dot, Adaptive::PositiveOnly).taus(&pairs, &p, &p, 2);
        near(&one, [[tau(1.0), tau(2.0)], [0.3, 0.3]]);
        // Cosines of the six pairs of rows: 0, 1, h, 0, h, h, h = sqrt(1/2).
        let h = 0.5f32.sqrt();
        let mean = (1.0 + 3.0 * h) / 6.0;
        assert!((mean_cosine(&p, &p, 2) - mean).abs() < 1e-6);
        let at = |x: f32, mean: f32| tau(2.0 * (x - mean) + offset(&a));
        let mut t = temperatures(Parametrisation::Centred, Adaptive::Full);
        let centred = t.taus(&pairs, &p, &p, 2);
        near(
            &centred,
            [[at(1.0, mean), at(h, mean)], [at(h, mean), at(0.0, mean)]],
        );
        // A score at the mean has tau0.
        assert!((at(mean, mean) - a.tau0 as f32).abs() < 1e-6);
        t.positives_only = true;
        let mean = (1.0 + h) / 2.0;
        let alone = t.taus(&pairs, &p, &p, 2);
        near(
            &alone,
            [[at(1.0, mean), at(h, mean)], [at(h, mean), at(0.0, mean)]],
        );
    }
}
