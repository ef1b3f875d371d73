//! Threads that wait for closures to run together.
//!
//! Everything turns around one number, the *gate*. Opening it starts a job: helpers that are awake
//! enter by counting themselves in, and those that find it shut again have missed the job, without
//! anybody waiting for them. So a helper that gets no processor time delays nothing, unless it
//! loses the processor in the middle of a piece.
#![allow(unsafe_code)]

use super::lock;
use std::any::Any;
use std::cell::UnsafeCell;
use std::hint::spin_loop;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a thread spins, for the next job or for those who still work on this one, before it
/// sleeps. Longer than what lies between two sweeps, far shorter than what the system gives a
/// program at a stretch. Yielding instead of sleeping measured worse beside a busy neighbour: a
/// waiting thread that stays runnable keeps its processor from one that has work.
const SPIN: Duration = Duration::from_micros(50);

/// Bits of the gate: helpers inside, flags, and above them the number of the job.
const MEMBERS: u64 = 0xFFFF;
const OPEN: u64 = 1 << 16;
/// Whoever opened the gate sleeps until the last helper has left.
const WAITED_FOR: u64 = 1 << 17;
const STOP: u64 = 1 << 18;
const JOB: u32 = 20;

/// A borrowed closure without its type and lifetime.
#[derive(Clone, Copy)]
struct Job {
    closure: *const (),
    /// # Safety
    /// The first argument is the closure, alive.
    call: unsafe fn(*const (), usize),
}

impl Job {
    fn new<J: Fn(usize) -> bool + Sync>(closure: &J) -> Self {
        /// # Safety
        /// `closure` points to a live `J`.
        unsafe fn call<J: Fn(usize) -> bool>(closure: *const (), helper: usize) {
            // SAFETY: promised by the caller.
            unsafe { (*closure.cast::<J>())(helper) };
        }
        Self { closure: std::ptr::from_ref(closure).cast(), call: call::<J> }
    }
}

#[derive(Debug)]
struct Shared {
    gate: AtomicU64,
    /// Written while the gate is shut and nobody inside; read by those inside.
    job: UnsafeCell<Job>,
    /// Of each helper: whether it must be woken.
    asleep: Vec<AtomicBool>,
    /// At least as many as flags are set in `asleep`.
    sleepers: AtomicUsize,
    /// What a helper panicked with.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// Signalled by the last helper to leave.
    left: (Mutex<()>, Condvar),
}

// SAFETY: the job is written by the one thread that holds the lock `Team::busy`, while the gate is shut and
// no member inside, and read only by members, who entered through the open gate: opening it and
// entering are a release and an acquire. The closure it points to is `Sync`, so it may be called
// from any thread.
unsafe impl Sync for Shared {}
// SAFETY: as above; the pointer is followed only while the call of `Team::run` that borrowed the
// closure is still running.
unsafe impl Send for Shared {}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Job")
    }
}

/// Some threads, idle until [`Team::run`].
#[derive(Debug)]
pub(super) struct Team {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// Locked while somebody's job is running.
    busy: Mutex<Patience>,
}

/// Keeps what is lost by waiting for helpers to a fraction of the time.
///
/// A helper that loses its processor in the middle of a piece holds up everybody, for as long as
/// the system gives to others at a stretch: many times what a sweep of a small model takes. After
/// such a loss the owner of the job works alone for at least four times as long as it had to wait,
/// longer with each loss that follows. Long sweeps outweigh such waits and are not affected.
#[derive(Debug)]
struct Patience {
    alone_until: Instant,
    factor: u32,
}

impl Patience {
    /// How long to work alone, in multiples of the time lost. The smallest waits are those for a
    /// helper that was moved to the owner's own processor; it is there to stay for a while.
    const FACTORS: (u32, u32) = (4, 256);
    /// A neighbour may have gone after that time.
    const LONGEST: Duration = Duration::from_millis(50);

    /// Learns from a job that ended `now`, after the owner had worked for `own` and then waited.
    fn learn(&mut self, now: Instant, own: Duration, waited: Duration) {
        let (least, most) = Self::FACTORS;
        // The last piece of a helper may well take as long as all of the owner's smaller ones.
        let lost = waited.saturating_sub(own.saturating_mul(2));
        if lost.is_zero() {
            self.factor = (self.factor / 2).max(least);
        } else {
            self.alone_until = now + lost.saturating_mul(self.factor).min(Self::LONGEST);
            self.factor = (self.factor * 2).min(most);
        }
    }
}

impl Team {
    /// Starts `helpers` threads.
    pub(super) fn new(helpers: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            gate: AtomicU64::new(0),
            job: UnsafeCell::new(Job::new(&|_| false)),
            asleep: (0..helpers).map(|_| AtomicBool::new(false)).collect(),
            sleepers: AtomicUsize::new(0),
            panic: Mutex::new(None),
            left: <_>::default(),
        });
        let patience = Patience { alone_until: Instant::now(), factor: Patience::FACTORS.0 };
        let mut team = Self { shared, threads: Vec::new(), busy: Mutex::new(patience) };
        for helper in 0..helpers {
            let shared = Arc::clone(&team.shared);
            let name = format!("demask-{}", helper + 1);
            // If one cannot be started, dropping the team ends those before it.
            let thread = thread::Builder::new().name(name).spawn(move || shared.help(helper))?;
            team.threads.push(thread);
        }
        Ok(team)
    }

    pub(super) fn helpers(&self) -> usize {
        self.threads.len()
    }

    /// Dangling once all threads have ended.
    #[cfg(test)]
    pub(super) fn observe(&self) -> std::sync::Weak<impl Sized + use<>> {
        Arc::downgrade(&self.shared)
    }

    /// Runs `job` on this thread as number 0, and on helpers, numbered from 1, as long as it runs
    /// here. `useful` is how many threads can be of use; `job` says whether it found any work.
    pub(super) fn run<J: Fn(usize) -> bool + Sync>(&self, useful: usize, job: &J) {
        let helpers = useful.saturating_sub(1).min(self.threads.len());
        if helpers == 0 {
            job(0);
            return;
        }
        // Locked if called from within a job, or from another thread meanwhile.
        let busy = self.busy.try_lock().ok();
        let start = Instant::now();
        let Some(mut patience) = busy.filter(|patience| start >= patience.alone_until) else {
            job(0);
            return;
        };
        let shared = &*self.shared;
        // SAFETY: `busy` was free, so whoever ran the last job has shut the gate and seen
        // everybody leave.
        unsafe { *shared.job.get() = Job::new(job) };
        let number = (shared.gate.load(Ordering::Relaxed) >> JOB).wrapping_add(1);
        // Also a release of the job.
        shared.gate.store(number << JOB | OPEN, Ordering::SeqCst);
        let own = catch_unwind(AssertUnwindSafe(|| {
            self.wake(helpers);
            job(0)
        }));
        let worked = Instant::now();
        // Not before everybody has left does this return, or a panic go on: they use the job.
        if shared.gate.fetch_and(!OPEN, Ordering::Acquire) & MEMBERS != 0 {
            shared.await_members();
        }
        if matches!(own, Ok(true)) {
            let now = Instant::now();
            patience.learn(now, worked - start, now - worked);
        }
        let helped = lock(&shared.panic).take();
        // Before a panic goes on, which would poison it.
        drop(patience);
        if let Some(panic) = own.err().or(helped) {
            resume_unwind(panic);
        }
    }

    /// Wakes those of the first `helpers` that sleep.
    fn wake(&self, helpers: usize) {
        if self.shared.sleepers.load(Ordering::SeqCst) == 0 {
            return;
        }
        for (asleep, thread) in self.shared.asleep.iter().zip(&self.threads).take(helpers) {
            if asleep.swap(false, Ordering::SeqCst) {
                thread.thread().unpark();
            }
        }
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.gate.fetch_or(STOP, Ordering::SeqCst);
        for thread in &self.threads {
            thread.thread().unpark();
        }
        for thread in self.threads.drain(..) {
            // A helper catches the panics of jobs and has none of its own.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn is_empty(&self) -> bool {
        self.gate.load(Ordering::Acquire) & MEMBERS == 0
    }

    /// Waits until the last member has left.
    fn await_members(&self) {
        if spin(|| self.is_empty().then_some(())).is_some() {
            return;
        }
        // Leaving the processor free lets the system move the last helper here, should another
        // program hold its own.
        self.gate.fetch_or(WAITED_FOR, Ordering::AcqRel);
        let (mutex, left) = &self.left;
        let mut guard = lock(mutex);
        while !self.is_empty() {
            guard = left.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The life of a helper.
    fn help(&self, helper: usize) {
        let mut done = 0;
        while let Some(gate) = self.await_job(helper, done) {
            let entered = gate + 1;
            let order = (Ordering::Acquire, Ordering::Relaxed);
            if self.gate.compare_exchange(gate, entered, order.0, order.1).is_err() {
                continue; // shut meanwhile, or somebody else entered or left
            }
            done = gate >> JOB;
            // SAFETY: this thread is a member, so nobody writes.
            let job = unsafe { *self.job.get() };
            // SAFETY: the closure lives until all members have left.
            let run = || unsafe { (job.call)(job.closure, helper + 1) };
            if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
                lock(&self.panic).get_or_insert(panic);
            }
            let before = self.gate.fetch_sub(1, Ordering::AcqRel);
            if before & WAITED_FOR != 0 && before & MEMBERS == 1 {
                drop(lock(&self.left.0));
                self.left.1.notify_one();
            }
        }
    }

    /// The open gate of a job other than `done`; `None` to stop.
    fn await_job(&self, helper: usize, done: u64) -> Option<u64> {
        let look = || {
            let gate = self.gate.load(Ordering::SeqCst);
            let ready = gate & STOP != 0 || gate & OPEN != 0 && gate >> JOB != done;
            ready.then_some(gate)
        };
        let gate = loop {
            if let Some(gate) = spin(look) {
                break gate;
            }
            self.sleep(helper, || look().is_some());
        };
        (gate & STOP == 0).then_some(gate)
    }

    /// Sleeps until somebody wakes this helper or `ready`.
    fn sleep(&self, helper: usize, ready: impl Fn() -> bool) {
        let Some(asleep) = self.asleep.get(helper) else { return };
        // In this order, and the opener the other way round: gate, then flag. So either it sees the
        // flag or this thread sees the gate.
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        asleep.store(true, Ordering::SeqCst);
        while asleep.load(Ordering::SeqCst) && !ready() {
            thread::park();
        }
        asleep.store(false, Ordering::SeqCst);
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Asks again and again for at most [`SPIN`].
fn spin<R>(ask: impl Fn() -> Option<R>) -> Option<R> {
    let mut until = None;
    loop {
        for _ in 0..32 {
            if let Some(answer) = ask() {
                return Some(answer);
            }
            spin_loop();
        }
        let now = Instant::now();
        if now >= *until.get_or_insert(now + SPIN) {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_bounds_what_waiting_costs() {
        let now = Instant::now();
        let mut patience = Patience { alone_until: now, factor: Patience::FACTORS.0 };
        let ms = Duration::from_millis;
        patience.learn(now, ms(2), ms(4));
        assert_eq!(patience.alone_until, now, "an ordinary wait");
        patience.learn(now, ms(1), ms(5));
        assert_eq!(patience.alone_until, now + ms(12));
        patience.learn(now, ms(1), ms(5));
        assert_eq!(patience.alone_until, now + ms(24), "twice in a row");
        for _ in 0..20 {
            patience.learn(now, ms(1), ms(5000));
        }
        assert_eq!(patience.alone_until, now + ms(50));
    }
}
