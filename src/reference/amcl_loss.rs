//! Twin of `shaders/amcl_loss.wgsl`.

use super::Scalar;
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

impl<T: Scalar> Form<T> {
    /// Row of the scores that belongs to row `row` of the similarities.
    pub fn score_row(&self, row: usize) -> usize {
        let a = self.candidates.anchors;
        (row / a).min(self.score_heads - 1) * a + row % a
    }
    /// Temperature of column j in a row of scores, for a role.
    pub fn tau(&self, adaptive: bool, scores: Option<&[T]>, j: usize) -> T {
        match scores {
            Some(r) if adaptive => self.temperature.of(r[j]),
            _ => self.tau_const,
        }
    }
    /// The softmax form's loss and log-sum-exp of anchor i, from its row of similarities and of scores.
    pub fn softmax_row(&self, i: usize, s: &[T], scores: Option<&[T]>) -> (T, T) {
        let (c, t) = (&self.candidates, &self.temperature);
        let logit = |j: usize| {
            let tau = self.tau(self.adaptive_neg, scores, j);
            s[j] / tau - t.beta * t.omega(tau)
        };
        let mut memory = scratch::local(self.n);
        let mut count = 0;
        for j in (0..self.n).filter(|j| c.contains(i, *j)) {
            memory[count] = logit(j);
            count += 1;
        }
        let logits = &memory[..count];
        let m = logits.iter().copied().fold(T::neg_infinity(), T::max);
        let norm = m + logits.iter().map(|v| (*v - m).exp()).sum::<T>().ln();
        (self.positive_term(i, s, scores) + norm, norm)
    }
    /// The positive's part of anchor i's loss.
    fn positive_term(&self, i: usize, s: &[T], scores: Option<&[T]>) -> T {
        let pos = self.candidates.positive(i);
        let tau = self.tau(self.adaptive_pos, scores, pos);
        self.temperature.beta * self.temperature.omega(tau) - s[pos] / tau
    }
    /// Is column j selected in row `row`?
    pub fn selected(&self, selection: Selection<'_, T>, row: usize, j: usize, s: T) -> bool {
        selection.is_some_and(|(value, index)| {
            s > value[row] || s == value[row] && j <= index[row] as usize
        })
    }
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
            let i = row % c.anchors;
            let scores = scores.map(|r| &r[f.score_row(row) * n..]);
            if f.softmax {
                (*loss, *norm) = f.softmax_row(i, s, scores);
            } else {
                let (mut term, mut reg, mut k) = (T::zero(), T::zero(), T::zero());
                for j in
                    (0..n).filter(|j| c.contains(i, *j) && f.selected(selection, row, *j, s[*j]))
                {
                    let t = f.tau(f.adaptive_neg, scores, j);
                    term += s[j] / t;
                    reg += if f.official_sum {
                        t.ln() + T::one() / t
                    } else {
                        f.temperature.omega(t)
                    };
                    k += T::one();
                }
                *norm = T::one() / k;
                *loss = f.positive_term(i, s, scores) + term / k
                    - f.temperature.beta * if f.official_sum { reg } else { reg / k };
            }
        });
}
