//! Multinomial logistic regression with an L2 penalty, solved to convergence by L-BFGS (Liu, Nocedal, Mathematical
//! Programming 1989) in f64 on the host. Sums have a fixed order, so that the same features give the same bits.

use super::train::{Found, Labelled};
use crate::downstream::{DownstreamError, Result};
use crate::reference::gemm::{Mat, product};
use rayon::prelude::*;
use std::collections::VecDeque;

/// Least, over the weights W [classes,d], (1/n) sum_i (log sum_c exp(w_c x_i) - w_y x_i) + (l2 / 2n) |W|^2. A feature
/// x is centred (its own mean becomes 0) and scaled to unit length, and there is no bias: the 1 % protocol of MSN
/// (Assran et al., ECCV 2022), which Layer Grafted Pre-training reports.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Logistic {
    /// The name of the protocol.
    pub name: &'static str,
    /// The penalty, of a sum over the samples. Above 0: else classes that a plane separates have no solution.
    pub l2: f64,
}

/// MSN's protocol, by the name of the method that is reported by it.
pub const LGP: Logistic = Logistic {
    name: "lgp",
    l2: 2.5e-4,
};

/// What solving came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Solved {
    /// Accuracies, and the objective.
    pub found: Found,
    /// Steps of L-BFGS.
    pub steps: usize,
    /// Share of the objective by which it may be above its least. Strong convexity bounds it by
    /// |gradient|^2 n / (2 l2).
    pub gap: f64,
}

/// Largest [`Solved::gap`] at which it has converged.
pub const GAP: f64 = 1e-3;
/// Most steps. One that needs more has not converged, which the caller sees by its gap.
const STEPS: usize = 5000;
/// Pairs of steps and changes of the gradient that are kept.
const KEPT: usize = 20;
/// Share of the expected decrease that a step has to bring (Armijo).
const ENOUGH: f64 = 1e-4;
/// Most times that a step is halved.
const HALVINGS: usize = 60;
/// Rows of a product that one task computes.
const ROWS: usize = 64;

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// y += a x.
fn add(y: &mut [f64], a: f64, x: &[f64]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += a * x);
}

/// Features [n,d], each centred and of unit length. One without any spread becomes 0.
fn prepared(features: &[f32], d: usize) -> Vec<f64> {
    let mut x: Vec<f64> = features.iter().map(|v| f64::from(*v)).collect();
    for row in x.chunks_mut(d) {
        let mean = row.iter().sum::<f64>() / d as f64;
        row.iter_mut().for_each(|v| *v -= mean);
        let length = dot(row, row).sqrt();
        if length > 0.0 {
            row.iter_mut().for_each(|v| *v /= length);
        }
    }
    x
}

/// The objective of one data set.
struct Objective<'a> {
    x: &'a [f64],
    labels: &'a [u32],
    d: usize,
    classes: usize,
    l2: f64,
}

impl Objective<'_> {
    /// The value at the weights `w` [classes,d], and its gradient.
    fn at(&self, w: &[f64]) -> (f64, Vec<f64>) {
        let (n, d, classes) = (self.labels.len(), self.d, self.classes);
        let mut p = vec![0.0; n * classes];
        // Logits, then each class's probability less the one-hot label; a row's loss.
        let rows = p
            .par_chunks_mut(ROWS * classes)
            .zip(self.x.par_chunks(ROWS * d));
        let losses = rows
            .zip(self.labels.par_chunks(ROWS))
            .map(|((p, x), labels)| {
                let (lhs, rhs) = (
                    Mat {
                        data: x,
                        rs: d,
                        cs: 1,
                    },
                    Mat {
                        data: w,
                        rs: 1,
                        cs: d,
                    },
                );
                product(labels.len(), classes, d, 1.0, lhs, rhs, p, classes, false);
                let each = p.chunks_mut(classes).zip(labels);
                each.map(|(row, label)| {
                    let most = row.iter().copied().fold(f64::MIN, f64::max);
                    let own = row[*label as usize];
                    row.iter_mut().for_each(|v| *v = (*v - most).exp());
                    let sum: f64 = row.iter().sum();
                    row.iter_mut().for_each(|v| *v /= sum);
                    row[*label as usize] -= 1.0;
                    most + sum.ln() - own
                })
                .sum::<f64>()
            });
        let losses: Vec<f64> = losses.collect();
        let mut g = vec![0.0; classes * d];
        g.par_chunks_mut(ROWS * d).enumerate().for_each(|(at, g)| {
            let (lhs, rhs) = (
                Mat {
                    data: &p[at * ROWS..],
                    rs: 1,
                    cs: classes,
                },
                Mat {
                    data: self.x,
                    rs: d,
                    cs: 1,
                },
            );
            let scale = 1.0 / n as f64;
            product(g.len() / d, d, n, scale, lhs, rhs, g, d, false);
        });
        let penalty = self.l2 / n as f64;
        add(&mut g, penalty, w);
        let value = losses.iter().sum::<f64>() / n as f64 + 0.5 * penalty * dot(w, w);
        (value, g)
    }

    /// Upper bound of a value's distance from the least one, as a share of the value.
    fn gap(&self, value: f64, g: &[f64]) -> f64 {
        let curvature = self.l2 / self.labels.len() as f64;
        dot(g, g) / (2.0 * curvature) / value.max(f64::MIN_POSITIVE)
    }

    /// The weights at which the objective is least, the steps there, its value and gap.
    fn solve(&self) -> (Vec<f64>, usize, f64, f64) {
        let mut w = vec![0.0; self.classes * self.d];
        let (mut value, mut g) = self.at(&w);
        let mut pairs: VecDeque<(Vec<f64>, Vec<f64>)> = VecDeque::new();
        let mut steps = 0;
        while self.gap(value, &g) > GAP && steps < STEPS {
            let mut direction = newton(&g, &pairs);
            let mut slope = dot(&direction, &g);
            if slope >= 0.0 {
                // Rounding has the better of the pairs.
                pairs.clear();
                direction = g.iter().map(|v| -v).collect();
                slope = dot(&direction, &g);
            }
            let mut length = 1.0;
            let found = (0..HALVINGS).find_map(|_| {
                let mut to = w.clone();
                add(&mut to, length, &direction);
                let (v, g) = self.at(&to);
                let good = v <= value + ENOUGH * length * slope;
                length *= 0.5;
                good.then_some((to, v, g))
            });
            // No step goes down any more: the value's own rounding is reached.
            let Some((to, v, next)) = found else {
                break;
            };
            let moved: Vec<f64> = to.iter().zip(&w).map(|(a, b)| a - b).collect();
            let turned: Vec<f64> = next.iter().zip(&g).map(|(a, b)| a - b).collect();
            if dot(&moved, &turned) > 0.0 {
                pairs.push_back((moved, turned));
            }
            if pairs.len() > KEPT {
                pairs.pop_front();
            }
            (w, value, g) = (to, v, next);
            steps += 1;
        }
        let gap = self.gap(value, &g);
        (w, steps, value, gap)
    }
}

/// -H g, where H is what the pairs of steps and changes of the gradient say of the inverse Hessian (two loops).
fn newton(g: &[f64], pairs: &VecDeque<(Vec<f64>, Vec<f64>)>) -> Vec<f64> {
    let mut q: Vec<f64> = g.iter().map(|v| -v).collect();
    let mut shares = Vec::new();
    for (s, y) in pairs.iter().rev() {
        let share = dot(s, &q) / dot(s, y);
        add(&mut q, -share, y);
        shares.push(share);
    }
    let scale = match pairs.back() {
        Some((s, y)) => dot(s, y) / dot(y, y),
        None => 1.0 / dot(g, g).sqrt().max(f64::MIN_POSITIVE),
    };
    q.iter_mut().for_each(|v| *v *= scale);
    for ((s, y), share) in pairs.iter().zip(shares.iter().rev()) {
        let back = dot(y, &q) / dot(s, y);
        add(&mut q, share - back, s);
    }
    q
}

impl Logistic {
    /// The protocol in words, for features in words.
    pub(super) fn describe(&self, features: &str) -> String {
        format!(
            "logistic regression ({}): frozen {features}, each centred and of unit length, test transform, no bias, \
             L2 {} / images, L-BFGS until the objective is within {} % of its least",
            self.name,
            self.l2,
            100.0 * GAP
        )
    }

    /// Solves for the training features and tests the solution.
    ///
    /// # Errors
    /// No samples, a single class, a penalty of 0; features that are not finite.
    pub fn solve(&self, train: Labelled<'_>, test: Labelled<'_>, classes: usize) -> Result<Solved> {
        let n = train.labels.len();
        if n == 0 || classes < 2 || self.l2 <= 0.0 {
            return Err(DownstreamError::Request(
                "logistic regression needs labelled samples of at least two classes and a penalty above 0".into(),
            ));
        }
        let d = train.features.len() / n;
        let x = prepared(train.features, d);
        if x.iter().any(|v| !v.is_finite()) {
            return Err(DownstreamError::NonFinite(
                "the training images' features are not finite".into(),
            ));
        }
        let objective = Objective {
            x: &x,
            labels: train.labels,
            d,
            classes,
            l2: self.l2,
        };
        let (w, steps, loss, gap) = objective.solve();
        let w: Vec<f32> = w.iter().map(|v| *v as f32).collect();
        let seen = |x: Vec<f64>| -> Vec<f32> { x.iter().map(|v| *v as f32).collect() };
        let (x, y) = (seen(x), seen(prepared(test.features, d)));
        let of = |features, labels| Labelled { features, labels };
        Ok(Solved {
            found: Found::of(
                (&w, &vec![0.0; classes]),
                of(&x, train.labels),
                of(&y, test.labels),
                loss,
            ),
            steps,
            gap,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const D: usize = 6;

    fn data() -> (Vec<f32>, Vec<u32>) {
        let x = (0..60 * D).map(|i| ((i * 37 + i / D * 11) % 41) as f32 / 20.0 - 1.0);
        let labels = (0..60).map(|i| ((i * i + i / 7) % 3) as u32);
        (x.collect(), labels.collect())
    }

    fn solved(l2: f64, x: &[f32], labels: &[u32]) -> Solved {
        let all = Labelled {
            features: x,
            labels,
        };
        Logistic { l2, ..LGP }.solve(all, all, 3).unwrap()
    }

    /// PyTorch's L-BFGS with its strong Wolfe search, in f64, to a gradient of 2e-9, on the same features: the least
    /// objective and the accuracy, for two penalties.
    #[test]
    fn reaches_the_least_objective() {
        let (x, labels) = data();
        for (l2, least, top1) in RECORDED {
            let s = solved(l2, &x, &labels);
            let above = (s.found.loss - least) / least;
            assert!((-1e-9..=s.gap).contains(&above), "{s:?} {least}");
            assert!(s.gap <= GAP && s.steps > 3, "{s:?}");
            assert!((s.found.top1 - top1).abs() < 1e-9 && s.found.train_top1 == s.found.top1);
            assert_eq!(s, solved(l2, &x, &labels), "the same bits again");
        }
        // The control: another penalty has another solution.
        let other = solved(10.0, &x, &labels).found.loss;
        assert!((other - RECORDED[1].1).abs() > 1e-2);
    }

    const RECORDED: [(f64, f64, f64); 2] = [
        (0.00025, 1.0350536478209122, 41.66666666666667),
        (0.1, 1.0419658481391003, 41.66666666666667),
    ];

    /// The gradient is that of the value, by differences.
    #[test]
    fn the_gradient_is_that_of_the_value() {
        let (x, labels) = data();
        let x = prepared(&x, D);
        let o = Objective {
            x: &x,
            labels: &labels,
            d: D,
            classes: 3,
            l2: 0.3,
        };
        let w: Vec<f64> = (0..3 * D).map(|i| (i * 7 % 5) as f64 / 3.0 - 0.6).collect();
        let (_, g) = o.at(&w);
        for i in 0..w.len() {
            let moved = |by: f64| {
                let mut w = w.clone();
                w[i] += by;
                o.at(&w).0
            };
            let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!((slope - g[i]).abs() < 1e-9, "{i}: {slope} {}", g[i]);
        }
        assert!(g.iter().any(|v| v.abs() > 1e-3), "the control");
    }

    /// Scale and offset of a feature say nothing here, and classes that a plane separates are told apart.
    #[test]
    fn a_feature_counts_by_its_direction() {
        let (x, labels) = data();
        let scaled: Vec<f32> = x.iter().map(|v| 8.0 * v + 2.0).collect();
        let (a, b) = (solved(1e-2, &x, &labels), solved(1e-2, &scaled, &labels));
        assert!((a.found.loss - b.found.loss).abs() < 1e-5 * a.found.loss);
        let apart: Vec<f32> = (0..60 * D)
            .map(|i| x[i] * 0.1 + f32::from(u8::from(i % D == labels[i / D] as usize)))
            .collect();
        let s = solved(LGP.l2, &apart, &labels);
        assert!(s.gap <= GAP && s.found.top1 == 100.0, "{s:?}");
        assert!(a.found.top1 < 100.0, "the control");
        // No penalty, no solution.
        let all = Labelled {
            features: &x,
            labels: &labels,
        };
        assert!(Logistic { l2: 0.0, ..LGP }.solve(all, all, 3).is_err());
    }
}
