//! Everything again when a decision was uncertain.

use super::current::{Current, add_candidates, edits};
use crate::cache::{CachePlan, CacheView, Decided, RowList};
use core::ops::Range;

/// EntropyCache (arXiv 2603.18489): everything is computed at the first pass, and whenever a token just
/// decided had an entropy above `nats`; otherwise the masks up to the block's end and the tokens decided
/// last.
///
/// The rule is that of the paper's abstract; its constants were not to be had, and the threshold here, 0.5
/// nats, and 8 tokens are this engine's. Memory: one bit per position, and one `u16` per token that counts
/// as just decided.
#[derive(Debug)]
pub struct EntropyRefresh<'a> {
    current: Current<'a>,
    recent: &'a mut [u16],
    decided: usize,
    nats: f32,
    refresh: bool,
}

impl<'a> EntropyRefresh<'a> {
    /// Entropy that asks for a refresh, in nats.
    pub const NATS: f32 = 0.5;
    /// Tokens that count as just decided: the length of `recent`.
    pub const RECENT: usize = 8;

    /// `bits` serves eight positions per byte, `recent` has an entry for each token that counts as just
    /// decided.
    #[must_use]
    pub fn new(bits: &'a mut [u8], recent: &'a mut [u16], nats: f32) -> Self {
        Self { current: Current::new(bits), recent, decided: 0, nats, refresh: true }
    }

    fn remember(&mut self, position: usize) {
        let Some(at) = self.decided.checked_rem(self.recent.len()) else { return };
        if let (Some(slot), Ok(position)) = (self.recent.get_mut(at), u16::try_from(position)) {
            *slot = position;
            self.decided += 1;
        }
    }
}

impl CachePlan for EntropyRefresh<'_> {
    fn name(&self) -> &'static str {
        "entropy"
    }

    fn is_exact(&self) -> bool {
        false
    }

    fn capacity(&self) -> usize {
        self.current.capacity()
    }

    fn begin(&mut self, _: Range<usize>) {
        self.current.clear();
        (self.decided, self.refresh) = (0, true);
    }

    fn plan(&mut self, view: &CacheView<'_>, rows: &mut RowList<'_>) {
        let end = view.visible_end();
        for row in (0..end).filter(|row| self.refresh || !self.current.has(*row)) {
            rows.add(row);
        }
        add_candidates(view, rows);
        let recent = self.recent.iter().take(self.decided).map(|position| usize::from(*position));
        recent.filter(|position| *position < end).for_each(|position| rows.add(position));
        view.wanted.iter().for_each(|&position| rows.add(view.row_of(position)));
        self.current.computed(rows);
    }

    fn decided(&mut self, step: &Decided<'_>) {
        edits(step).for_each(|position| self.current.forget(position));
        self.refresh = step.commits.iter().any(|commit| {
            let at = step.scores.binary_search_by_key(&commit.position, |score| score.position);
            let score = at.ok().and_then(|at| step.scores.get(at));
            score.is_some_and(|score| score.entropy > self.nats)
        });
        step.commits.iter().for_each(|commit| self.remember(commit.position as usize));
    }
}
