//! Work in pieces on several threads, with the results in order.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is left of the pieces. Its lock is held only for taking one.
struct Queue<I, T, E> {
    /// `None` after an error: what follows need not be done.
    pieces: Option<I>,
    done: Vec<(usize, T)>,
    /// The earliest error.
    failed: Option<(usize, E)>,
}

/// Calls `work` on every piece, on up to `threads` threads, each with a state of its own from
/// `state`. Returns the results in the order of the pieces.
///
/// # Errors
/// That of the earliest piece that failed. All pieces before it have been worked on.
pub(crate) fn in_order<P: Send, S, T: Send, E: Send>(
    threads: usize,
    pieces: impl ExactSizeIterator<Item = P> + Send,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, P) -> Result<T, E> + Sync,
) -> Result<Vec<T>, E> {
    let helpers = threads.min(pieces.len()).saturating_sub(1);
    let pieces = Some(pieces.enumerate());
    let queue = Mutex::new(Queue { pieces, done: Vec::new(), failed: None });
    let help = || {
        let mut state = state();
        loop {
            let next = lock(&queue).pieces.as_mut().and_then(Iterator::next);
            let Some((index, piece)) = next else { break };
            let result = work(&mut state, piece);
            let mut queue = lock(&queue);
            match result {
                Ok(result) => queue.done.push((index, result)),
                Err(error) => {
                    queue.pieces = None;
                    if queue.failed.as_ref().is_none_or(|(earliest, _)| index < *earliest) {
                        queue.failed = Some((index, error));
                    }
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..helpers {
            // A thread that the system refuses is a thread less: the others do its work.
            let _ = std::thread::Builder::new().spawn_scoped(scope, help);
        }
        help();
    });
    let mut queue = queue.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, error)) = queue.failed {
        return Err(error);
    }
    queue.done.sort_unstable_by_key(|(index, _)| *index);
    Ok(queue.done.into_iter().map(|(_, result)| result).collect())
}

/// Nothing panics under the lock but the iterator of pieces, and then the scope does so too.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_order_and_the_earliest_error_counts() {
        for threads in [0, 1, 2, 7] {
            let square = |_: &mut (), i: usize| Ok::<_, ()>(i * i);
            let squares = in_order(threads, 0..100, || (), square).unwrap();
            assert!(squares.into_iter().eq((0..100).map(|i| i * i)));
            let fail = |_: &mut (), i: usize| if i % 30 == 29 { Err(i) } else { Ok(()) };
            assert_eq!(in_order(threads, 0..100, || (), fail).unwrap_err(), 29);
        }
    }
}
