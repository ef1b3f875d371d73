//! Who runs the row ranges of a forward pass.

/// Runs two closures, perhaps at the same time.
///
/// Fork-join is all the engine asks for: it halves its row range until there is a piece for every
/// worker. Results do not depend on it, because a row is always computed whole by one worker and
/// rows never add into each other.
pub trait Executor: Sync {
    /// How many pieces a row range is cut into, and so how many scratch areas
    /// [`Plan`](crate::Plan) must provide.
    fn workers(&self) -> usize;

    /// Runs both closures to their end, in any order or in parallel.
    fn join<A: Send, B: Send>(
        &self,
        a: impl FnOnce() -> A + Send,
        b: impl FnOnce() -> B + Send,
    ) -> (A, B);
}

/// One worker: `a`, then `b`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Serial;

impl Executor for Serial {
    fn workers(&self) -> usize {
        1
    }

    fn join<A: Send, B: Send>(
        &self,
        a: impl FnOnce() -> A + Send,
        b: impl FnOnce() -> B + Send,
    ) -> (A, B) {
        (a(), b())
    }
}

/// A piece of work over a range of rows that can be cut in two.
pub(crate) trait Split: Send + Sized {
    /// Cuts off the share of the first `left` of `workers` workers.
    fn split(self, left: usize, workers: usize) -> (Self, Self);
}

/// Cuts `task` into `workers` pieces and runs `work` on each.
pub(crate) fn for_each_piece<T: Split, E: Executor, R: Send>(
    executor: &E,
    workers: usize,
    task: T,
    work: &(impl Fn(T) -> Result<(), R> + Sync),
) -> Result<(), R> {
    if workers <= 1 {
        return work(task);
    }
    let left = workers / 2;
    let (a, b) = task.split(left, workers);
    let (a, b) = executor.join(
        || for_each_piece(executor, left, a, work),
        || for_each_piece(executor, workers - left, b, work),
    );
    // The first error in row order, whichever worker met one first.
    a.and(b)
}
