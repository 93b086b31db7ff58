//! Twin of `shaders/amcl_loss.wgsl`.

use super::Scalar;
use super::elementwise::{Work, vectorized_work};
use super::log_sum_exp::log_sum_exp_in_place;
use super::scratch;
use super::temperature::Temperature;
use super::top_k::Candidates;
use rayon::prelude::*;

/// Everything that shapes the loss; see `shaders/amcl_loss.wgsl` for the formulas.
#[derive(Clone, Copy, Debug)]
pub struct Form<T> {
    /// Candidates of an anchor.
    pub candidates: Candidates,
    /// Columns.
    pub n: usize,
    /// Heads of the scores: as many as of the similarities, or 1.
    pub score_heads: usize,
    /// Log-sum-exp over all candidates, else the selected ones' mean.
    pub softmax: bool,
    /// Regulariser of the selected: sum of log tau + 1/tau instead of the mean of Omega.
    pub official_sum: bool,
    /// The positive's temperature comes from the scores.
    pub adaptive_pos: bool,
    /// The candidates' temperatures come from the scores.
    pub adaptive_neg: bool,
    /// Bounds of the temperature, weight of Omega.
    pub temperature: Temperature<T>,
    /// Temperature of a role that is not adaptive.
    pub tau_const: T,
}

/// Selection of top-k rows: thresholds and their columns.
pub type Selection<'a, T> = Option<(&'a [T], &'a [u32])>;

/// That of one row.
pub type Threshold<T> = Option<(T, u32)>;

/// The threshold of row `row`.
pub fn threshold<T: Copy>(selection: Selection<'_, T>, row: usize) -> Threshold<T> {
    selection.map(|(value, index)| (value[row], index[row]))
}

impl<T: Scalar> Form<T> {
    /// Row of the scores that belongs to row `row` of the similarities.
    pub fn score_row(&self, row: usize) -> usize {
        let a = self.candidates.anchors;
        (row / a).min(self.score_heads - 1) * a + row % a
    }
    /// Temperature of column j in a row of scores, for a role.
    #[inline(always)]
    pub fn tau(&self, adaptive: bool, scores: Option<&[T]>, j: usize) -> T {
        match scores {
            Some(r) if adaptive => self.temperature.of(r[j]),
            _ => self.tau_const,
        }
    }
    /// Anchor i's loss and its log-sum-exp or 1/k, from its row of similarities and of scores and its threshold.
    pub fn row(&self, i: usize, s: &[T], scores: Option<&[T]>, limit: Threshold<T>) -> (T, T) {
        let (term, norm) = match self.softmax {
            true => self.softmax_term(i, s, scores),
            false => self.selected_term(i, s, scores, limit),
        };
        (self.positive_term(i, s, scores) + term, norm)
    }
    /// The log-sum-exp over the candidates, which is their term and the norm.
    fn softmax_term(&self, i: usize, s: &[T], scores: Option<&[T]>) -> (T, T) {
        let mut logits = scratch::local(self.n);
        let norm = vectorized_work(Anchor(self, i, s, scores, &mut logits[..]));
        (norm, norm)
    }
    /// The term of the selected candidates, and one over their number.
    fn selected_term(
        &self,
        i: usize,
        s: &[T],
        scores: Option<&[T]>,
        limit: Threshold<T>,
    ) -> (T, T) {
        let (mut term, mut reg, mut k) = (T::zero(), T::zero(), T::zero());
        let candidates = (0..self.n).filter(|j| self.candidates.contains(i, *j));
        for j in candidates.filter(|j| self.selected(limit, *j, s[*j])) {
            let t = self.tau(self.adaptive_neg, scores, j);
            term += s[j] / t;
            reg += match self.official_sum {
                true => t.ln() + T::one() / t,
                false => self.temperature.omega(t),
            };
            k += T::one();
        }
        let reg = if self.official_sum { reg } else { reg / k };
        (term / k - self.temperature.beta * reg, T::one() / k)
    }
    /// The positive's part of anchor i's loss.
    fn positive_term(&self, i: usize, s: &[T], scores: Option<&[T]>) -> T {
        let pos = self.candidates.positive(i);
        let tau = self.tau(self.adaptive_pos, scores, pos);
        self.temperature.beta * self.temperature.omega(tau) - s[pos] / tau
    }
    /// Is column j, of similarity s, selected? (`shaders/lib/weights.wgsl`)
    fn selected(&self, limit: Threshold<T>, j: usize, s: T) -> bool {
        limit.is_some_and(|(value, index)| {
            let index = index as usize;
            s.is_nan() || s > value || j == index || s == value && j < index
        })
    }
    /// Weight of a candidate's s/tau in its anchor's loss, and its share of Omega's slope there
    /// (`shaders/lib/weights.wgsl`).
    #[inline(always)]
    pub fn weights(&self, j: usize, s: T, tau: T, norm: T, limit: Threshold<T>) -> (T, T) {
        let t = &self.temperature;
        if self.softmax {
            let w = (s / tau - t.beta * t.omega(tau) - norm).exp_of_many();
            (w, w * t.omega_slope(tau))
        } else if !self.selected(limit, j, s) {
            (T::zero(), T::zero())
        } else if self.official_sum {
            (norm, (T::one() - T::one() / tau) / tau)
        } else {
            (norm, norm * t.omega_slope(tau))
        }
    }
}

/// An anchor: the form, its number, similarities, scores, memory for its logits.
struct Anchor<'a, T>(&'a Form<T>, usize, &'a [T], Option<&'a [T]>, &'a mut [T]);

impl<T: Scalar> Work for Anchor<'_, T> {
    type Output = T;
    #[inline(always)]
    fn call(self) -> T {
        norm(self)
    }
}

/// Log-sum-exp over the candidates of an anchor.
#[inline(always)]
fn norm<T: Scalar>(Anchor(f, i, s, scores, logits): Anchor<'_, T>) -> T {
    let t = &f.temperature;
    let all = logits.iter_mut().zip(s);
    match scores.filter(|_| f.adaptive_neg) {
        Some(r) => {
            for ((logit, s), r) in all.zip(r) {
                let tau = t.of(*r);
                *logit = *s / tau - t.beta * t.omega(tau);
            }
        }
        None => {
            let (tau, reg) = (f.tau_const, t.beta * t.omega(f.tau_const));
            for (logit, s) in all {
                *logit = *s / tau - reg;
            }
        }
    }
    // Computed with the others, so that there is no branch.
    for j in f.candidates.excluded(i) {
        logits[j] = T::neg_infinity();
    }
    log_sum_exp_in_place(logits)
}

/// `loss` and `norm` [heads*anchors] from s [heads*anchors, n] and the scores.
pub fn amcl_loss<T: Scalar>(
    f: &Form<T>,
    s: &[T],
    scores: Option<&[T]>,
    selection: Selection<'_, T>,
    loss: &mut [T],
    norm: &mut [T],
) {
    let (c, n) = (&f.candidates, f.n);
    loss.par_iter_mut()
        .zip(norm)
        .zip(s.par_chunks(n))
        .enumerate()
        .for_each(|(row, ((loss, norm), s))| {
            let scores = scores.map(|r| &r[f.score_row(row) * n..]);
            (*loss, *norm) = f.row(row % c.anchors, s, scores, threshold(selection, row));
        });
}
