//! Who runs the row ranges of a forward pass.

/// Runs pieces of work, perhaps several at the same time.
///
/// The engine calls [`run`](Self::run) twice per layer and once for the head: that is a whole sweep
/// over the rows each time, not an operator, so threads meet rarely. Pieces are handed out one by
/// one, whenever a worker is free, so that a slow worker takes fewer of them. Results do not
/// depend on who takes which: a row is always computed whole by one worker, and rows never add into
/// each other.
///
/// # Example
/// ```
/// use demask::{Executor, Serial};
///
/// // One scratch buffer per worker; the pieces are disjoint parts of the output.
/// let (mut scratch, mut squares) = (vec![0u32; Serial.workers()], [0u32; 5]);
/// let done: Result<(), &str> = Serial.run(
///     scratch.iter_mut(),
///     squares.chunks_mut(2).zip(1..),
///     |scratch, (piece, number)| {
///         **scratch = number * number;
///         piece.fill(**scratch);
///         if number < 9 { Ok(()) } else { Err("too large") }
///     },
/// );
/// assert_eq!((done, squares), (Ok(()), [1, 1, 4, 4, 9]));
/// ```
pub trait Executor: Sync {
    /// How many workers there are, and so how many scratch areas [`Plan`](crate::Plan) must
    /// provide.
    fn workers(&self) -> usize;

    /// Runs `work` on every item of `tasks`, each exactly once, in any order or in parallel, and
    /// returns when all are done. Tasks are taken from the iterator one by one, in order; its upper
    /// size hint tells how many workers are of use.
    ///
    /// `states` yields [`workers`](Self::workers) items. A worker takes one of them and keeps it for
    /// all its tasks. A worker for whom none is left does nothing; if there are none at all, nothing
    /// is done.
    ///
    /// # Errors
    /// That of the earliest task that failed. Tasks after it may be left out, earlier ones may not:
    /// so the error does not depend on the workers either.
    fn run<S: Send, T: Send, E: Send>(
        &self,
        states: impl Iterator<Item = S> + Send,
        tasks: impl Iterator<Item = T> + Send,
        work: impl Fn(&mut S, T) -> Result<(), E> + Sync,
    ) -> Result<(), E>;
}

/// One worker: task after task.
#[derive(Debug, Clone, Copy, Default)]
pub struct Serial;

impl Executor for Serial {
    fn workers(&self) -> usize {
        1
    }

    fn run<S: Send, T: Send, E: Send>(
        &self,
        mut states: impl Iterator<Item = S> + Send,
        mut tasks: impl Iterator<Item = T> + Send,
        work: impl Fn(&mut S, T) -> Result<(), E> + Sync,
    ) -> Result<(), E> {
        let Some(mut state) = states.next() else { return Ok(()) };
        tasks.try_for_each(|task| work(&mut state, task))
    }
}

/// Work over a range of rows that can be cut in two.
pub(crate) trait Split: Send + Sized {
    /// Rows of the range.
    fn rows(&self) -> usize;

    /// Cuts off the first `rows` rows.
    fn split(self, rows: usize) -> (Self, Self);
}

/// Rows below which a piece reads the weights for too little work: 8 cost up to 4 % more time per row
/// than 32, 4 up to 9 %, 1 up to 47 % (x86-64 kernels, models of 1 and 10 million parameters).
const FEW_ROWS: usize = 8;
/// The matrix products work on small groups of rows at a time; pieces are whole groups.
const ROW_GROUP: usize = 4;

/// Cuts a row range into pieces for workers, the next one each time a worker asks.
///
/// Large pieces come first, because they use the weights best, and smaller ones towards the end, so
/// that the workers finish together. None has more rows than a tile.
pub(crate) struct Pieces<T> {
    rest: Option<T>,
    sizes: Sizes,
}

/// How large pieces are.
#[derive(Clone, Copy)]
struct Sizes {
    workers: usize,
    most: usize,
}

impl Sizes {
    /// Every worker gets a piece even where the rows are few.
    fn new(rows: usize, workers: usize, tile: usize) -> Self {
        let workers = workers.max(1);
        Self { workers, most: rows.div_ceil(workers).min(tile).max(1) }
    }

    /// Rows of the next piece when `left` rows are left.
    #[inline(never)] // once in flash, not once for each kind of piece
    fn next(self, left: usize) -> usize {
        if self.workers == 1 {
            return self.most;
        }
        let part = left.div_ceil(self.workers.saturating_mul(2).max(1));
        (part.div_ceil(ROW_GROUP) * ROW_GROUP).max(FEW_ROWS).min(self.most)
    }
}

impl<T: Split> Pieces<T> {
    pub(crate) fn new(task: T, workers: usize, tile: usize) -> Self {
        let sizes = Sizes::new(task.rows(), workers, tile);
        Self { rest: Some(task), sizes }
    }
}

impl<T: Split> Iterator for Pieces<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let rest = self.rest.take().filter(|rest| rest.rows() > 0)?;
        let rows = self.sizes.next(rest.rows());
        let (piece, rest) = rest.split(rows);
        self.rest = Some(rest);
        Some(piece)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let rows = self.rest.as_ref().map_or(0, Split::rows);
        let most = self.sizes.most.max(1);
        (rows.div_ceil(most), Some(rows.div_ceil(most.clamp(1, FEW_ROWS))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    impl Split for core::ops::Range<usize> {
        fn rows(&self) -> usize {
            self.len()
        }

        fn split(self, rows: usize) -> (Self, Self) {
            let middle = self.end.min(self.start + rows);
            (self.start..middle, middle..self.end)
        }
    }

    fn sizes(rows: usize, workers: usize, tile: usize) -> Vec<usize> {
        Pieces::new(0..rows, workers, tile).map(|piece| piece.len()).collect()
    }

    #[test]
    fn pieces_are_disjoint_complete_and_no_larger_than_a_tile() {
        for rows in 0..100 {
            for workers in 0..9 {
                for tile in 1..40 {
                    let mut pieces = Pieces::new(0..rows, workers, tile);
                    let mut next = 0;
                    loop {
                        let (least, most) = pieces.size_hint();
                        let left = pieces.by_ref();
                        let count = {
                            let rest = left.rest.clone();
                            let copy = Pieces { rest, sizes: left.sizes };
                            copy.count()
                        };
                        assert!(
                            (least..=most.unwrap()).contains(&count),
                            "{rows} {workers} {tile}"
                        );
                        let Some(piece) = left.next() else { break };
                        assert!(piece.start == next && (1..=tile).contains(&piece.len()));
                        next = piece.end;
                    }
                    assert_eq!(next, rows);
                }
            }
        }
    }

    #[test]
    fn one_worker_takes_whole_tiles() {
        assert_eq!(sizes(70, 1, 32), [32, 32, 6]);
    }

    #[test]
    fn few_rows_leave_no_worker_without_work() {
        assert_eq!(sizes(10, 2, 32), [5, 5]);
        assert_eq!(sizes(3, 8, 32), [1, 1, 1]);
    }

    #[test]
    fn pieces_become_smaller_towards_the_end() {
        assert_eq!(sizes(64, 2, 32), [16, 12, 12, 8, 8, 8]);
    }

    #[test]
    fn serial_stops_at_the_first_error() {
        let mut seen = Vec::new();
        let done = Serial.run(core::iter::once(&mut seen), 0..5, |seen, task| {
            seen.push(task);
            if task < 2 { Ok(()) } else { Err(task) }
        });
        assert_eq!((done, seen), (Err(2), std::vec![0, 1, 2]));
        let none = Serial.run(core::iter::empty::<()>(), 0..5, |_, task| Err(task));
        assert_eq!(none, Ok(()), "no state, no work");
    }
}
