//! A rank's place among the others, and the thread that talks for it.

use super::collective;
use super::{Call, Comm, CommError, Result};
use crate::reference::Scalar;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

type Job = Box<dyn FnOnce(&mut dyn Comm) + Send>;

/// A rank of a world of several, shared by all who exchange something.
struct Member {
    rank: usize,
    ranks: usize,
    /// Milliseconds that ranks wait for each other.
    patience: AtomicU64,
    /// None when the rank ends.
    jobs: Mutex<Option<Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    fault: Mutex<Option<CommError>>,
    /// Exchanges give back what this rank has itself: for looking at one rank alone.
    alone: AtomicBool,
    /// Nanoseconds that callers waited for exchanges, and that the thread was busy with them.
    waited: AtomicU64,
    busy: Arc<AtomicU64>,
}

impl Drop for Member {
    /// The engine ends before the process does, which MPI asks for.
    fn drop(&mut self) {
        let jobs = self.jobs.get_mut().unwrap_or_else(PoisonError::into_inner);
        *jobs = None;
        let thread = self
            .thread
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        // A panic of the thread was told when it came.
        drop(thread.take().map(JoinHandle::join));
    }
}

/// A process's place among those that share a batch: alone by default.
#[derive(Clone, Default)]
pub struct World {
    member: Option<Arc<Member>>,
    /// How many of the equal parts of a batch each rank has; one each where there is no word of it.
    shares: Option<Arc<[usize]>>,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} of {}", self.rank(), self.ranks())
    }
}

/// What an exchange under way gives.
#[derive(Debug)]
pub struct Pending<R>(Receiver<Result<R>>);

impl<R> Pending<R> {
    /// Waits for it.
    ///
    /// # Errors
    /// As [`Comm::exchange`].
    pub fn wait(self) -> Result<R> {
        // The thread ends only when nobody can ask it any more, or by a panic.
        let ended = |_| {
            Err(CommError::Engine(
                "the thread that talks for this rank ended".into(),
            ))
        };
        self.0.recv().unwrap_or_else(ended)
    }
}

impl World {
    /// A rank that talks through `comm`, which is made and used by one thread of its own. Ranks wait for each other for
    /// `patience`.
    ///
    /// # Errors
    /// What `comm` says when it cannot be made; no thread.
    pub fn new(
        patience: Duration,
        comm: impl FnOnce() -> Result<Box<dyn Comm>> + Send + 'static,
    ) -> Result<Self> {
        let (jobs, inbox) = channel::<Job>();
        let (tell, told) = channel();
        let busy = Arc::new(AtomicU64::new(0));
        let spent = busy.clone();
        let talk = move || {
            let mut comm = match comm() {
                Ok(comm) => comm,
                Err(e) => return drop(tell.send(Err(e))),
            };
            drop(tell.send(Ok((comm.rank(), comm.ranks()))));
            for job in inbox {
                let begin = Instant::now();
                job(comm.as_mut());
                let nanos = begin.elapsed().as_nanos() as u64;
                spent.fetch_add(nanos, Ordering::Relaxed);
            }
        };
        let engine = |e: String| CommError::Engine(e);
        let thread = std::thread::Builder::new()
            .name("ranks".into())
            .spawn(talk)
            .map_err(|e| engine(format!("no thread for the other ranks: {e}")))?;
        let (rank, ranks) = told
            .recv()
            .map_err(|_| engine("the thread that talks for this rank ended".into()))??;
        let member = Some(Arc::new(Member {
            rank,
            ranks,
            patience: AtomicU64::new(patience.as_millis() as u64),
            jobs: Mutex::new(Some(jobs)),
            thread: Mutex::new(Some(thread)),
            fault: Mutex::new(None),
            alone: AtomicBool::new(false),
            waited: AtomicU64::new(0),
            busy,
        }));
        Ok(Self {
            member,
            shares: None,
        })
    }

    /// This one's number, from 0.
    pub fn rank(&self) -> usize {
        self.member.as_ref().map_or(0, |m| m.rank)
    }

    /// How many there are.
    pub fn ranks(&self) -> usize {
        self.member.as_ref().map_or(1, |m| m.ranks)
    }

    /// The same rank, where each rank has so many of the equal parts of a batch: ranks that are slower have fewer.
    ///
    /// # Errors
    /// Not as many numbers as ranks; one that is zero.
    pub fn with_shares(self, shares: &[usize]) -> Result<Self> {
        if shares.len() != self.ranks() || shares.contains(&0) {
            return Err(CommError::Engine(format!(
                "shares {shares:?} of {} ranks: each has a number, of at least 1",
                self.ranks()
            )));
        }
        let shares = (shares.iter().any(|n| *n != shares[0])).then(|| shares.into());
        Ok(Self { shares, ..self })
    }

    /// How many parts of a batch each rank has, for each that the least has where all have the same.
    pub fn shares(&self) -> Vec<usize> {
        let equal = || vec![1; self.ranks()];
        self.shares.as_ref().map_or_else(equal, |s| s.to_vec())
    }

    /// Have all ranks the same share of a batch?
    pub fn is_even(&self) -> bool {
        self.shares.is_none()
    }

    /// What each rank has of what all have, where this one has `own`; none where that is not in its share.
    pub fn lengths(&self, own: usize) -> Option<Vec<usize>> {
        let shares = self.shares();
        let share = shares[self.rank()];
        let unit = own.is_multiple_of(share).then_some(own / share)?;
        shares.iter().map(|n| n.checked_mul(unit)).collect()
    }

    /// Which of `n` things this rank has, where each rank has its share, as near as can be.
    pub fn part(&self, n: usize) -> Range<usize> {
        let (shares, rank) = (self.shares(), self.rank());
        let all: usize = shares.iter().sum();
        let before: usize = shares[..rank].iter().sum();
        n * before / all..n * (before + shares[rank]) / all
    }

    /// Is there no other?
    pub fn is_alone(&self) -> bool {
        self.ranks() == 1
    }

    /// Is it the one that writes and speaks?
    pub fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// Sets how long ranks wait for each other from now on.
    pub fn set_patience(&self, patience: Duration) {
        if let Some(m) = &self.member {
            let millis = patience.as_millis() as u64;
            m.patience.store(millis, Ordering::Relaxed);
        }
    }

    /// How long callers waited for exchanges so far, and how long the rank's thread was busy with them, which is more
    /// where they went on beside other work.
    pub fn times(&self) -> [Duration; 2] {
        let Some(m) = &self.member else {
            return [Duration::ZERO; 2];
        };
        let nanos = [&m.waited, m.busy.as_ref()].map(|n| n.load(Ordering::Relaxed));
        nanos.map(Duration::from_nanos)
    }

    /// Has `job` done by the rank's thread, behind all that was asked before. All ranks ask for the same, in the same
    /// order.
    fn ask<R: Send + 'static>(
        &self,
        what: &'static str,
        job: impl FnOnce(&mut dyn Comm, Call) -> Result<R> + Send + 'static,
    ) -> Result<Pending<R>> {
        let alone = || CommError::Engine(format!("{what}: there is no other rank"));
        let m = self.member.as_ref().ok_or_else(alone)?;
        self.check()?;
        let (tell, told) = channel();
        let call = Call {
            what,
            patience: Duration::from_millis(m.patience.load(Ordering::Relaxed)),
        };
        let job: Job = Box::new(move |comm| drop(tell.send(job(comm, call))));
        let jobs = m.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        // Should the thread be gone, the receiver says so.
        drop(jobs.as_ref().map(|jobs| jobs.send(job)));
        Ok(Pending(told))
    }

    /// As [`World::ask`], and waits.
    fn call<R: Send + 'static>(
        &self,
        what: &'static str,
        job: impl FnOnce(&mut dyn Comm, Call) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        self.wait(self.ask(what, job)?)
    }

    /// Waits for what was begun. A fault is kept: no exchange is tried after it.
    ///
    /// # Errors
    /// As [`Comm::exchange`].
    pub fn wait<R>(&self, begun: Pending<R>) -> Result<R> {
        let begin = Instant::now();
        let made = begun.wait();
        if let Some(m) = &self.member {
            let nanos = begin.elapsed().as_nanos() as u64;
            m.waited.fetch_add(nanos, Ordering::Relaxed);
            if let Err(e) = &made {
                let mut fault = m.fault.lock().unwrap_or_else(PoisonError::into_inner);
                fault.get_or_insert_with(|| e.clone());
            }
        }
        made
    }

    /// Rank 0's bytes, on every rank.
    ///
    /// # Errors
    /// As [`Comm::exchange`].
    pub fn from_first(&self, what: &'static str, own: impl FnOnce() -> Vec<u8>) -> Result<Vec<u8>> {
        let own = if self.is_first() { own() } else { Vec::new() };
        Ok(self.all_gather_bytes(what, own)?.swap_remove(0))
    }

    /// Waits for all ranks to come here. Where one of them has an error, all of them have one: its own, or that the
    /// other has ended.
    ///
    /// # Errors
    /// That.
    pub fn agreed<T, E>(
        &self,
        what: &'static str,
        made: std::result::Result<T, E>,
    ) -> std::result::Result<T, E>
    where
        E: fmt::Display + From<CommError>,
    {
        if self.is_alone() {
            return made;
        }
        let said = made.as_ref().err().map(|e| format!("{e} ").into_bytes());
        let all = self.all_gather_bytes(what, said.unwrap_or_default())?;
        let made = made?;
        match all.iter().position(|said| !said.is_empty()) {
            None => Ok(made),
            Some(rank) => {
                let why = String::from_utf8_lossy(&all[rank]).trim_end().into();
                Err(CommError::Gone { rank, why }.into())
            }
        }
    }

    /// What went wrong so far. Nodes of a graph cannot fail: they leave NaN, and whoever ran the graph asks here.
    ///
    /// # Errors
    /// The first fault.
    pub fn check(&self) -> Result<()> {
        let Some(m) = &self.member else { return Ok(()) };
        let fault = m.fault.lock().unwrap_or_else(PoisonError::into_inner);
        fault.clone().map_or(Ok(()), Err)
    }

    /// Tells the others that this rank ends, and why. Waits until they are told.
    pub fn leave(&self, why: &str) {
        let why = why.to_string();
        let told = self.call("leaving", move |comm, _| {
            comm.leave(&why);
            Ok(())
        });
        // Whoever leaves because of a fault of the others has nobody to tell.
        drop(told);
    }

    /// Runs `act` while exchanges give back this rank's own numbers, as if all ranks had the same: for looking at what
    /// one rank computes.
    pub fn apart<R>(&self, act: impl FnOnce() -> R) -> R {
        let set = |to| {
            if let Some(m) = &self.member {
                m.alone.store(to, Ordering::Relaxed);
            }
        };
        set(true);
        let made = act();
        set(false);
        made
    }

    fn is_apart(&self) -> bool {
        self.member
            .as_ref()
            .is_none_or(|m| m.alone.load(Ordering::Relaxed))
    }

    /// Every rank's numbers, of the same count each, in the order of the ranks.
    ///
    /// # Errors
    /// As [`Comm::exchange`].
    pub fn all_gather<T: Scalar>(&self, what: &'static str, mine: &[T]) -> Result<Vec<T>> {
        self.gather(what, mine, vec![mine.len(); self.ranks()])
    }

    /// Every rank's numbers, of as many each as its share of a batch says, in the order of the ranks.
    ///
    /// # Errors
    /// As [`Comm::exchange`]; a count that is not in this rank's share.
    pub fn all_gather_shares<T: Scalar>(&self, what: &'static str, mine: &[T]) -> Result<Vec<T>> {
        let lengths = self.lengths(mine.len());
        self.gather(what, mine, lengths.ok_or_else(|| self.uneven(mine.len()))?)
    }

    fn uneven(&self, n: usize) -> CommError {
        CommError::Engine(format!(
            "{n} numbers of rank {} are not in shares {:?}",
            self.rank(),
            self.shares()
        ))
    }

    fn gather<T: Scalar>(
        &self,
        what: &'static str,
        mine: &[T],
        lengths: Vec<usize>,
    ) -> Result<Vec<T>> {
        let n = lengths.iter().sum();
        if self.is_apart() {
            return Ok(mine.iter().copied().cycle().take(n).collect());
        }
        let mine = mine.to_vec();
        self.call(what, move |comm, call| {
            let mut all = vec![T::zero(); n];
            collective::all_gather(comm, call, &mine, (&mut all, &lengths))?;
            Ok(all)
        })
    }

    /// Every rank's bytes.
    ///
    /// # Errors
    /// As [`Comm::exchange`].
    pub fn all_gather_bytes(&self, what: &'static str, mine: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        if self.is_apart() {
            return Ok(vec![mine; self.ranks()]);
        }
        self.call(what, move |comm, call| {
            collective::all_gather_bytes(comm, call, &mine)
        })
    }

    /// Numbers that all ranks have, in equal pieces, one a rank: that of rank r from rank r.
    ///
    /// # Errors
    /// As [`Comm::exchange`].
    pub fn from_owners<T: Scalar>(&self, what: &'static str, x: &[T]) -> Result<Vec<T>> {
        let ranks = self.ranks();
        let piece = |rank| collective::piece(x.len(), rank, ranks);
        if self.is_apart() {
            return Ok(x.to_vec());
        }
        let lengths = (0..ranks).map(|rank| piece(rank).len()).collect();
        self.gather(what, &x[piece(self.rank())], lengths)
    }

    /// The sum over the ranks of those of their numbers x that stand at this rank's place: as many for each as its
    /// share of a batch says.
    ///
    /// # Errors
    /// As [`Comm::exchange`]; a count that is not in the ranks' shares.
    pub fn reduce_scatter<T: Scalar>(&self, what: &'static str, x: &[T]) -> Result<Vec<T>> {
        let own = self.part(x.len());
        let lengths = self.lengths(own.len());
        let fits = lengths.filter(|l| l.iter().sum::<usize>() == x.len());
        let lengths = fits.ok_or_else(|| self.uneven(x.len()))?;
        if self.is_apart() {
            let times = T::of(self.ranks() as f64);
            return Ok(x[own].iter().map(|v| times * *v).collect());
        }
        let x = x.to_vec();
        self.call(what, move |comm, call| {
            let mut sum = vec![T::zero(); own.len()];
            collective::reduce_scatter(comm, call, (&x, &lengths), &mut sum, T::one())?;
            Ok(sum)
        })
    }

    /// `factor` x, summed over the ranks from 0.
    ///
    /// # Errors
    /// As [`Comm::exchange`].
    pub fn sum<T: Scalar>(&self, what: &'static str, x: &[T], factor: f64) -> Result<Vec<T>> {
        if self.is_apart() {
            let times = T::of(factor * self.ranks() as f64);
            return Ok(x.iter().map(|v| times * *v).collect());
        }
        self.wait(self.begin_sum(what, x.to_vec(), factor)?)
    }

    /// Begins [`World::sum`].
    ///
    /// # Errors
    /// A fault before.
    pub fn begin_sum<T: Scalar>(
        &self,
        what: &'static str,
        mut x: Vec<T>,
        factor: f64,
    ) -> Result<Pending<Vec<T>>> {
        if self.is_apart() {
            let (tell, told) = channel();
            drop(tell.send(self.sum(what, &x, factor)));
            return Ok(Pending(told));
        }
        self.ask(what, move |comm, call| {
            collective::sum(comm, call, &mut x, T::of(factor))?;
            Ok(x)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comm::threads;

    fn pair() -> Vec<World> {
        let make = |c: threads::Threads| {
            World::new(Duration::from_secs(20), move || {
                Ok(Box::new(c) as Box<dyn Comm>)
            })
            .unwrap()
        };
        threads::ranks(2).into_iter().map(make).collect()
    }

    #[test]
    fn numbers_go_through_the_ranks_threads() {
        let worlds = pair();
        let act = |w: &World| {
            let x = [w.rank() as f64 + 1.0];
            let all = w.all_gather("rows", &x).unwrap();
            let sum = w.sum("sum", &x, 0.5).unwrap();
            let apart = w.apart(|| w.sum("sum", &x, 0.5).unwrap());
            (all, sum, apart)
        };
        std::thread::scope(|s| {
            let made: Vec<_> = worlds.iter().map(|w| s.spawn(move || act(w))).collect();
            let made: Vec<_> = made.into_iter().map(|t| t.join().unwrap()).collect();
            assert_eq!(made[0], (vec![1.0, 2.0], vec![1.5], vec![1.0]));
            assert_eq!(made[1], (vec![1.0, 2.0], vec![1.5], vec![2.0]));
        });
    }

    #[test]
    fn who_leaves_is_told_with_its_reason_and_the_fault_stays() {
        let worlds = pair();
        worlds[1].leave("no space is left on the disk");
        let e = worlds[0].sum("gradient", &[1f32], 1.0).unwrap_err();
        assert!(e.to_string().contains("rank 1 has ended: no space"), "{e}");
        assert_eq!(worlds[0].check(), Err(e.clone()));
        assert_eq!(worlds[0].sum("gradient", &[1f32], 1.0), Err(e));
        assert_eq!(World::default().check(), Ok(()));
    }
}
