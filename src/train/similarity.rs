//! How alike positive and negative pairs of test images are, to the backbone and to each head: the AMCL paper's Figs. 1 and 3.

use super::method::method;
use super::weights::Trained;
use super::{Result, TrainError};
use crate::data::augment::Policy;
use crate::data::{Dataset, packed};
use crate::eval::knn::cosines;
use crate::graph::{Executor, Graph, HostData, StepScalars, TensorType};
use crate::methods::embeddings;
use crate::methods::loss::Adaptive;
use crate::nn::Model;
use crate::nn::import::import;
use crate::ops::augment::{Augment, words};
use crate::reference::augment::ROW;
use crate::reference::philox::{Purpose, Stream};
use serde::Serialize;

/// Bins of 0.06 from -0.2 to 1, as in Fig. 3; what lies outside counts in the first or last.
const FIRST: f32 = -0.2;
const WIDTH: f32 = 0.06;
const BINS: usize = 20;

/// Scores of positive and of negative pairs.
#[derive(Clone, Debug, Serialize)]
pub struct Scores {
    /// Which: `backbone`, `head 1`, ..., `heads, mean`, `heads, temperature-scaled`.
    pub of: String,
    /// Mean over positive pairs.
    pub positive: f64,
    /// Mean over negative pairs.
    pub negative: f64,
    /// Share of pairs that the two histograms have in common, percent.
    pub overlap: f64,
    /// Counts of positive pairs in bins of 0.06 from -0.2.
    pub positive_bins: Vec<usize>,
    /// Counts of negative pairs.
    pub negative_bins: Vec<usize>,
}

impl Scores {
    fn new(of: String, pos: &[f32], neg: &[f32]) -> Self {
        let bins = |v: &[f32]| {
            let mut out = vec![0; BINS];
            for x in v {
                let at = ((x - FIRST) / WIDTH).floor().max(0.0) as usize;
                out[at.min(BINS - 1)] += 1;
            }
            out
        };
        let mean = |v: &[f32]| v.iter().map(|x| f64::from(*x)).sum::<f64>() / v.len().max(1) as f64;
        let (a, b) = (bins(pos), bins(neg));
        let common: usize = a.iter().zip(&b).map(|(a, b)| a.min(b)).sum();
        Self {
            of,
            positive: mean(pos),
            negative: mean(neg),
            overlap: 100.0 * common as f64 / pos.len().max(1) as f64,
            positive_bins: a,
            negative_bins: b,
        }
    }
}

/// Values of the pairs (row, partner) in rows of features.
fn of_pairs(x: &[f32], d: usize, pairs: &[(usize, usize)]) -> Vec<f32> {
    let row = |i: usize| &x[i * d..(i + 1) * d];
    pairs
        .iter()
        .map(|(i, j)| cosines(row(*i), row(*j), d)[0])
        .collect()
}

/// Scores of `count` positive pairs (two views of a test image) and as many negative pairs (views of different images), drawn from `seed`, under the augmentation
/// `policy`. The temperature-scaled score of a pair is its mean over heads of s t / tau, t the mean temperature of the head's pairs here: pairs that the head is sure of
/// count for more than their cosine, others for less.
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
) -> Result<Vec<Scores>> {
    if data.len() < 2 || count == 0 {
        return Err(TrainError::Config(
            "pairs need at least two test images".into(),
        ));
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
    let f = method.encoder().build(&mut g, &mut model, x, false)?;
    // Temperatures of Barlow Twins are of channels, not of pairs of images; those of predictors on one target are of no one head.
    let shared = c.method.name == "simsiam" && c.method.shared_target;
    let of_images = c.amcl.enabled && c.method.name != "barlow_twins" && !shared;
    let amcl = of_images.then_some(&c.amcl.switches);
    let (z, phi) = embeddings(method.as_ref(), amcl, &mut g, &mut model, f)?;
    let (d, heads, out) = (g.dims(f)[1], g.dims(z)[0], g.dims(z)[2]);
    let mut fetch = vec![f, z];
    fetch.extend(phi.into_iter().flatten());
    exec.allocate_states(&model.states)?;
    let mut kept = fetch.clone();
    kept.dedup();
    let program = exec.compile(&g, &kept)?;
    import(&model, exec, &run.weights)?;
    let rows = policy.two_views(side, &ids, size, seed, 0);
    exec.upload(program, images, &HostData::U32(packed::pack(data, &ids)))?;
    exec.upload(program, table, &HostData::F32(rows))?;
    exec.run(program, &StepScalars::default())?;
    let mut values = Vec::new();
    for t in fetch {
        values.push(exec.fetch(program, t)?.to_f32());
    }

    let positive: Vec<(usize, usize)> = (0..n).map(|i| (i, n + i)).collect();
    let negative: Vec<(usize, usize)> = (0..n)
        .map(|i| (i, n + (i + 1 + stream.below(n - 1)) % n))
        .collect();
    let both = |x: &[f32], d: usize| [&positive, &negative].map(|p| of_pairs(x, d, p));
    let [pos, neg] = both(&values[0], d);
    let mut found = vec![Scores::new("backbone".into(), &pos, &neg)];
    let (mut plain, mut scaled) = ([vec![0.0; n], vec![0.0; n]], [vec![0.0; n], vec![0.0; n]]);
    for h in 0..heads {
        let rows = h * 2 * n * out..(h + 1) * 2 * n * out;
        let s = both(&values[1][rows.clone()], out);
        found.push(Scores::new(format!("head {}", h + 1), &s[0], &s[1]));
        let add = |into: &mut [Vec<f32>; 2], v: &dyn Fn(usize, usize) -> f32| {
            for (k, sums) in into.iter_mut().enumerate() {
                for (i, sum) in sums.iter_mut().enumerate() {
                    *sum += v(k, i) / heads as f32;
                }
            }
        };
        add(&mut plain, &|k, i| s[k][i]);
        if let (Some([anchors, others]), Some(a)) = (values.get(2..4), amcl) {
            // As the loss has them: from the first head's features, or constant in a role that does not adapt.
            let first = a.adaptive == Adaptive::FirstHead;
            let rows = if first { 0..2 * n * out } else { rows };
            let (p, q) = (&anchors[rows.clone()], &others[rows]);
            let (of_positive, of_negative) = a.roles();
            let both = [(&positive, of_positive), (&negative, of_negative)];
            let tau = both.map(|(pairs, adaptive)| {
                let of = |(i, j): &(usize, usize)| {
                    if !adaptive {
                        return a.tau_const as f32;
                    }
                    let dot: f32 = (0..out).map(|t| p[i * out + t] * q[j * out + t]).sum();
                    let range = a.range() as f32;
                    a.tau_min as f32 + range / (1.0 + dot.min(80.0).exp())
                };
                pairs.iter().map(of).collect::<Vec<f32>>()
            });
            let mean = tau.iter().flatten().sum::<f32>() / (2 * n) as f32;
            add(&mut scaled, &|k, i| s[k][i] * mean / tau[k][i]);
        }
    }
    if heads > 1 {
        found.push(Scores::new("heads, mean".into(), &plain[0], &plain[1]));
    }
    if values.len() > 2 {
        let name = "heads, temperature-scaled mean".into();
        found.push(Scores::new(name, &scaled[0], &scaled[1]));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlap_is_what_both_histograms_hold() {
        let s = Scores::new("x".into(), &[0.9, 0.9, 0.5, -0.9], &[0.1, 0.5, 0.9, 0.91]);
        assert_eq!(s.overlap, 75.0);
        assert_eq!(s.positive_bins[0], 1, "below the first bin");
        assert!((s.positive - 0.35).abs() < 1e-6 && (s.negative - 0.6025).abs() < 1e-6);
        let apart = Scores::new("x".into(), &[0.9; 4], &[0.1; 4]);
        assert_eq!(apart.overlap, 0.0);
    }
}
