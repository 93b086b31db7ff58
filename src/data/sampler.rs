//! The order of samples: a permutation per epoch that depends on seed and epoch alone, so that a resumed run needs no
//! sampler state.

use crate::reference::philox::{Purpose, Stream};

/// A random permutation of 0..n (Fisher-Yates) for one epoch.
pub fn permutation(n: usize, seed: u64, epoch: u32) -> Vec<u32> {
    let mut order: Vec<u32> = (0..n as u32).collect();
    let mut stream = Stream::new(seed, epoch, 0, Purpose::Shuffle);
    for i in (1..n).rev() {
        order.swap(i, stream.below(i + 1));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::permutation;

    #[test]
    fn is_a_permutation_and_differs_between_epochs() {
        let a = permutation(100, 1, 0);
        let mut sorted = a.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<u32>>());
        assert_eq!(a, permutation(100, 1, 0));
        assert_ne!(a, permutation(100, 1, 1));
        assert_ne!(a, permutation(100, 2, 0));
    }
}
