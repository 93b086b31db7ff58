//! Ranks that are threads of one process: several devices of one machine, and the tests' engine. Bytes go through the
//! host's memory.

use super::{Call, Comm, CommError, Result};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What a rank gives to an exchange: a piece for each rank.
type Pieces = Vec<Vec<u8>>;

struct Table {
    /// What each rank has brought to the exchange under way.
    given: Vec<Option<(&'static str, Arc<Pieces>)>>,
    /// Who has taken what is theirs of it.
    took: Vec<bool>,
    /// The first rank that ended, and why.
    gone: Option<(usize, String)>,
}

struct Shared {
    table: Mutex<Table>,
    turn: Condvar,
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The ranks that have not.
fn without(done: &[bool]) -> Vec<usize> {
    (0..done.len()).filter(|r| !done[*r]).collect()
}

/// A rank of [`ranks`]. One that is dropped has left.
pub struct Threads {
    rank: usize,
    ranks: usize,
    shared: Arc<Shared>,
}

/// So many ranks that talk to each other, in their order.
pub fn ranks(ranks: usize) -> Vec<Threads> {
    let shared = Arc::new(Shared {
        table: Mutex::new(Table {
            given: vec![None; ranks],
            took: vec![false; ranks],
            gone: None,
        }),
        turn: Condvar::new(),
    });
    (0..ranks)
        .map(|rank| Threads {
            rank,
            ranks,
            shared: shared.clone(),
        })
        .collect()
}

impl Threads {
    /// Waits until `ready` says so, a rank has left, or the call's time is over: then with those whom `missing` names.
    fn wait<'a>(
        &'a self,
        call: Call,
        ready: impl Fn(&Table) -> bool,
        missing: impl Fn(&Table) -> Vec<usize>,
    ) -> Result<MutexGuard<'a, Table>> {
        let begin = Instant::now();
        let mut table = self.shared.table();
        loop {
            // An exchange that everybody has come to is ended, even if somebody leaves then.
            if ready(&table) {
                return Ok(table);
            }
            if let Some((rank, why)) = table.gone.clone() {
                return Err(CommError::Gone { rank, why });
            }
            let left = call.patience.saturating_sub(begin.elapsed());
            if left.is_zero() {
                return Err(CommError::Late {
                    what: call.what,
                    ranks: missing(&table),
                    after: call.patience,
                });
            }
            let waited = self.shared.turn.wait_timeout(table, left);
            table = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Comm for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn ranks(&self) -> usize {
        self.ranks
    }

    fn exchange(&mut self, call: Call, out: &[&[u8]], into: &mut [&mut [u8]]) -> Result<()> {
        let pieces: Pieces = out.iter().map(|p| p.to_vec()).collect();
        // The exchange before is over when all have taken from it.
        let own = self.rank;
        let mut table = self.wait(call, |t| t.given[own].is_none(), |t| without(&t.took))?;
        table.given[own] = Some((call.what, Arc::new(pieces)));
        drop(table);
        self.shared.turn.notify_all();
        let mut table = self.wait(
            call,
            |t| t.given.iter().all(Option::is_some),
            |t| without(&t.given.iter().map(Option::is_some).collect::<Vec<_>>()),
        )?;
        let all: Vec<_> = table.given.iter().flatten().cloned().collect();
        table.took[own] = true;
        if table.took.iter().all(|t| *t) {
            table.took.fill(false);
            table.given.fill(None);
        }
        drop(table);
        self.shared.turn.notify_all();
        for (rank, ((what, pieces), into)) in all.iter().zip(into).enumerate() {
            let piece = &pieces[own];
            if *what != call.what || piece.len() != into.len() {
                return Err(CommError::Apart {
                    here: call.what,
                    rank,
                    there: format!("{what}, {} bytes for {}", piece.len(), into.len()),
                });
            }
            into.copy_from_slice(piece);
        }
        Ok(())
    }

    fn leave(&mut self, why: &str) {
        let mut table = self.shared.table();
        table
            .gone
            .get_or_insert_with(|| (self.rank, why.to_string()));
        drop(table);
        self.shared.turn.notify_all();
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.leave("it ended before the others");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn call(what: &'static str, ms: u64) -> Call {
        Call {
            what,
            patience: Duration::from_millis(ms),
        }
    }

    fn barrier(c: &mut Threads, call: Call) -> Result<()> {
        let n = c.ranks();
        let mut empty: Vec<Vec<u8>> = vec![Vec::new(); n];
        let mut into: Vec<&mut [u8]> = empty.iter_mut().map(Vec::as_mut_slice).collect();
        c.exchange(call, &vec![&[][..]; n], &mut into)
    }

    #[test]
    fn a_rank_that_does_not_come_is_named() {
        let mut all = ranks(3);
        let (mut c, mut a) = (all.remove(2), all.remove(0));
        let other = std::thread::spawn(move || (barrier(&mut c, call("sum", 200)), c));
        let e = barrier(&mut a, call("sum", 100)).unwrap_err();
        assert_eq!(
            e,
            CommError::Late {
                what: "sum",
                ranks: vec![1],
                after: Duration::from_millis(100)
            }
        );
        assert!(
            e.to_string().contains("rank 1 did not come within 0.1 s"),
            "{e}"
        );
        // The third is not told of the first's end before it gives up itself.
        drop(a);
        assert!(other.join().unwrap().0.is_err());
    }

    #[test]
    fn a_rank_that_ends_or_panics_ends_the_others_at_once() {
        let mut all = ranks(2);
        let b = all.remove(1);
        let mut a = all.remove(0);
        let thread = std::thread::spawn(move || {
            let _own = b;
            panic!("on purpose");
        });
        let begin = Instant::now();
        let e = barrier(&mut a, call("sum", 60_000)).unwrap_err();
        assert!(matches!(e, CommError::Gone { rank: 1, .. }), "{e}");
        assert!(begin.elapsed() < Duration::from_secs(30));
        assert!(thread.join().is_err());
    }

    #[test]
    fn ranks_at_different_exchanges_are_told() {
        let mut all = ranks(2);
        let mut b = all.remove(1);
        let thread = std::thread::spawn(move || (barrier(&mut b, call("keys", 9000)), b));
        let e = barrier(&mut all[0], call("loss", 9000)).unwrap_err();
        assert!(
            matches!(&e, CommError::Apart { rank: 1, there, .. } if there.contains("keys")),
            "{e}"
        );
        assert!(thread.join().unwrap().0.is_err());
    }
}
