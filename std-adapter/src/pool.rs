//! A thread pool as the engine's [`Executor`].

use demask::Executor;

/// Runs pieces of a forward pass on a fixed number of threads.
///
/// The result of a forward pass does not depend on the number.
#[derive(Debug)]
pub struct Pool {
    threads: rayon::ThreadPool,
}

/// The threads could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start {threads} threads: {source}; ask for fewer with --threads")]
pub struct PoolError {
    threads: usize,
    source: rayon::ThreadPoolBuildError,
}

/// Most threads a pool takes; each has its own scratch memory.
pub const MAX_THREADS: usize = 256;

impl Pool {
    /// Starts `threads` threads (at least 1, at most [`MAX_THREADS`]).
    ///
    /// # Errors
    /// [`PoolError`] if the operating system refuses.
    pub fn new(threads: usize) -> Result<Self, PoolError> {
        let threads = threads.clamp(1, MAX_THREADS);
        let threads = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("demask-{i}"))
            .build()
            .map_err(|source| PoolError { threads, source })?;
        Ok(Self { threads })
    }

    /// Runs `work` with this pool as the place where it splits itself up.
    pub fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.threads.install(work)
    }
}

impl Executor for Pool {
    fn workers(&self) -> usize {
        self.threads.current_num_threads()
    }

    fn join<A: Send, B: Send>(
        &self,
        a: impl FnOnce() -> A + Send,
        b: impl FnOnce() -> B + Send,
    ) -> (A, B) {
        // From one of the pool's own threads `install` is a plain call.
        self.threads.install(|| rayon::join(a, b))
    }
}
