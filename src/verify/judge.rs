//! What was computed beside what a file stores: errors and bounds.

use super::VerifyError;
use crate::fixture::{Fixture, bad};
use crate::methods::loss::evaluate::Array;
use safetensors::Dtype;
use std::collections::BTreeSet;

/// What computes, which decides how near it has to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grade {
    /// The CPU twins in f64: numbers stored as F64 to 1e-10, those stored as F32 to 2e-7.
    Oracle,
    /// A device in f32: within 20 times what PyTorch's own f32 run errs (`float32_guide`), and no less than
    /// [`Quantity::floor`].
    Device,
}

/// What a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// A loss, a feature, any result of the forward pass.
    Value,
    /// A gradient, and what an optimiser makes of it.
    Gradient,
}

impl Quantity {
    /// The least bound of a device, which computes in f32: 84 and 168 roundings of 2^-23.
    pub fn floor(self) -> f64 {
        match self {
            Self::Value => 1e-5,
            Self::Gradient => 2e-5,
        }
    }
}

/// How an error is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Norm of the difference over the stored norm.
    Relative,
    /// Norm of what was computed, where all that is stored is zero.
    Norm,
    /// Largest difference.
    Largest,
    /// Number of entries that differ.
    Differing,
}

/// A quantity with its error and its bound.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    /// The stored tensor, or what was made of several.
    pub name: String,
    /// How the error is measured.
    pub measure: Measure,
    /// The error.
    pub error: f64,
    /// The largest error that passes.
    pub bound: f64,
}

impl Compared {
    /// Within its bound. A NaN is not.
    pub fn passed(&self) -> bool {
        self.error <= self.bound
    }

    /// The error and its bound in words.
    pub fn words(&self) -> String {
        let (error, bound) = (self.error, self.bound);
        match self.measure {
            Measure::Relative => format!("relative error {error:.2e} (bound {bound:.1e})"),
            Measure::Norm => format!("norm {error:.2e} where zeros are stored (bound {bound:.1e})"),
            Measure::Largest => format!("largest difference {error:.2e} (bound {bound:.1e})"),
            Measure::Differing => format!("{error} entries differ (none may)"),
        }
    }
}

/// What one executor makes of a file.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// The loss, of kinds that have one; the first step's of a network.
    pub loss: Option<f64>,
    /// Every quantity.
    pub compared: Vec<Compared>,
    /// What was left out or widened, and why; a line each.
    pub notes: Vec<String>,
}

impl Verified {
    /// The results of several files.
    ///
    /// # Errors
    /// A file of which nothing was compared.
    pub(super) fn of<'a>(judges: impl IntoIterator<Item = Judge<'a>>) -> Result<Self, VerifyError> {
        let mut all = Self::default();
        for judge in judges {
            let one = judge.finish()?;
            all.loss = all.loss.or(one.loss);
            all.compared.extend(one.compared);
            let new = one.notes.into_iter().filter(|n| !all.notes.contains(n));
            let new: Vec<String> = new.collect();
            all.notes.extend(new);
        }
        Ok(all)
    }
}

/// Norm of the difference over the norm of `want`; the norm of `got` where `want` is all zero.
pub(super) fn distance(got: &[f64], want: &[f64]) -> (Measure, f64) {
    let norm = want.iter().map(|b| b * b).sum::<f64>().sqrt();
    let difference: f64 = got.iter().zip(want).map(|(a, b)| (a - b) * (a - b)).sum();
    match norm > 0.0 {
        true => (Measure::Relative, difference.sqrt() / norm),
        false => (Measure::Norm, difference.sqrt()),
    }
}

/// Is it a bias of queries, keys and values together?
fn has_key_bias(name: &str) -> bool {
    name.ends_with("attn.qkv.bias")
}

/// The values of a tensor, but for the key third of a bias of queries, keys and values.
pub(super) fn without_key_bias(name: &str, v: &[f64]) -> Vec<f64> {
    let third = v.len() / 3;
    match has_key_bias(name) {
        true => [&v[..third], &v[2 * third..]].concat(),
        false => v.to_vec(),
    }
}

/// Compares with what a file stores, and keeps the results.
pub(super) struct Judge<'a> {
    fixture: &'a Fixture,
    /// What computes.
    pub grade: Grade,
    /// What stands before the names.
    label: &'static str,
    out: Verified,
    seen: BTreeSet<String>,
}

/// Words for the part of a gradient that no comparison reads.
const KEY_BIAS: &str = "left out: the key third [D:2D] of every attn.qkv.bias, whose gradient is zero but for rounding";

impl<'a> Judge<'a> {
    /// For the numbers of a file.
    pub fn new(fixture: &'a Fixture, grade: Grade) -> Self {
        Self {
            fixture,
            grade,
            label: "",
            out: Verified::default(),
            seen: BTreeSet::new(),
        }
    }

    /// The same with words before the names: of several files, which one it is.
    pub fn labelled(self, label: &'static str) -> Self {
        Self { label, ..self }
    }

    /// The bound of a tensor stored as `dtype`; `guide`: what PyTorch's f32 run errs. A file whose numbers are not
    /// those of the definition in f64 says by how much they may be off: `meta.float64_error`, relative.
    pub fn bound(&self, dtype: Dtype, quantity: Quantity, guide: f64) -> f64 {
        let own = self.fixture.meta["float64_error"].as_f64().unwrap_or(0.0);
        match (self.grade, dtype) {
            (Grade::Device, _) => (20.0 * guide).max(quantity.floor()).max(own),
            (Grade::Oracle, Dtype::F64) => own.max(1e-10),
            (Grade::Oracle, _) => own.max(2e-7),
        }
    }

    /// Adds a line on what was left out.
    pub fn note(&mut self, words: impl Into<String>) {
        let words = words.into();
        if !self.out.notes.contains(&words) {
            self.out.notes.push(words);
        }
    }

    /// Adds a quantity.
    pub fn add(&mut self, name: &str, (measure, error): (Measure, f64), bound: f64) {
        self.out.compared.push(Compared {
            name: format!("{}{name}", self.label),
            measure,
            error,
            bound,
        });
    }

    /// The loss that was computed.
    pub fn loss(&mut self, loss: f64) {
        self.out.loss.get_or_insert(loss);
    }

    /// Adds a count of entries that differ, of which there must be none.
    pub fn differing(&mut self, name: &str, count: usize) {
        self.add(name, (Measure::Differing, count as f64), 0.0);
    }

    /// Compares `got` with the stored `name`, of float32 or float64 and of the same shape.
    ///
    /// # Errors
    /// Not stored, of another shape or type.
    pub fn compare(
        &mut self,
        name: &str,
        got: &Array,
        quantity: Quantity,
        guide: f64,
    ) -> Result<(), VerifyError> {
        let dtype = self.fixture.stored(name)?.dtype;
        self.compare_within(name, got, quantity, self.bound(dtype, quantity, guide))
    }

    /// As [`Judge::compare`], within a given bound.
    ///
    /// # Errors
    /// Not stored, of another shape or type.
    pub fn compare_within(
        &mut self,
        name: &str,
        got: &Array,
        quantity: Quantity,
        bound: f64,
    ) -> Result<(), VerifyError> {
        let want = self.fixture.reals(name, &got.shape)?;
        self.seen.insert(name.to_string());
        match quantity {
            Quantity::Gradient if has_key_bias(name) => {
                self.note(KEY_BIAS);
                let [got, want] = [&got.values[..], want].map(|v| without_key_bias(name, v));
                self.add(name, distance(&got, &want), bound);
            }
            _ => self.add(name, distance(&got.values, want), bound),
        }
        Ok(())
    }

    /// Compares integers with the stored `name`, entry by entry.
    ///
    /// # Errors
    /// Not stored, of another shape or type.
    pub fn equal(&mut self, name: &str, shape: &[usize], got: &[u32]) -> Result<(), VerifyError> {
        let want = self.fixture.integers(name, shape)?;
        let differing = got.iter().zip(want).filter(|(a, b)| i64::from(**a) != **b);
        self.seen.insert(name.to_string());
        self.differing(name, differing.count());
        Ok(())
    }

    /// `name` has been read: it is an input, or was compared in another way.
    pub fn read(&mut self, name: impl Into<String>) {
        self.seen.insert(name.into());
    }

    /// The results. Stored tensors that nothing has read are named in a note.
    ///
    /// # Errors
    /// Nothing was compared.
    pub fn finish(mut self) -> Result<Verified, VerifyError> {
        if self.out.compared.is_empty() {
            return Err(bad("the file stores nothing to compare with").into());
        }
        let names = self.fixture.tensors.keys();
        let unread: Vec<&str> = names
            .filter(|n| !self.seen.contains(*n))
            .map(String::as_str)
            .collect();
        if !unread.is_empty() {
            let words = format!("in the file only, not compared: {}", unread.join(", "));
            self.out.notes.push(words);
        }
        Ok(self.out)
    }
}
