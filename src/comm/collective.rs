//! Exchanges of all ranks. A sum of f32 or f64 is made by an owner: each rank owns a piece of the numbers, gets all
//! ranks' values of it, adds them up by rank from 0, and sends the sum to all. So the order of a sum depends on nothing
//! but the ranks' numbers, and 2 (R - 1) / R of the bytes leave each rank, as in a ring.

use super::{Call, Comm, CommError, Result};
use bytemuck::Pod;
use std::cell::RefCell;
use std::ops::{Add, Mul, Range};

/// Numbers of a piece are a multiple of this, so that pieces begin at whole cache lines.
const UNIT: usize = 16;

/// The piece of `n` numbers that `rank` of `ranks` owns.
pub fn piece(n: usize, rank: usize, ranks: usize) -> Range<usize> {
    let each = n.div_ceil(ranks).next_multiple_of(UNIT);
    (rank * each).min(n)..((rank + 1) * each).min(n)
}

/// Cuts a slice into consecutive ones of these lengths.
fn cut<T>(mut all: &mut [T], lengths: impl Iterator<Item = usize>) -> Vec<&mut [T]> {
    let mut out = Vec::new();
    for n in lengths {
        let (one, rest) = all.split_at_mut(n);
        out.push(one);
        all = rest;
    }
    out
}

/// All ranks' numbers, of so many each, in the order of the ranks.
///
/// # Errors
/// As [`Comm::exchange`].
pub fn all_gather<T: Pod>(
    comm: &mut dyn Comm,
    call: Call,
    mine: &[T],
    (all, lengths): (&mut [T], &[usize]),
) -> Result<()> {
    let out: Vec<&[u8]> = vec![bytemuck::cast_slice(mine); comm.ranks()];
    let bytes = bytemuck::cast_slice_mut(all);
    let mut into = cut(bytes, lengths.iter().map(|n| n * size_of::<T>()));
    comm.exchange(call, &out, &mut into)
}

/// All ranks' bytes, of any count each.
///
/// # Errors
/// As [`Comm::exchange`].
pub fn all_gather_bytes(comm: &mut dyn Comm, call: Call, mine: &[u8]) -> Result<Vec<Vec<u8>>> {
    let ranks = comm.ranks();
    let mut lengths = vec![0u64; ranks];
    let of_each = (&mut lengths[..], &vec![1; ranks][..]);
    all_gather(comm, call, &[mine.len() as u64], of_each)?;
    let mut all: Vec<Vec<u8>> = lengths.iter().map(|n| vec![0; *n as usize]).collect();
    let out = vec![mine; comm.ranks()];
    let mut into: Vec<&mut [u8]> = all.iter_mut().map(Vec::as_mut_slice).collect();
    comm.exchange(call, &out, &mut into)?;
    Ok(all)
}

/// Numbers that are added up at once: they stay in a core's nearest cache.
const BLOCK: usize = 2048;

/// The sum, by rank from 0, of `factor` times all ranks' values of one piece: this rank's own are `own`, which becomes
/// the sum; those of the others come one rank after the other. Each product is rounded before it is added.
fn add_up<T: Pod + Add<Output = T> + Mul<Output = T>>(
    own: &mut [T],
    others: &[T],
    rank: usize,
    factor: T,
) {
    let n = own.len().max(1);
    let mut sum = [factor; BLOCK];
    for (at, own) in own.chunks_mut(BLOCK).enumerate() {
        let sum = &mut sum[..own.len()];
        let from = at * BLOCK;
        let of_others: Vec<&[T]> = others
            .chunks_exact(n)
            .map(|x| &x[from..from + own.len()])
            .collect();
        let (before, after) = of_others.split_at(rank);
        let mut all = before
            .iter()
            .copied()
            .chain([&*own])
            .chain(after.iter().copied());
        for (s, x) in sum.iter_mut().zip(all.next().into_iter().flatten()) {
            *s = factor * *x;
        }
        for of_rank in all {
            for (s, x) in sum.iter_mut().zip(of_rank) {
                *s = *s + factor * *x;
            }
        }
        own.copy_from_slice(sum);
    }
}

thread_local! {
    /// Where a rank's thread receives what it adds up. New memory of such sizes costs as much as a copy.
    static RECEIVED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// Calls `act` with room for `n` numbers, in which anything may stand.
fn with_room<T: Pod, R>(n: usize, act: impl FnOnce(&mut [T]) -> R) -> R {
    RECEIVED.with_borrow_mut(|words| {
        let wanted = (n * size_of::<T>()).div_ceil(8);
        if words.len() < wanted {
            words.resize(wanted, 0);
        }
        act(&mut bytemuck::cast_slice_mut(&mut words[..wanted])[..n])
    })
}

/// x of each rank, which holds so many numbers for each -> the sum over the ranks of those for this one.
///
/// # Errors
/// As [`Comm::exchange`].
pub fn reduce_scatter<T>(
    comm: &mut dyn Comm,
    call: Call,
    (x, lengths): (&[T], &[usize]),
    sum: &mut [T],
    one: T,
) -> Result<()>
where
    T: Pod + Add<Output = T> + Mul<Output = T>,
{
    let (n, rank, ranks) = (sum.len(), comm.rank(), comm.ranks());
    let mut left = x;
    let mut out: Vec<&[u8]> = Vec::with_capacity(ranks);
    for (peer, length) in lengths.iter().enumerate() {
        let (part, rest) = left.split_at(*length);
        match peer == rank {
            true => sum.copy_from_slice(part),
            false => out.push(bytemuck::cast_slice(part)),
        }
        left = rest;
    }
    out.insert(rank, &[]);
    with_room(n * (ranks - 1), |others: &mut [T]| {
        receive(comm, call, &out, others)?;
        add_up(sum, others, rank, one);
        Ok(())
    })
}

/// Exchanges pieces, of which the own one is empty, and receives as many numbers from each of the others.
fn receive<T: Pod>(comm: &mut dyn Comm, call: Call, out: &[&[u8]], others: &mut [T]) -> Result<()> {
    let (rank, ranks) = (comm.rank(), comm.ranks());
    let each = std::mem::size_of_val(others) / (ranks - 1).max(1);
    let lengths = (0..ranks).map(|peer| if peer == rank { 0 } else { each });
    let mut into = cut(bytemuck::cast_slice_mut(others), lengths);
    comm.exchange(call, out, &mut into)
}

/// x becomes `factor` x of rank 0 + `factor` x of rank 1 + ..., on every rank. Each product is rounded before it is
/// added, as sums over micro-batches are.
///
/// # Errors
/// As [`Comm::exchange`].
pub fn sum<T>(comm: &mut dyn Comm, call: Call, x: &mut [T], factor: T) -> Result<()>
where
    T: Pod + Add<Output = T> + Mul<Output = T>,
{
    let (rank, ranks, n) = (comm.rank(), comm.ranks(), x.len());
    let lengths = (0..ranks).map(|q| piece(n, q, ranks).len());
    let mut pieces = cut(x, lengths);
    let own = std::mem::take(&mut pieces[rank]);
    let out: Vec<&[u8]> = pieces.iter().map(|p| bytemuck::cast_slice(p)).collect();
    with_room(own.len() * (ranks - 1), |others: &mut [T]| {
        receive(comm, call, &out, others)?;
        add_up(own, others, rank, factor);
        Ok::<(), CommError>(())
    })?;
    let mut out: Vec<&[u8]> = vec![bytemuck::cast_slice(own); ranks];
    out[rank] = &[];
    let into = pieces.into_iter().map(bytemuck::cast_slice_mut);
    comm.exchange(call, &out, &mut into.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comm::threads;
    use std::time::Duration;

    const CALL: Call = Call {
        what: "test",
        patience: Duration::from_secs(20),
    };

    /// Runs `act` on every rank, and gives what each made.
    fn on_ranks<R: Send + 'static>(
        ranks: usize,
        act: impl Fn(&mut dyn Comm) -> R + Send + Sync + Copy + 'static,
    ) -> Vec<R> {
        let all = threads::ranks(ranks).into_iter();
        let spawned: Vec<_> = all
            .map(|mut c| std::thread::spawn(move || act(&mut c)))
            .collect();
        spawned.into_iter().map(|t| t.join().unwrap()).collect()
    }

    /// Numbers of a rank whose sums differ in the last bits by their order.
    fn numbers(rank: usize, n: usize) -> Vec<f32> {
        (0..n)
            .map(|i| ((i * 37 + rank * 101) % 1009) as f32 * 0.001 + 10f32.powi(rank as i32 - 1))
            .collect()
    }

    #[test]
    fn pieces_are_all_numbers_once() {
        for (n, ranks) in [(0, 3), (1, 3), (16, 4), (1000, 3), (1024, 4)] {
            let all: Vec<usize> = (0..ranks).flat_map(|r| piece(n, r, ranks)).collect();
            assert_eq!(all, (0..n).collect::<Vec<_>>(), "{n} of {ranks}");
        }
    }

    #[test]
    fn sums_are_by_rank_from_0_and_equal_everywhere() {
        const N: usize = 1003;
        let by = |ranks: &[usize]| {
            let mut sum = vec![0f32; N];
            for (at, r) in ranks.iter().enumerate() {
                for (s, x) in sum.iter_mut().zip(numbers(*r, N)) {
                    *s = if at == 0 { 0.3 * x } else { *s + 0.3 * x };
                }
            }
            sum
        };
        for ranks in [1, 2, 3, 4] {
            let made = on_ranks(ranks, |c| {
                let mut x = numbers(c.rank(), N);
                sum(c, CALL, &mut x, 0.3).unwrap();
                x
            });
            let order: Vec<usize> = (0..ranks).collect();
            assert!(made.iter().all(|m| *m == by(&order)), "{ranks} ranks");
        }
        // The order is seen: from the last rank to the first other bits come out.
        assert_ne!(by(&[0, 1, 2, 3]), by(&[3, 2, 1, 0]));
    }

    #[test]
    fn gathering_keeps_the_ranks_order_and_scattering_adds_own_rows() {
        let made = on_ranks(3, |c| {
            let mine = [c.rank() as f64 + 0.5; 2];
            let mut all = [0.0; 6];
            all_gather(c, CALL, &mine, (&mut all, &[2; 3])).unwrap();
            // Every rank multiplies by its number + 1.
            let x = all.map(|v| v * (c.rank() + 1) as f64);
            let mut own = [0.0; 2];
            reduce_scatter(c, CALL, (&x, &[2; 3]), &mut own, 1.0).unwrap();
            (all, own)
        });
        for (rank, (all, own)) in made.iter().enumerate() {
            assert_eq!(*all, [0.5, 0.5, 1.5, 1.5, 2.5, 2.5]);
            assert_eq!(*own, [(rank as f64 + 0.5) * 6.0; 2]);
        }
        // Of 1, 2 and 3 numbers.
        let made = on_ranks(3, |c| {
            let lengths = [1, 2, 3];
            let mine = vec![c.rank() as f64 + 0.5; lengths[c.rank()]];
            let mut all = [0.0; 6];
            all_gather(c, CALL, &mine, (&mut all, &lengths)).unwrap();
            let x = all.map(|v| v * (c.rank() + 1) as f64);
            let mut own = vec![0.0; lengths[c.rank()]];
            reduce_scatter(c, CALL, (&x, &lengths), &mut own, 1.0).unwrap();
            (all, own)
        });
        for (rank, (all, own)) in made.iter().enumerate() {
            assert_eq!(*all, [0.5, 1.5, 1.5, 2.5, 2.5, 2.5]);
            assert_eq!(*own, vec![(rank as f64 + 0.5) * 6.0; rank + 1]);
        }
        let texts = on_ranks(3, |c| {
            let mine = vec![7u8; c.rank() * 5];
            all_gather_bytes(c, CALL, &mine).unwrap()
        });
        assert!(
            texts
                .iter()
                .all(|t| *t == [vec![], vec![7; 5], vec![7; 10]])
        );
    }
}
