//! Twin of `shaders/barlow_loss.wgsl`.

use super::Scalar;
use super::elementwise::{Work, sum_in_lanes, vectorized_work};
use super::scratch;
use super::temperature::Temperature;
use rayon::prelude::*;

/// What the terms are made with.
#[derive(Clone, Copy, Debug)]
pub struct Form<T> {
    /// Bounds of the temperature and weight of its regulariser.
    pub temperature: Temperature<T>,
    /// Channels.
    pub d: usize,
    /// Weight of the elements off the diagonal.
    pub lambda: T,
    /// Whose temperature comes from scores: on the diagonal, off it.
    pub adaptive: [bool; 2],
    /// The temperatures where it does not, without Omega.
    pub constant: [T; 2],
}

impl<T: Scalar> Form<T> {
    /// The temperature of an element, and its score if that is where it comes from.
    #[inline(always)]
    fn tau(&self, score: Option<T>, diagonal: bool) -> (T, Option<T>) {
        let role = usize::from(!diagonal);
        let score = score.filter(|_| self.adaptive[role]);
        let tau = score.map_or(self.constant[role], |r| self.temperature.of(r));
        (tau, score)
    }

    /// The term of an element of value `v`.
    #[inline(always)]
    pub fn term(&self, v: T, score: Option<T>, diagonal: bool) -> T {
        let t = &self.temperature;
        let (tau, score) = self.tau(score, diagonal);
        let reg = score.map_or(T::zero(), |_| t.beta * t.omega(tau));
        if diagonal {
            let on = T::one() - v / tau;
            on * on + reg
        } else {
            self.lambda * v * v / tau - reg
        }
    }

    /// The term's derivatives by the value and by the score (0 where the temperature is constant).
    #[inline(always)]
    pub fn slopes(&self, v: T, score: Option<T>, diagonal: bool) -> (T, T) {
        let (t, two) = (&self.temperature, T::of(2.0));
        let (tau, score) = self.tau(score, diagonal);
        let (dv, dtau) = if diagonal {
            let on = T::one() - v / tau;
            (
                -two * on / tau,
                two * on * v / (tau * tau) + t.beta * t.omega_slope(tau),
            )
        } else {
            (
                two * self.lambda * v / tau,
                -(self.lambda * v * v / (tau * tau) + t.beta * t.omega_slope(tau)),
            )
        };
        (dv, score.map_or(T::zero(), |r| dtau * t.slope(r)))
    }
}

/// A row: the form, its correlations and scores, its column on the diagonal, memory for its terms.
struct Row<'a, T>(&'a Form<T>, &'a [T], Option<&'a [T]>, usize, &'a mut [T]);

impl<T: Scalar> Work for Row<'_, T> {
    type Output = T;
    #[inline(always)]
    fn call(self) -> T {
        row_sum(self)
    }
}

/// The sum of a row's terms: all as if they lay off the diagonal, without a branch; then the one that does not.
#[inline(always)]
fn row_sum<T: Scalar>(Row(f, k, scores, diagonal, terms): Row<'_, T>) -> T {
    match scores {
        Some(r) => {
            for ((term, k), r) in terms.iter_mut().zip(k).zip(r) {
                *term = f.term(*k, Some(*r), false);
            }
        }
        None => {
            for (term, k) in terms.iter_mut().zip(k) {
                *term = f.term(*k, None, false);
            }
        }
    }
    terms[diagonal] = f.term(k[diagonal], scores.map(|r| r[diagonal]), true);
    sum_in_lanes(terms)
}

/// Terms of each row of the cross-correlations k [rows,d], summed; `scores` alike give the temperatures.
pub fn barlow_loss<T: Scalar>(f: &Form<T>, k: &[T], scores: Option<&[T]>, loss: &mut [T]) {
    let d = f.d;
    loss.par_iter_mut().enumerate().for_each(|(row, loss)| {
        let of_row = row * d..(row + 1) * d;
        let scores = scores.map(|r| &r[of_row.clone()]);
        let mut terms = scratch::local(d);
        *loss = vectorized_work(Row(f, &k[of_row], scores, row % d, &mut terms[..]));
    });
}
