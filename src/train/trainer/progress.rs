//! What the steps of an epoch add up to.

use crate::run::event::{Step, Term};
use std::time::{Duration, Instant};

/// The sums, and when they began.
pub(super) struct Progress {
    /// When the epoch began or went on, and the batch it began at.
    pub(super) begin: Instant,
    pub(super) first: usize,
    /// How long the run had waited for images by then.
    pub(super) waited: Duration,
    /// How long it had waited for other ranks, and exchanged with them.
    pub(super) exchanged: [Duration; 2],
    /// Sum of the losses of all steps but those that mixed precision skipped.
    pub(super) loss: f64,
    /// Sums of its terms over the same steps.
    pub(super) terms: Vec<Term<f64>>,
    /// How many they are.
    pub(super) steps: usize,
}

impl Progress {
    pub(super) fn new(first: usize, waited: Duration, exchanged: [Duration; 2]) -> Self {
        Self {
            waited,
            exchanged,
            begin: Instant::now(),
            first,
            loss: 0.0,
            terms: Vec::new(),
            steps: 0,
        }
    }

    /// Adds a step that was not skipped.
    pub(super) fn add(&mut self, step: &Step) {
        self.steps += 1;
        self.loss += f64::from(step.loss);
        if self.terms.is_empty() {
            self.terms = step.terms.iter().map(|(name, _)| (*name, 0.0)).collect();
        }
        for (sum, (_, v)) in self.terms.iter_mut().zip(&step.terms) {
            sum.1 += f64::from(*v);
        }
    }

    /// Mean loss and terms; not a number where every step was skipped.
    pub(super) fn mean(&self) -> (f64, Vec<Term<f64>>) {
        let steps = self.steps as f64;
        let terms = self.terms.iter().map(|(name, sum)| (*name, sum / steps));
        (self.loss / steps, terms.collect())
    }
}
