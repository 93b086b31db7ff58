//! Ranks that are processes under MPI (cargo feature `mpi`): several machines. MPI moves bytes between pairs of ranks,
//! and nothing else: none of its sums is called, whose order follows the implementation, the number of ranks and the
//! network.
//!
//! Exchanges are point to point, so that a rank that does not come is known by name, and a rank that waits sleeps
//! instead of polling. MPI cannot go on after a fault: a rank that fails ends them all ([`Comm::leave`]).

use super::{Call, Comm, CommError, Result, World};
use mpi::environment::Universe;
use mpi::ffi;
use mpi::topology::Communicator;
use std::os::raw::c_int;
use std::time::{Duration, Instant};

/// Bytes of a message, at most: counts are C's `int`.
const MESSAGE: usize = 1 << 30;

/// Exit status of a process whose ranks could not go on.
const STATUS: c_int = 75;

/// How long a rank asks without a pause whether an exchange is done, and then with short ones: waiting must not take a
/// core from those who decode images.
const EAGER: Duration = Duration::from_millis(1);
const BRISK: Duration = Duration::from_millis(100);

/// A rank's place on its machine.
#[derive(Clone, Debug)]
pub struct Local {
    /// Its number among the ranks of this machine.
    pub rank: usize,
    /// How many these are.
    pub ranks: usize,
    /// The machine's name.
    pub host: String,
}

/// The engine. Made and used by one thread.
struct Mpi {
    /// Ends MPI when it is dropped.
    _universe: Universe,
    rank: usize,
    ranks: usize,
    host: String,
    /// Number of the next exchange, which all ranks count alike.
    turn: c_int,
}

/// Starts MPI for this process, which a launcher has started beside others.
///
/// # Errors
/// MPI was started before; no thread.
pub fn start(patience: Duration) -> Result<(World, Local)> {
    let (tell, told) = std::sync::mpsc::channel();
    let world = World::new(patience, move || {
        let started = mpi::initialize_with_threading(mpi::Threading::Funneled);
        let (universe, _) = started
            .ok_or_else(|| CommError::Engine("MPI cannot be started a second time".into()))?;
        let world = universe.world();
        let (rank, ranks) = (world.rank(), world.size());
        let here = world.split_shared(rank);
        let host = mpi::environment::processor_name().unwrap_or_else(|_| "unnamed".into());
        // Whoever asked is waiting for it.
        let _ = tell.send(Local {
            rank: here.rank() as usize,
            ranks: here.size() as usize,
            host: host.clone(),
        });
        Ok(Box::new(Mpi {
            _universe: universe,
            rank: rank as usize,
            ranks: ranks as usize,
            host,
            turn: 0,
        }) as Box<dyn Comm>)
    })?;
    let none = |_| CommError::Engine("MPI did not tell which rank this is".into());
    let local = told.recv().map_err(none)?;
    end_all_on_panic(world.rank(), local.host.clone());
    Ok((world, local))
}

/// A panic on one rank would leave the others waiting for ever: unwinding ends MPI, which waits for them.
fn end_all_on_panic(rank: usize, host: String) {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        tell(info);
        say(rank, &host, "it panicked, and ends all ranks");
        abort(101);
    }));
}

fn say(rank: usize, host: &str, text: &str) {
    use std::io::Write;
    // Who cannot be told is not told.
    let _ = writeln!(std::io::stderr(), "error: rank {rank} ({host}): {text}");
}

/// Ends all ranks.
fn abort(status: c_int) {
    // SAFETY: MPI was started; the call may be made from any state of it and does not return.
    unsafe { ffi::MPI_Abort(ffi::RSMPI_COMM_WORLD, status) };
}

impl Mpi {
    /// Starts what is to be sent and received, the receives first; and whom each is with.
    fn begin(&self, out: &[&[u8]], into: &mut [&mut [u8]]) -> (Vec<ffi::MPI_Request>, Vec<usize>) {
        let (mut requests, mut with) = (Vec::new(), Vec::new());
        let others = |rank: usize| (1..self.ranks).map(move |d| (rank + d) % self.ranks);
        for peer in others(self.rank) {
            for part in into[peer].chunks_mut(MESSAGE) {
                // SAFETY: the memory outlives the request: `exchange` returns when all are done, or not at all.
                requests.push(unsafe {
                    let mut request = ffi::RSMPI_REQUEST_NULL;
                    ffi::MPI_Irecv(
                        part.as_mut_ptr().cast(),
                        part.len() as c_int,
                        ffi::RSMPI_UINT8_T,
                        peer as c_int,
                        self.turn,
                        ffi::RSMPI_COMM_WORLD,
                        &mut request,
                    );
                    request
                });
                with.push(peer);
            }
        }
        for peer in others(self.rank) {
            for part in out[peer].chunks(MESSAGE) {
                // SAFETY: as above.
                requests.push(unsafe {
                    let mut request = ffi::RSMPI_REQUEST_NULL;
                    ffi::MPI_Isend(
                        part.as_ptr().cast(),
                        part.len() as c_int,
                        ffi::RSMPI_UINT8_T,
                        peer as c_int,
                        self.turn,
                        ffi::RSMPI_COMM_WORLD,
                        &mut request,
                    );
                    request
                });
                with.push(peer);
            }
        }
        (requests, with)
    }

    /// Which of the requests are not done.
    fn open(requests: &mut [ffi::MPI_Request]) -> Vec<usize> {
        let mut open = Vec::new();
        for (i, request) in requests.iter_mut().enumerate() {
            let mut done: c_int = 0;
            // SAFETY: a request of this exchange, or none.
            unsafe { ffi::MPI_Test(request, &mut done, ffi::RSMPI_STATUS_IGNORE) };
            if done == 0 {
                open.push(i);
            }
        }
        open
    }
}

impl Comm for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn ranks(&self) -> usize {
        self.ranks
    }

    fn exchange(&mut self, call: Call, out: &[&[u8]], into: &mut [&mut [u8]]) -> Result<()> {
        // Tags up to 32,767 are there everywhere.
        self.turn = (self.turn + 1) % 32_749;
        into[self.rank].copy_from_slice(out[self.rank]);
        let (mut requests, with) = self.begin(out, into);
        let begin = Instant::now();
        loop {
            let mut done: c_int = 0;
            // SAFETY: requests of this exchange.
            unsafe {
                ffi::MPI_Testall(
                    requests.len() as c_int,
                    requests.as_mut_ptr(),
                    &mut done,
                    ffi::RSMPI_STATUSES_IGNORE,
                );
            }
            if done != 0 {
                return Ok(());
            }
            let waited = begin.elapsed();
            match waited {
                w if w > call.patience => break,
                w if w < EAGER => std::thread::yield_now(),
                w if w < BRISK => std::thread::sleep(Duration::from_micros(20)),
                _ => std::thread::sleep(Duration::from_micros(500)),
            }
        }
        let open = Self::open(&mut requests);
        let mut ranks: Vec<usize> = open.iter().map(|i| with[*i]).collect();
        ranks.sort_unstable();
        ranks.dedup();
        let late = CommError::Late {
            what: call.what,
            ranks,
            after: call.patience,
        };
        // MPI still writes into `into` when the late rank comes, so that nobody may have it back.
        self.leave(&late.to_string());
        std::process::exit(STATUS)
    }

    fn leave(&mut self, why: &str) {
        say(self.rank, &self.host, why);
        abort(STATUS);
    }
}
