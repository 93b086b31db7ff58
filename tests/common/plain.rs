//! The formulas of the losses (shared/amcl.md, 1.2 to 1.7) written out in f64, element by element: nothing here comes
//! from the library but the settings.

use amcl_wgpu::methods::loss::{Adaptive, Amcl, Parametrisation};
use std::collections::BTreeMap;

pub type Row = Vec<f64>;

/// Rows of every head, from [c,n,d].
pub fn heads(x: &[f64], n: usize, d: usize) -> Vec<Vec<Row>> {
    x.chunks(n * d).map(|h| rows(h, d)).collect()
}

pub fn rows(x: &[f64], d: usize) -> Vec<Row> {
    x.chunks(d).map(<[f64]>::to_vec).collect()
}

pub fn columns(x: &[Row]) -> Vec<Row> {
    (0..x[0].len())
        .map(|j| x.iter().map(|r| r[j]).collect())
        .collect()
}

pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

pub fn unit(a: &[f64]) -> Row {
    let norm = dot(a, a).sqrt();
    a.iter().map(|v| v / norm).collect()
}

pub fn units(x: &[Row]) -> Vec<Row> {
    x.iter().map(|r| unit(r)).collect()
}

pub fn mean(x: &[f64]) -> f64 {
    x.iter().sum::<f64>() / x.len() as f64
}

/// x W^T + b, W [out,in].
pub fn linear(x: &[f64], w: &[f64], b: Option<&[f64]>) -> Row {
    let y = w.chunks(x.len()).map(|w| dot(w, x)).enumerate();
    y.map(|(i, v)| v + b.map_or(0.0, |b| b[i])).collect()
}

fn relu(x: &[f64]) -> Row {
    x.iter().map(|v| v.max(0.0)).collect()
}

/// Batch norm of the columns, with the batch's biased variance.
pub fn batch_norm(x: &[Row], gamma: &[f64], beta: &[f64]) -> Vec<Row> {
    let mut out = columns(x);
    for (j, column) in out.iter_mut().enumerate() {
        let mu = mean(column);
        let squares: Row = column.iter().map(|v| (v - mu).powi(2)).collect();
        let deviation = (mean(&squares) + f64::from(1e-5f32)).sqrt();
        for v in column {
            *v = gamma[j] * (*v - mu) / deviation + beta[j];
        }
    }
    columns(&out)
}

/// Head `c` of `count` of an MLP of two layers whose hidden layer has batch norm, from its parameters; `last`: plain,
/// norm or bare_norm.
pub fn mlp(
    p: &BTreeMap<String, Row>,
    name: &str,
    (c, count): (usize, usize),
    last: &str,
    x: &[Row],
) -> Vec<Row> {
    let of = |leaf: &str| {
        let all = &p[&format!("{name}.{leaf}")];
        let n = all.len() / count;
        &all[c * n..(c + 1) * n]
    };
    let hidden: Vec<Row> = x.iter().map(|x| linear(x, of("0.weight"), None)).collect();
    let hidden = batch_norm(&hidden, of("1.weight"), of("1.bias"));
    let bias = (last == "plain").then(|| of("3.bias"));
    let end = |h: &Row| linear(&relu(h), of("3.weight"), bias);
    let out: Vec<Row> = hidden.iter().map(end).collect();
    let d = out[0].len();
    match last {
        "norm" => batch_norm(&out, of("4.weight"), of("4.bias")),
        "bare_norm" => batch_norm(&out, &vec![1.0; d], &vec![0.0; d]),
        _ => out,
    }
}

/// Omega(tau) = d'/2 log tau + 1/tau (1.4).
pub fn omega(tau: f64, d: usize) -> f64 {
    d as f64 / 2.0 * tau.ln() + 1.0 / tau
}

/// What makes temperatures: settings, phi's weights and biases, the gain.
pub struct Temperatures<'a> {
    pub a: &'a Amcl,
    pub phi: [&'a [f64]; 4],
    pub gain: f64,
}

impl Temperatures<'_> {
    fn phi(&self, x: &[f64]) -> Row {
        let [w0, b0, w1, b1] = self.phi;
        linear(&relu(&linear(x, w0, Some(b0))), w1, Some(b1))
    }

    /// Eq. (3), or its centred form, for all pairs of a head.
    pub fn of(&self, pairs: &[(&Row, &Row)]) -> Row {
        let a = self.a;
        let centred = a.parametrisation == Parametrisation::Centred;
        let product = |(x, y): &(&Row, &Row)| {
            let (x, y) = (self.phi(x), self.phi(y));
            match centred {
                true => dot(&unit(&x), &unit(&y)),
                false => dot(&x, &y),
            }
        };
        let mut r: Row = pairs.iter().map(product).collect();
        if centred {
            let middle = mean(&r);
            let at_tau0 = ((a.tau_max - a.tau0) / (a.tau0 - a.tau_min)).ln();
            for v in &mut r {
                *v = self.gain * (*v - middle) + at_tau0;
            }
        }
        let tau = |r: f64| a.tau_min + (a.tau_max - a.tau_min) / (1.0 + r.exp());
        r.into_iter().map(tau).collect()
    }

    /// Which head's features make head c's temperatures.
    fn head(&self, c: usize) -> usize {
        match self.a.adaptive {
            Adaptive::FirstHead => 0,
            _ => c,
        }
    }

    /// The loss of an anchor (1.5): its positive is candidate 0 and counts as one with Eq. (2.4) alone; s
    /// similarities, tau adaptive temperatures.
    fn anchor(&self, s: &[f64], tau: &[f64], d: usize) -> f64 {
        let a = self.a;
        let (positive, candidates) = match a.adaptive {
            Adaptive::Full | Adaptive::FirstHead => (true, true),
            Adaptive::PositiveOnly => (true, false),
            Adaptive::NegativeOnly => (false, true),
            Adaptive::None => (false, false),
        };
        let role = |adapts: bool, j: usize| if adapts { tau[j] } else { a.tau_const };
        let first = usize::from(!a.include_positive);
        let term = |j: usize| {
            let t = role(candidates, j);
            (s[j] / t - a.beta * omega(t, d)).exp()
        };
        let t = role(positive, 0);
        let sum: f64 = (first..s.len()).map(term).sum();
        -s[0] / t + a.beta * omega(t, d) + sum.ln()
    }

    /// Eqs. (2.1) and (2.4) with the log-sum-exp, of rows that are no longer than they are: anchors and their
    /// candidates by head, the positive first.
    fn contrastive(&self, candidates: &[Vec<(Row, Vec<Row>)>]) -> f64 {
        let mut loss = 0.0;
        for (c, anchors) in candidates.iter().enumerate() {
            let seen = &candidates[self.head(c)];
            let pairs = |(x, all): &(Row, Vec<Row>)| {
                all.iter()
                    .map(|y| (x.clone(), y.clone()))
                    .collect::<Vec<_>>()
            };
            let pairs: Vec<(Row, Row)> = seen.iter().flat_map(pairs).collect();
            let tau = self.of(&pairs.iter().map(|(x, y)| (x, y)).collect::<Vec<_>>());
            let n = anchors[0].1.len();
            let each = anchors.iter().zip(tau.chunks(n)).map(|((x, all), tau)| {
                let s: Row = all.iter().map(|y| dot(x, y)).collect();
                self.anchor(&s, tau, x.len())
            });
            loss += mean(&each.collect::<Row>());
        }
        loss
    }

    /// Of z [c][2B]: every other row is a candidate.
    pub fn nt_xent(&self, z: &[Vec<Row>]) -> f64 {
        let of_head = |z: &Vec<Row>| -> Vec<(Row, Vec<Row>)> {
            let (z, n) = (units(z), z.len());
            let others = |i: usize| {
                // The positive first, then all but it and the anchor.
                let order = (0..n).map(|k| (i + n / 2 + k) % n).filter(|j| *j != i);
                order.map(|j| z[j].clone()).collect()
            };
            (0..n).map(|i| (z[i].clone(), others(i))).collect()
        };
        self.contrastive(&z.iter().map(of_head).collect::<Vec<_>>())
    }

    /// Of queries, keys and queues.
    pub fn moco(&self, q: &[Vec<Row>], k: &[Vec<Row>], queue: &[Vec<Row>]) -> f64 {
        let of_head = |((q, k), queue): ((&Vec<Row>, &Vec<Row>), &Vec<Row>)| {
            let (q, k, queue) = (units(q), units(k), units(queue));
            let with = |(q, k): (Row, Row)| (q, [vec![k], queue.clone()].concat());
            q.into_iter().zip(k).map(with).collect()
        };
        let all: Vec<_> = q.iter().zip(k).zip(queue).map(of_head).collect();
        self.contrastive(&all)
    }

    /// One direction of Eq. (2.4) for MoCo v3: of queries and all keys of a batch.
    pub fn keys(&self, q: &[Vec<Row>], k: &[Vec<Row>]) -> f64 {
        let of_head = |(q, k): (&Vec<Row>, &Vec<Row>)| -> Vec<(Row, Vec<Row>)> {
            let (q, k) = (units(q), units(k));
            let n = k.len();
            // The positive first.
            let all = |i: usize| (0..n).map(|j| k[(i + j) % n].clone()).collect();
            let rows = q.into_iter().enumerate();
            rows.map(|(i, q)| (q, all(i))).collect()
        };
        let all: Vec<_> = q.iter().zip(k).map(of_head).collect();
        self.contrastive(&all)
    }

    /// One direction of Eq. (2.2).
    pub fn simsiam(&self, p: &[Vec<Row>], z: &[Vec<Row>]) -> f64 {
        let mut loss = 0.0;
        for c in 0..p.len() {
            let h = self.head(c);
            let (x, y) = (units(&p[h]), units(&z[h]));
            let tau = self.of(&x.iter().zip(&y).collect::<Vec<_>>());
            let (p, z) = (units(&p[c]), units(&z[c]));
            let each = p
                .iter()
                .zip(&z)
                .zip(&tau)
                .map(|((p, z), t)| -dot(p, z) / (2.0 * t) + self.a.beta * omega(*t, p.len()));
            loss += mean(&each.collect::<Row>());
        }
        loss
    }

    /// Eq. (2.3); `constant`: the temperatures on and off the diagonal where they do not adapt, without Omega.
    /// `unit_channels`: phi sees channels of unit length. `standard`: as [`correlation`] has it.
    pub fn barlow(
        &self,
        z: [&[Vec<Row>]; 2],
        lambda: f64,
        constant: [f64; 2],
        unit_channels: bool,
        standard: [f64; 2],
    ) -> f64 {
        let mut loss = 0.0;
        for c in 0..z[0].len() {
            let k = correlation(&z[0][c], &z[1][c], standard);
            let channels = z.map(|z| {
                let x = columns(&z[self.head(c)]);
                if unit_channels { units(&x) } else { x }
            });
            let d = k.len();
            let pairs = (0..d * d).map(|i| (&channels[0][i / d], &channels[1][i % d]));
            let tau = self.of(&pairs.collect::<Vec<_>>());
            let (on, off) = match self.a.adaptive {
                Adaptive::Full | Adaptive::FirstHead => (true, true),
                Adaptive::PositiveOnly => (true, false),
                Adaptive::NegativeOnly => (false, true),
                Adaptive::None => (false, false),
            };
            for (i, tau) in tau.iter().enumerate() {
                let (l, m) = (i / d, i % d);
                let adapts = if l == m { on } else { off };
                let t = if adapts {
                    *tau
                } else {
                    constant[usize::from(l != m)]
                };
                let regulariser = if adapts {
                    self.a.beta * omega(t, d)
                } else {
                    0.0
                };
                loss += match l == m {
                    true => (1.0 - k[l][l] / t).powi(2) + regulariser,
                    false => lambda * k[l][m].powi(2) / t - regulariser,
                };
            }
        }
        loss
    }
}

/// What is taken off the count of values, and added to the variance: MIFA-Lab's deviation.
pub const UNBIASED: [f64; 2] = [1.0, 0.0];
/// Batch norm's.
pub const BATCH_NORM: [f64; 2] = [0.0, 1e-5];

/// Cross-correlation of the standardised columns, divided by the batch (7.6).
pub fn correlation(x: &[Row], y: &[Row], [less, eps]: [f64; 2]) -> Vec<Row> {
    let standard = |x: &[Row]| -> Vec<Row> {
        let one = |column: &Row| -> Row {
            let mu = mean(column);
            let sum: f64 = column.iter().map(|v| (v - mu).powi(2)).sum();
            let deviation = (sum / (column.len() as f64 - less) + eps).sqrt();
            column.iter().map(|v| (v - mu) / deviation).collect()
        };
        columns(x).iter().map(one).collect()
    };
    let (a, b) = (standard(x), standard(y));
    let row = |a: &Row| b.iter().map(|b| dot(a, b) / x.len() as f64).collect();
    a.iter().map(row).collect()
}

/// InfoNCE (1.4) of a head's queries, keys and queue at one temperature: the mean over queries.
pub fn info_nce(q: &[Row], k: &[Row], queue: &[Row], tau: f64) -> f64 {
    let each = q.iter().zip(k).map(|(q, k)| {
        let own = (dot(&unit(q), &unit(k)) / tau).exp();
        let others: f64 = queue
            .iter()
            .map(|n| (dot(&unit(q), &unit(n)) / tau).exp())
            .sum();
        -(own / (own + others)).ln()
    });
    mean(&each.collect::<Row>())
}

/// The mean cosine of rows with rows.
pub fn mean_cosine(p: &[Row], z: &[Row]) -> f64 {
    let each = p.iter().zip(z).map(|(p, z)| dot(&unit(p), &unit(z)));
    mean(&each.collect::<Row>())
}
