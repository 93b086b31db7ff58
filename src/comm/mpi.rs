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

/// Tags of exchanges are below; ranks ask each other by the first whether they wait too, say so by the second, and tell
/// by the third that they have found who keeps all, and end them.
const TURNS: c_int = 32_749;
const ASK: c_int = TURNS + 1;
const WAITING: c_int = TURNS + 2;
const FOUND: c_int = TURNS + 3;

/// How long a rank that waits itself may take to say so.
const ANSWERED: Duration = Duration::from_secs(1);

/// How long a rank that ends all lets its word of that travel, and how long the others wait to be ended by it.
const TOLD: Duration = Duration::from_millis(50);
const ENDED: Duration = Duration::from_secs(3);

/// Exit status of a process whose ranks could not go on.
const STATUS: c_int = 75;

/// How long a rank asks without a pause whether an exchange is done, and for each byte that it sends, since MPI may
/// move bytes only while it is asked; and then with short ones: waiting must not take a core from those who decode
/// images.
const EAGER: Duration = Duration::from_millis(1);
const PER_BYTE: Duration = Duration::from_nanos(4);
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
    // In one piece, beside the lines of other ranks. Who cannot be told is not told.
    let line = format!("error: rank {rank} ({host}): {text}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// A request that is none yet.
fn request() -> ffi::MPI_Request {
    // SAFETY: a constant of the library.
    unsafe { ffi::RSMPI_REQUEST_NULL }
}

/// Ends all ranks.
fn abort(status: c_int) {
    // SAFETY: MPI was started; the call may be made from any state of it and does not return.
    unsafe { ffi::MPI_Abort(ffi::RSMPI_COMM_WORLD, status) };
}

impl Mpi {
    /// Starts to send bytes, which stay as they are until the request is done.
    fn send(bytes: &[u8], to: usize, tag: c_int) -> ffi::MPI_Request {
        let mut request = request();
        // SAFETY: so many bytes are there, and the caller keeps them.
        unsafe {
            ffi::MPI_Isend(
                bytes.as_ptr().cast(),
                bytes.len() as c_int,
                ffi::RSMPI_UINT8_T,
                to as c_int,
                tag,
                ffi::RSMPI_COMM_WORLD,
                &mut request,
            );
        }
        request
    }

    /// Starts to receive bytes, which nobody else touches until the request is done.
    fn receive(bytes: &mut [u8], from: usize, tag: c_int) -> ffi::MPI_Request {
        let mut request = request();
        // SAFETY: so many bytes are there, and the caller leaves them alone.
        unsafe {
            ffi::MPI_Irecv(
                bytes.as_mut_ptr().cast(),
                bytes.len() as c_int,
                ffi::RSMPI_UINT8_T,
                from as c_int,
                tag,
                ffi::RSMPI_COMM_WORLD,
                &mut request,
            );
        }
        request
    }

    /// Starts what is to be sent and received, the receives first; and whom each is with. The memory outlives the
    /// requests: `exchange` returns when all are done, or not at all.
    fn begin(&self, out: &[&[u8]], into: &mut [&mut [u8]]) -> (Vec<ffi::MPI_Request>, Vec<usize>) {
        let (mut requests, mut with) = (Vec::new(), Vec::new());
        let others = |rank: usize| (1..self.ranks).map(move |d| (rank + d) % self.ranks);
        for peer in others(self.rank) {
            for part in into[peer].chunks_mut(MESSAGE) {
                requests.push(Self::receive(part, peer, self.turn));
                with.push(peer);
            }
        }
        for peer in others(self.rank) {
            for part in out[peer].chunks(MESSAGE) {
                requests.push(Self::send(part, peer, self.turn));
                with.push(peer);
            }
        }
        (requests, with)
    }

    /// Sends one byte of no meaning, and does not wait for it.
    fn signal(to: usize, tag: c_int) {
        static BYTE: [u8; 1] = [0];
        let mut request = Self::send(&BYTE, to, tag);
        // SAFETY: the request was just made; its byte is never gone.
        unsafe { ffi::MPI_Request_free(&mut request) };
    }

    /// Has a rank sent a message with this tag that was not received yet? MPI moves bytes while it is asked.
    fn has_sent(peer: usize, tag: c_int) -> bool {
        let mut sent: c_int = 0;
        // SAFETY: no message is received by it.
        unsafe {
            ffi::MPI_Iprobe(
                peer as c_int,
                tag,
                ffi::RSMPI_COMM_WORLD,
                &mut sent,
                ffi::RSMPI_STATUS_IGNORE,
            );
        }
        sent != 0
    }

    /// Tells those who ask that this rank waits as they do. Where one of them has found who keeps all, it ends them:
    /// a launcher wakes a stopped process to end it, which then answers, so that a rank that looked on would name
    /// another.
    fn answer(&self) {
        for peer in (0..self.ranks).filter(|r| *r != self.rank) {
            if Self::has_sent(peer, FOUND) {
                std::thread::sleep(ENDED);
                abort(STATUS);
            }
            if Self::has_sent(peer, ASK) {
                let mut byte = [0];
                let mut request = Self::receive(&mut byte, peer, ASK);
                // SAFETY: the message is there, so that the call returns, and the byte with it.
                unsafe { ffi::MPI_Wait(&mut request, ffi::RSMPI_STATUS_IGNORE) };
                Self::signal(peer, WAITING);
            }
        }
    }

    /// Tells the others that this rank has found who keeps all, and gives the message time to go.
    fn tell_found(&self) {
        let others = (0..self.ranks).filter(|r| *r != self.rank);
        others.clone().for_each(|peer| Self::signal(peer, FOUND));
        let begin = Instant::now();
        while begin.elapsed() < TOLD {
            others.clone().for_each(|peer| {
                Self::has_sent(peer, FOUND);
            });
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    /// Which of the ranks that did not come to an exchange do not wait for others themselves. A rank that waits ends
    /// all, with the name of who keeps it; where all wait, that is waited for, and they are named only if it fails.
    fn silent(&self, missing: Vec<usize>) -> Vec<usize> {
        // The answers are written to as long as this process lives: it ends here.
        let bytes: &'static mut [u8] = vec![0; missing.len()].leak();
        let mut requests: Vec<_> = bytes
            .chunks_mut(1)
            .zip(&missing)
            .map(|(byte, peer)| {
                let request = Self::receive(byte, *peer, WAITING);
                Self::signal(*peer, ASK);
                request
            })
            .collect();
        let begin = Instant::now();
        loop {
            self.answer();
            let silent: Vec<usize> = Self::open(&mut requests)
                .into_iter()
                .map(|i| missing[i])
                .collect();
            let waited = begin.elapsed();
            match silent.is_empty() {
                true if waited > 2 * ANSWERED => return missing,
                false if waited > ANSWERED => return silent,
                _ => std::thread::sleep(Duration::from_micros(500)),
            }
        }
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
        self.turn = (self.turn + 1) % TURNS;
        into[self.rank].copy_from_slice(out[self.rank]);
        let (mut requests, with) = self.begin(out, into);
        let bytes = out.iter().map(|p| p.len()).sum::<usize>();
        let eager = EAGER + PER_BYTE * u32::try_from(bytes).unwrap_or(u32::MAX);
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
                w if w < eager => std::thread::yield_now(),
                w if w < eager + BRISK => std::thread::sleep(Duration::from_micros(20)),
                _ => {
                    self.answer();
                    std::thread::sleep(Duration::from_micros(500));
                }
            }
        }
        let open = Self::open(&mut requests);
        let mut ranks: Vec<usize> = open.iter().map(|i| with[*i]).collect();
        ranks.sort_unstable();
        ranks.dedup();
        let ranks = self.silent(ranks);
        let late = CommError::Late {
            what: call.what,
            ranks,
            after: call.patience,
        };
        self.tell_found();
        // MPI still writes into `into` when the late rank comes, so that nobody may have it back.
        self.leave(&late.to_string());
        std::process::exit(STATUS)
    }

    fn leave(&mut self, why: &str) {
        say(self.rank, &self.host, why);
        abort(STATUS);
    }
}
