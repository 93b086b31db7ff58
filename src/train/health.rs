//! Signs of collapse that a finite loss hides: quantiles of similarities and temperatures, and the alarms made of them.

use crate::methods::loss::{Amcl, Pairs};
use crate::reference::Scalar;
use crate::run::event::{Alarm, Health, Histograms, Quantiles};

fn quantiles(mut v: Vec<f32>) -> Quantiles {
    v.sort_by(f32::total_cmp);
    [0.05, 0.5, 0.95].map(|q| {
        v.get(((v.len().max(1) - 1) as f64 * q).round() as usize)
            .copied()
            .unwrap_or(f32::NAN)
    })
}

/// Similarities or scores of a batch: [heads, rows, columns].
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Values.
    pub values: &'a [f32],
    /// Rows of a head.
    pub rows: usize,
    /// Columns of a head.
    pub columns: usize,
    /// Which are positive.
    pub pairs: Pairs,
}

impl Batch<'_> {
    /// Positive and negative pairs of each head.
    fn split(&self) -> Vec<(Vec<f32>, Vec<f32>)> {
        let (n, columns) = (self.rows, self.columns);
        self.values
            .chunks(n * columns)
            .map(|m| {
                let (mut pos, mut neg) = (Vec::with_capacity(n), Vec::with_capacity(m.len()));
                for (at, v) in m.iter().enumerate() {
                    let (i, j) = (at / columns, at % columns);
                    let positive = match self.pairs {
                        Pairs::Views if i == j => continue,
                        Pairs::Views => j == (i + n / 2) % n,
                        Pairs::FirstColumn => j == 0,
                        Pairs::All => true,
                        Pairs::Diagonal | Pairs::Keys => i == j,
                    };
                    if positive { pos.push(*v) } else { neg.push(*v) }
                }
                (pos, neg)
            })
            .collect()
    }

    /// Share of the anchors of all heads whose positive is as similar as any candidate; none where there are no anchors
    /// with candidates.
    fn positive_nearest(&self) -> Option<f32> {
        let compares = matches!(self.pairs, Pairs::Views | Pairs::FirstColumn | Pairs::Keys);
        let (n, columns) = (self.rows, self.columns);
        if !compares || columns < 2 || self.values.is_empty() {
            return None;
        }
        let rows = self.values.chunks(columns).enumerate();
        let nearest = rows.filter(|(at, row)| {
            let i = at % n;
            let (positive, itself) = match self.pairs {
                Pairs::Views => ((i + n / 2) % n, Some(i)),
                Pairs::Keys => (i, None),
                _ => (0, None),
            };
            let mut others = row.iter().enumerate().filter(|(j, _)| Some(*j) != itself);
            others.all(|(_, s)| *s <= row[positive])
        });
        Some(nearest.count() as f32 / (self.values.len() / columns) as f32)
    }

    /// Positive and negative pairs of all heads together; `negatives` as in [`Batch::histograms`].
    pub fn pooled(&self, negatives: Option<&[Vec<f32>]>) -> (Vec<f32>, Vec<f32>) {
        let (pos, neg): (Vec<_>, Vec<_>) = self.split().into_iter().unzip();
        (
            pos.concat(),
            negatives.map_or_else(|| neg.concat(), <[_]>::concat),
        )
    }

    /// Histograms of each head's positive and negative pairs; `negatives` are similarities of different images where
    /// the batch has no negative pairs.
    pub fn histograms(&self, negatives: Option<&[Vec<f32>]>) -> Vec<Histograms> {
        let shares = |v: &[f32]| {
            let mut bins = vec![0.0; BINS];
            for x in v.iter().filter(|x| x.is_finite()) {
                let [low, high] = Histograms::RANGE;
                let at = ((x - low) / (high - low) * BINS as f32) as usize;
                bins[at.min(BINS - 1)] += 1.0 / v.len() as f32;
            }
            if v.is_empty() { Vec::new() } else { bins }
        };
        self.split()
            .iter()
            .enumerate()
            .map(|(head, (pos, neg))| Histograms {
                pos: shares(pos),
                neg: shares(negatives.and_then(|s| s.get(head)).unwrap_or(neg)),
            })
            .collect()
    }
}

/// Bins of a histogram, of 0.04 each.
const BINS: usize = 50;

/// An alarm when the backbone's features have collapsed or are not finite (a deviation that is none); `deviation` as
/// [`crate::eval::spread::Spread::feature_std`] has it (1: spread over the sphere).
pub fn feature_alarm(deviation: f64) -> Option<Alarm> {
    if deviation.is_nan() {
        return Some(Alarm::FeaturesNotFinite);
    }
    (deviation < 0.1).then_some(Alarm::FeaturesAlike { deviation })
}

/// Under this spread (over the median) the temperatures of a head are one value; and the ends of epochs in a row at
/// which they must be: an epoch lies between two of them. Initial weights may give temperatures so close, and a batch
/// may by chance.
const ALIKE: (f32, usize) = (0.01, 2);

/// Ends of epochs in a row at which each head's temperatures were one value. A run that goes on counts anew.
#[derive(Clone, Debug, Default)]
pub struct AlikeEpochs(Vec<usize>);

impl AlikeEpochs {
    /// Counts an epoch. An alarm when some head's temperatures have been one value for a whole epoch; temperatures at
    /// their floor have an alarm of their own, which says more.
    pub fn count(&mut self, health: &Health, a: &Amcl) -> Option<Alarm> {
        self.0.resize(health.tau_spread.len(), 0);
        let mut found: Option<(usize, f32)> = None;
        for (head, (count, spread)) in self.0.iter_mut().zip(&health.tau_spread).enumerate() {
            *count = if *spread < ALIKE.0 { *count + 1 } else { 0 };
            if *count >= ALIKE.1 && found.is_none_or(|(_, least)| *spread < least) {
                found = Some((head, *spread));
            }
        }
        let (head, spread) = found.filter(|_| health.floor(a).is_none())?;
        let roles = [&health.tau_neg, &health.tau_pos];
        let mut medians = roles.iter().filter_map(|t| Some(t.get(head)?[1]));
        Some(Alarm::TemperaturesAlike {
            head: head + 1,
            spread,
            tau: medians.find(|t| t.is_finite()).unwrap_or(f32::NAN),
            epochs: self.0[head],
        })
    }
}

/// Share of dead anchors from which on an epoch counts for the alarm, and how many such epochs in a row raise it. At
/// 95 % an epoch has a twentieth of the gradient that its batch would give.
const DEAD: (f32, usize) = (0.95, 3);

/// Epochs in a row whose anchors were dead ([`Amcl::can_die`]). A run that goes on counts anew.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeadEpochs(usize);

impl DeadEpochs {
    /// Counts an epoch. `live`: its loss is another one than the one that can die. An alarm when it has been so for
    /// long.
    pub fn count(&mut self, health: &Health, live: bool) -> Option<Alarm> {
        let share = health
            .positive_nearest
            .filter(|share| !live && *share >= DEAD.0);
        self.0 = if share.is_some() { self.0 + 1 } else { 0 };
        let epochs = self.0;
        share
            .filter(|_| epochs >= DEAD.1)
            .map(|share| Alarm::AnchorsDead { share, epochs })
    }
}

/// Epochs behind the warm-up by which hidden pixels must be predicted better than in the first epoch.
const PATIENCE: usize = 3;
/// The share of the first epoch's error that must be gone by then. Initial weights predict worse than a constant does,
/// so any learning at all takes more than this off.
const GONE: f64 = 0.02;

/// An alarm when hidden pixels are predicted no better than in the run's `first` epoch, after so many `epochs`, the
/// first `warmup` of which had a learning rate that was still rising.
pub fn standstill(first: f64, now: f64, (epochs, warmup): (usize, usize)) -> Option<Alarm> {
    let still = now > (1.0 - GONE) * first;
    (still && epochs > warmup + PATIENCE).then_some(Alarm::StandsStill { first, now, epochs })
}

impl Health {
    /// Of a loss that compares no pairs.
    pub fn without_pairs() -> Self {
        Self {
            sim_pos: [f32::NAN; 3],
            sim_neg: [f32::NAN; 3],
            ..Self::default()
        }
    }

    /// From similarities, those of different images where the batch has no negative pairs, and, when temperatures
    /// adapt, scores.
    pub fn of(
        similarity: Batch<'_>,
        negatives: Option<&[Vec<f32>]>,
        score: Option<&[f32]>,
        a: &Amcl,
    ) -> Self {
        let (pos, neg) = similarity.pooled(negatives);
        let mut out = Self {
            sim_pos: quantiles(pos),
            sim_neg: quantiles(neg),
            positive_nearest: similarity.positive_nearest(),
            ..Self::default()
        };
        for (pos, neg) in score
            .map(|values| {
                Batch {
                    values,
                    ..similarity
                }
                .split()
            })
            .unwrap_or_default()
        {
            let tau = |v: Vec<f32>| -> Vec<f32> {
                let of = |r: f32| a.tau_min + a.range() / (1.0 + f64::from(r.at_most(80.0)).exp());
                v.into_iter().map(|r| of(r) as f32).collect()
            };
            let (pos, neg) = (tau(pos), tau(neg));
            let near = |t: &&f32| f64::from(**t) < 1.01 * a.tau_min;
            let at_floor = pos.iter().chain(&neg).filter(near).count();
            out.tau_at_floor
                .push(at_floor as f32 / (pos.len() + neg.len()).max(1) as f32);
            let (pos, neg) = (quantiles(pos), quantiles(neg));
            let (of_pos, of_neg) = a.roles();
            let adaptive = [(of_pos, pos), (of_neg, neg)];
            let adaptive = adaptive.iter().filter(|(on, q)| *on && q[1].is_finite());
            let adaptive: Vec<&Quantiles> = adaptive.map(|(_, q)| q).collect();
            let least = adaptive.iter().map(|q| q[0]).fold(f32::INFINITY, f32::min);
            let most = adaptive.iter().map(|q| q[2]).fold(0.0, f32::max);
            let median = adaptive.last().map_or(f32::NAN, |q| q[1]);
            out.tau_spread.push((most - least) / median);
            out.tau_pos.push(pos);
            out.tau_neg.push(neg);
        }
        out
    }

    /// An alarm when some head's temperatures lie at their floor.
    fn floor(&self, a: &Amcl) -> Option<Alarm> {
        // Without negative pairs, the positive ones tell.
        let judged = match self.tau_neg.iter().any(|t| t[1].is_finite()) {
            true => &self.tau_neg,
            false => &self.tau_pos,
        };
        let tau_min = a.tau_min;
        let mut medians = judged.iter().map(|t| t[1]).filter(|t| t.is_finite());
        medians
            .any(|t| t < 1e-3 || f64::from(t) - tau_min < 0.01 * tau_min)
            .then_some(Alarm::TemperatureAtFloor { tau_min })
    }

    /// What is wrong.
    pub fn alarms(&self, a: &Amcl, grad_norm: f32, running_median: f32) -> Vec<Alarm> {
        let mut v = Vec::new();
        let median = self.sim_neg[1];
        if median > 0.95 && median.is_finite() {
            v.push(Alarm::NegativesAlike { median });
        }
        v.extend(self.floor(a));
        if running_median > 0.0 && grad_norm > 100.0 * running_median {
            v.push(Alarm::Gradient {
                norm: grad_norm,
                median: running_median,
            });
        }
        v
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::loss::{Adaptive, Negatives};

    #[test]
    fn a_collapse_is_flagged_and_health_is_not() {
        let a = Amcl {
            tau_min: 1e-5,
            ..Amcl::default()
        };
        let n = 8;
        let views = |values| Batch {
            values,
            rows: n,
            columns: n,
            pairs: Pairs::Views,
        };
        let all = vec![0.99; n * n];
        let collapsed = Health::of(views(&all), None, Some(&vec![50.0; n * n]), &a);
        assert_eq!(collapsed.alarms(&a, 1e3, 1.0).len(), 3);
        assert_eq!(collapsed.tau_at_floor, [1.0]);
        let mut s = vec![0.1; n * n];
        (0..n).for_each(|i| s[i * n + (i + 4) % n] = 0.8);
        let well = Health::of(views(&s), None, Some(&vec![0.5; n * n]), &a);
        assert!(well.alarms(&a, 1.0, 1.0).is_empty());
        assert_eq!(well.tau_at_floor, [0.0]);
        assert_eq!((well.sim_pos[1], well.sim_neg[1]), (0.8, 0.1));
        let names: Vec<String> = well.medians().into_iter().map(|m| m.0).collect();
        assert_eq!(names.len(), 6);
        assert_eq!(
            names[4..],
            ["tau_spread/head_1", "anchors/positive_nearest"]
        );
        assert_eq!(names[2], "tau_median/positive_head_1");
        let h = &views(&s).histograms(None)[0];
        let at = |v: &[f32]| v.iter().position(|x| *x > 0.9);
        // Bins of 0.04 from -1: 0.8 lies in number 45 (or rounds down to 44), 0.1 in 27.
        assert!(at(&h.pos).is_some_and(|b| b == 44 || b == 45) && at(&h.neg) == Some(27));
    }

    /// Temperatures of one value for an epoch, and the controls: at the end of one epoch alone, again after an epoch
    /// between, one head of two, apart by a little more than 1 %, of a role that does not adapt, at the floor.
    #[test]
    fn temperatures_that_are_one_value_are_told_after_an_epoch() {
        let a = Amcl::default();
        let (n, s) = (4, [0.1; 32]);
        // Scores of a head about 1, with this much between its candidates; positives at 1.
        let head = |by: f32| -> Vec<f32> {
            let of = |i: usize| if i.is_multiple_of(2) { 1.0 + by } else { 1.0 };
            (0..n * n)
                .map(|at| {
                    if at % n == (at / n + 2) % n {
                        1.0
                    } else {
                        of(at)
                    }
                })
                .collect()
        };
        let of = |a: &Amcl, heads: &[f32]| {
            let score: Vec<f32> = heads.iter().flat_map(|by| head(*by)).collect();
            let batch = Batch {
                values: &s[..score.len()],
                rows: n,
                columns: n,
                pairs: Pairs::Views,
            };
            Health::of(batch, None, Some(&score), a)
        };
        let told = |a: &Amcl, epochs: &[&Health]| -> Vec<Alarm> {
            let mut count = AlikeEpochs::default();
            epochs.iter().filter_map(|h| count.count(h, a)).collect()
        };
        // dtau/dr = -iota sigmoid(r) sigmoid(-r) is 0.383 at r = 1, where tau is 0.574: scores that are .01 apart
        // make temperatures .67 % apart, those .02 apart 1.3 %.
        let (alike, apart) = (of(&a, &[0.01, 0.3]), of(&a, &[0.02, 0.3]));
        assert!((alike.tau_spread[0] - 0.0067).abs() < 2e-4, "{alike:?}");
        assert!((apart.tau_spread[0] - 0.0134).abs() < 4e-4, "{apart:?}");
        let alarms = told(&a, &[&alike; 3]);
        let (told_of, epochs): (Vec<usize>, Vec<usize>) = alarms
            .iter()
            .map(|alarm| match alarm {
                Alarm::TemperaturesAlike { head, epochs, .. } => (*head, *epochs),
                other => panic!("{other}"),
            })
            .unzip();
        assert_eq!((told_of, epochs), (vec![1, 1], vec![2, 3]));
        let text = alarms[0].to_string();
        assert!(
            text.contains("temperatures no longer adapt: those of head 1 lie within 0.67 %"),
            "{text}"
        );
        assert!(told(&a, &[&alike]).is_empty());
        assert!(told(&a, &[&alike, &apart, &alike]).is_empty());
        assert!(told(&a, &[&apart; 3]).is_empty());
        // Candidates lie apart, but only the positives' temperatures adapt: those are one value.
        let positives = Amcl {
            adaptive: Adaptive::PositiveOnly,
            ..a
        };
        let both = of(&a, &[0.3]);
        assert!(told(&a, &[&both; 2]).is_empty());
        assert_eq!(
            told(
                &positives,
                &[&of(&positives, &[0.3]), &of(&positives, &[0.3])]
            )
            .len(),
            1
        );
        // At the floor one alarm is enough.
        let floor = of(&a, &[79.0]);
        let all = Health {
            tau_neg: vec![[0.05; 3]],
            tau_spread: vec![0.0],
            ..floor
        };
        assert!(told(&a, &[&all; 3]).is_empty());
        assert_eq!(all.alarms(&a, 1.0, 1.0).len(), 1);
    }

    /// The max form with the positive among the candidates, whose anchors have their positive for their nearest
    /// candidate, in three epochs in a row; the controls are the other forms, and one live epoch between.
    #[test]
    fn dead_anchors_are_counted_and_told_when_they_stay() {
        let (n, a) = (4, Amcl::default());
        fn keys(values: &[f32]) -> Batch<'_> {
            Batch {
                values,
                rows: 4,
                columns: 4,
                pairs: Pairs::Keys,
            }
        }
        let mut near = vec![0.1; n * n];
        (0..n).for_each(|i| near[i * n + i] = 0.8);
        let mut half = near.clone();
        (half[1], half[n]) = (0.9, 0.9);
        let of = |values: &[f32]| Health::of(keys(values), None, None, &a);
        let (dead, live) = (of(&near), of(&half));
        assert_eq!(dead.positive_nearest, Some(1.0));
        assert_eq!(live.positive_nearest, Some(0.5));
        assert_eq!(of(&vec![0.3; n * n]).positive_nearest, Some(1.0), "ties");
        let channels = Batch {
            pairs: Pairs::Diagonal,
            ..keys(&near)
        };
        assert_eq!(channels.positive_nearest(), None);
        // Rows 0 and 1 are view 1: the diagonal is no candidate.
        let views = [
            9.0, 0.1, 0.8, 0.2, 0.1, 9.0, 0.2, 0.1, 0.8, 0.2, 9.0, 0.1, 0.2, 0.8, 0.1, 9.0,
        ];
        let views = Batch {
            pairs: Pairs::Views,
            ..keys(&views)
        };
        assert_eq!(views.positive_nearest(), Some(0.75));

        let alarms = |epochs: &[&Health], live| {
            let mut count = DeadEpochs::default();
            let all = epochs.iter().filter_map(|h| count.count(h, live));
            all.collect::<Vec<_>>()
        };
        let told = alarms(&[&dead; 4], false);
        let alarm = |epochs| Alarm::AnchorsDead { share: 1.0, epochs };
        assert_eq!(told, [alarm(3), alarm(4)]);
        assert!(
            told[0]
                .to_string()
                .contains("100 % of the anchors are dead")
        );
        assert!(alarms(&[&dead; 4], true).is_empty());
        assert!(alarms(&[&dead, &dead, &live, &dead, &dead], false).is_empty());
        let max = Amcl {
            negatives: Negatives::Max,
            ..a
        };
        let without = Amcl {
            include_positive: false,
            ..max
        };
        assert_eq!([a, max, without].map(|a| a.can_die()), [false, true, false]);
    }

    #[test]
    fn a_loss_that_stands_still_is_flagged_after_the_warm_up() {
        assert!(standstill(1.2, 1.19, (4, 0)).is_some());
        assert!(
            standstill(1.2, 3.0, (9, 2)).is_some(),
            "worse than at first"
        );
        assert_eq!(standstill(1.2, 1.1, (4, 0)), None, "it falls");
        assert_eq!(standstill(1.2, 1.19, (3, 0)), None, "too early");
        assert_eq!(standstill(1.2, 1.19, (43, 40)), None, "still warming up");
        assert_eq!(
            standstill(f64::NAN, 1.0, (9, 0)),
            None,
            "a first epoch of skipped steps"
        );
    }

    #[test]
    fn every_layout_knows_its_positives() {
        let values = [1.0, 2.0, 3.0, 4.0];
        let positive = |pairs, rows, columns| {
            Batch {
                values: &values,
                rows,
                columns,
                pairs,
            }
            .split()
            .remove(0)
        };
        assert_eq!(positive(Pairs::Views, 2, 2), (vec![2.0, 3.0], vec![]));
        assert_eq!(
            positive(Pairs::FirstColumn, 2, 2),
            (vec![1.0, 3.0], vec![2.0, 4.0])
        );
        assert_eq!(
            positive(Pairs::Diagonal, 2, 2),
            (vec![1.0, 4.0], vec![2.0, 3.0])
        );
        assert_eq!(positive(Pairs::All, 4, 1).0.len(), 4);
    }
}
