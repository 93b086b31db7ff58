//! Twin of `shaders/enqueue.wgsl`.

use super::Scalar;

/// The place of a call's first key: (call b) mod k.
pub fn first(call: u64, b: usize, k: usize) -> usize {
    ((call % k as u64) * b as u64 % k as u64) as usize
}

/// Keys [c,b,d] into the queue [c,k,d] from place `first` on, round and round.
pub fn enqueue<T: Scalar>([b, k, d]: [usize; 3], first: usize, keys: &[T], queue: &mut [T]) {
    for (keys, queue) in keys.chunks(b * d).zip(queue.chunks_mut(k * d)) {
        for (i, key) in keys.chunks(d).enumerate() {
            let place = (first + i) % k;
            queue[place * d..(place + 1) * d].copy_from_slice(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten calls of three keys into a queue of seven: the queue holds the last seven, each at its number modulo seven.
    #[test]
    fn the_oldest_give_way() {
        let mut queue = vec![-1.0; 7];
        for call in 0..10u64 {
            let keys: Vec<f64> = (0..3).map(|i| (call * 3 + i) as f64).collect();
            let at = first(call, 3, 7);
            enqueue([3, 7, 1], at, &keys, &mut queue);
        }
        for number in 23..30 {
            assert_eq!(queue[number % 7], number as f64);
        }
    }
}
