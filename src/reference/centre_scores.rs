//! Twin of `shaders/centre_scores.wgsl`.

use super::Scalar;

/// Shape of the scores.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Anchors a head.
    pub a: usize,
    /// Columns.
    pub n: usize,
    /// The diagonal is no pair.
    pub square: bool,
}

impl Shape {
    /// Is element `at` of a head a pair?
    pub fn counts(&self, at: usize) -> bool {
        !self.square || at / self.n != at % self.n
    }
    /// Pairs of a head.
    pub fn pairs(&self) -> usize {
        self.a * self.n - if self.square { self.a } else { 0 }
    }
}

/// `y = gain (x - mean_c) + k`, mean over the pairs of each head.
pub fn centre_scores<T: Scalar>(f: &Shape, gain: T, k: T, x: &[T], y: &mut [T], mean: &mut [T]) {
    let head = f.a * f.n;
    for ((x, y), mean) in x.chunks(head).zip(y.chunks_mut(head)).zip(mean) {
        let sum: T = (0..head).filter(|at| f.counts(*at)).map(|at| x[at]).sum();
        *mean = sum / T::of(f.pairs() as f64);
        y.iter_mut()
            .zip(x)
            .for_each(|(y, x)| *y = gain * (*x - *mean) + k);
    }
}
