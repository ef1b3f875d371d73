//! A thread pool as the engine's [`Executor`].

mod team;

use demask::Executor;
use std::error::Error;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use team::Team;

/// Runs the pieces of a forward pass on a fixed number of threads, the caller being one of them.
///
/// Made for many short sweeps with little between them: between two sweeps the threads spin for some
/// microseconds, and sleep only when nothing comes. A free thread takes the next piece, so one that
/// is slowed down by other programs takes fewer. The result of a forward pass does not depend on the
/// number of threads.
///
/// A call from inside a piece of the same pool, or from a second thread while the pool is at work,
/// is answered too: by the calling thread alone.
///
/// # Example
/// ```
/// use demask::Executor;
/// use demask_std::pool::Pool;
///
/// let pool = Pool::new(2)?;
/// let mut squares = [0u64; 100];
/// let tasks = squares.iter_mut().zip(0..);
/// let done: Result<(), ()> = pool.run([(), ()].into_iter(), tasks, |(), (square, number)| {
///     *square = number * number;
///     Ok(())
/// });
/// assert_eq!((done, squares[99]), (Ok(()), 9801));
/// # Ok::<(), demask_std::pool::PoolError>(())
/// ```
#[derive(Debug)]
pub struct Pool {
    team: Team,
}

/// The threads could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start {threads} threads: {source}; ask for fewer with --threads")]
pub struct PoolError {
    threads: usize,
    source: io::Error,
}

impl PoolError {
    pub(crate) fn new(threads: usize, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { threads, source: io::Error::other(source) }
    }
}

/// Most threads a pool takes; each has its own scratch memory.
pub const MAX_THREADS: usize = 256;

impl Pool {
    /// Makes a pool of `threads` threads (at least 1, at most [`MAX_THREADS`]): it starts one less,
    /// since whoever calls [`run`](Executor::run) works too.
    ///
    /// # Errors
    /// [`PoolError`] if the operating system refuses.
    pub fn new(threads: usize) -> Result<Self, PoolError> {
        let threads = threads.clamp(1, MAX_THREADS);
        let team = Team::new(threads - 1).map_err(|source| PoolError::new(threads, source))?;
        Ok(Self { team })
    }
}

impl Executor for Pool {
    fn workers(&self) -> usize {
        self.team.helpers() + 1
    }

    /// # Panics
    /// If `work` does, on whichever thread; the pool remains usable.
    fn run<S: Send, T: Send, E: Send>(
        &self,
        states: impl Iterator<Item = S> + Send,
        tasks: impl Iterator<Item = T> + Send,
        work: impl Fn(&mut S, T) -> Result<(), E> + Sync,
    ) -> Result<(), E> {
        let useful = tasks.size_hint().1.unwrap_or(usize::MAX).min(self.workers());
        // Each thread keeps its state from sweep to sweep: what it wrote last is in its cache.
        let states = states.take(self.workers()).map(Some).collect();
        let queue = Mutex::new(Queue { states, tasks: Some(tasks.enumerate()), failed: None });
        self.team.run(useful, &|worker| {
            let (Some(mut state), mut next) = lock(&queue).join(worker) else { return false };
            let found = next.is_some();
            while let Some((index, task)) = next {
                if let Err(error) = work(&mut state, task) {
                    lock(&queue).fail(index, error);
                }
                next = lock(&queue).next();
            }
            found
        });
        let queue = queue.into_inner().unwrap_or_else(PoisonError::into_inner);
        queue.failed.map_or(Ok(()), |(_, error)| Err(error))
    }
}

/// What is left to do in a sweep. Its lock is held only for cutting off a piece.
struct Queue<S, I, E> {
    /// By worker.
    states: Vec<Option<S>>,
    /// `None` at the end, and after an error: tasks behind the first error need not run.
    tasks: Option<I>,
    /// The earliest error.
    failed: Option<(usize, E)>,
}

impl<S, T, E, I: Iterator<Item = (usize, T)>> Queue<S, I, E> {
    /// The state and the first task of a worker; a worker without a task needs no state.
    fn join(&mut self, worker: usize) -> (Option<S>, Option<(usize, T)>) {
        let state = self.states.get_mut(worker).and_then(Option::take);
        let task = state.as_ref().and_then(|_| self.next());
        (state, task)
    }

    fn next(&mut self) -> Option<(usize, T)> {
        // Taken out while it runs: should the iterator panic, there are no more tasks.
        let mut tasks = self.tasks.take()?;
        let task = tasks.next()?;
        self.tasks = Some(tasks);
        Some(task)
    }

    fn fail(&mut self, index: usize, error: E) {
        self.tasks = None;
        // All tasks before a failed one have been handed out, so the earliest error shows up.
        if self.failed.as_ref().is_none_or(|(earliest, _)| index < *earliest) {
            self.failed = Some((index, error));
        }
    }
}

/// A panic of `work` never happens under a lock, and one of an iterator leaves no tasks behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "pool/tests.rs"]
mod tests;
