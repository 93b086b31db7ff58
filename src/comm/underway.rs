//! Means over the ranks that are begun while a rank still computes, and taken when it needs them.

use super::{Pending, Result, World};
use crate::reference::Scalar;
use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};

/// One of them: where its numbers belong, (place, count) each, and the numbers themselves, a [`Pending`] of them.
type Begun = (Vec<(usize, usize)>, Box<dyn Any + Send>);

/// Means under way, in the order in which they were begun, which is the same on every rank.
#[derive(Clone, Debug, Default)]
pub struct Underway(Arc<Mutex<Means>>);

#[derive(Debug, Default)]
struct Means {
    begun: Vec<Begun>,
    /// Memory of those that have ended, a vector of numbers each: new memory of such sizes costs as much as a copy.
    spare: Vec<Box<dyn Any + Send>>,
}

impl Underway {
    /// Begins the sum over the ranks of `pieces` times `share`: numbers, and the place each begins at.
    ///
    /// # Errors
    /// A fault of the ranks before.
    pub fn begin<T: Scalar>(
        &self,
        world: &World,
        (what, share): (&'static str, f64),
        pieces: &[(usize, &[T])],
    ) -> Result<()> {
        let places = pieces.iter().map(|(at, x)| (*at, x.len())).collect();
        let mut means = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let spare = means.spare.pop().and_then(|x| x.downcast::<Vec<T>>().ok());
        let mut x = spare.map_or_else(Vec::new, |x| *x);
        x.clear();
        for (_, piece) in pieces {
            x.extend_from_slice(piece);
        }
        let pending = world.begin_sum(what, x, share)?;
        means.begun.push((places, Box::new(pending)));
        Ok(())
    }

    /// Waits for all that were begun, and puts their numbers to their places.
    ///
    /// # Errors
    /// A rank that ends.
    pub fn end<T: Scalar>(&self, world: &World, into: &mut [T]) -> Result<()> {
        let mut means = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (places, pending) in std::mem::take(&mut means.begun) {
            let Ok(pending) = pending.downcast::<Pending<Vec<T>>>() else {
                unreachable!("an executor computes in one type");
            };
            let x = world.wait(*pending)?;
            let mut from = 0;
            for (at, count) in places {
                into[at..at + count].copy_from_slice(&x[from..from + count]);
                from += count;
            }
            // The first bucket is the first to be begun again.
            means.spare.insert(0, Box::new(x));
        }
        Ok(())
    }
}
