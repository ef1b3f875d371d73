//! dKV-Cache's greedy variant: the next token, the last one, and what stands around it.

use super::current::{Current, add_block_without_masks, edits};
use crate::cache::{CachePlan, CacheView, Decided, RowList};
use crate::decode::philox4x32;
use core::ops::Range;

/// dKV-Cache-Greedy (arXiv 2505.15781): an order of decoding is drawn for each block beforehand, so a pass
/// needs the rows of the tokens that come next, of those just decided, and of the `W` masks nearest to
/// these. Every `R`-th pass of a block computes everything. Published: `R` 2, `W` 4.
///
/// Only the positions whose turn it is are candidates, whatever the policy prefers. The window stands
/// around the token just decided, which the paper finds better than around the next one.
///
/// Memory: one bit per position.
#[derive(Debug)]
pub struct DkvGreedy<'a> {
    current: Current<'a>,
    seed: u64,
    tokens: usize,
    window: usize,
    every: usize,
    /// Draw and position of the last one whose turn it is.
    last: (u32, u16),
    block: usize,
}

impl<'a> DkvGreedy<'a> {
    /// One token per pass, in an order drawn from `seed`. `bits` serves eight positions per byte.
    #[must_use]
    pub fn new(bits: &'a mut [u8], seed: u64) -> Self {
        let current = Current::new(bits);
        Self { current, seed, tokens: 1, window: 4, every: 2, last: (0, 0), block: 0 }
    }

    /// Another number of tokens per pass, at least 1.
    #[must_use]
    pub fn tokens(self, tokens: usize) -> Self {
        Self { tokens: tokens.max(1), ..self }
    }

    /// Another number of masks around each token just decided.
    #[must_use]
    pub fn window(self, masks: usize) -> Self {
        Self { window: masks, ..self }
    }

    /// Another number of passes between those that compute everything; 1 computes everything each time, 0
    /// only at the first pass of a block.
    #[must_use]
    pub fn refreshed_every(self, passes: usize) -> Self {
        Self { every: passes, ..self }
    }

    /// The place of a position in the order of this block.
    fn turn(&self, position: u16) -> (u32, u16) {
        let key = [self.seed as u32, (self.seed >> 32) as u32];
        let counter = [position.into(), self.block as u32, 0, 2];
        let [draw, ..] = philox4x32(counter, key);
        (draw, position)
    }

    /// Finds out whose turn it is.
    fn call(&mut self, view: &CacheView<'_>) {
        self.block = view.block.start;
        let turns = view.candidates().map(|position| self.turn(position));
        let first = turns.clone().min();
        let mut last = first;
        for _ in 1..self.tokens {
            let next = turns.clone().filter(|turn| Some(*turn) > last).min();
            last = next.or(last);
        }
        self.last = last.unwrap_or((0, 0));
    }
}

/// Adds the masks nearest to a position, the left one first of two.
fn add_window(view: &CacheView<'_>, rows: &mut RowList<'_>, centre: usize, masks: usize) {
    let end = view.visible_end();
    let mut left = masks;
    for distance in 1..=end {
        for position in [centre.checked_sub(distance), centre.checked_add(distance)] {
            let Some(position) = position.filter(|position| *position < end) else { continue };
            let is_mask = view.canvas.get(position) == Some(&view.mask_id);
            if left > 0 && is_mask && !rows.contains(position) {
                rows.add(position);
                left -= 1;
            }
        }
        if left == 0 {
            break;
        }
    }
}

impl CachePlan for DkvGreedy<'_> {
    fn name(&self) -> &'static str {
        "dkv-greedy"
    }

    fn is_exact(&self) -> bool {
        false
    }

    fn capacity(&self) -> usize {
        self.current.capacity()
    }

    fn limits_candidates(&self) -> bool {
        true
    }

    fn is_candidate(&self, position: u16) -> bool {
        self.turn(position) <= self.last
    }

    fn begin(&mut self, _: Range<usize>) {
        self.current.clear();
    }

    fn plan(&mut self, view: &CacheView<'_>, rows: &mut RowList<'_>) {
        self.call(view);
        let end = view.visible_end();
        if view.pass.is_multiple_of(self.every) {
            rows.add_all(0..end);
        } else {
            for position in view.candidates().filter(|position| self.is_candidate(*position)) {
                rows.add(view.row_of(position));
                rows.add_all(usize::from(position)..end.min(usize::from(position) + 1));
            }
            let stale = (0..end).filter(|row| !self.current.has(*row));
            stale.clone().for_each(|row| rows.add(row));
            let is_token = |row: &usize| view.canvas.get(*row) != Some(&view.mask_id);
            stale.filter(is_token).for_each(|row| add_window(view, rows, row, self.window));
            add_block_without_masks(view, rows);
        }
        self.current.computed(rows);
    }

    fn decided(&mut self, step: &Decided<'_>) {
        edits(step).for_each(|position| self.current.forget(position));
    }
}
