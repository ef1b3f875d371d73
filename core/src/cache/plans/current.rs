//! Which slots hold what stands on the canvas: what every plan with a choice of rows has to know.

use crate::cache::{CacheView, Decided, RowList};
use crate::decode::Commit;

/// A set of slots in borrowed bits: those whose keys and values were computed from the token that stands
/// there now. All others must not be trusted.
#[derive(Debug)]
pub(super) struct Current<'a> {
    bits: &'a mut [u8],
}

impl<'a> Current<'a> {
    /// Room for eight slots per byte.
    pub(super) fn new(bits: &'a mut [u8]) -> Self {
        Self { bits }
    }

    /// Slots that there is room for.
    pub(super) fn capacity(&self) -> usize {
        self.bits.len().saturating_mul(8)
    }

    /// No slot has been computed.
    pub(super) fn clear(&mut self) {
        self.bits.fill(0);
    }

    pub(super) fn has(&self, slot: usize) -> bool {
        self.bits.get(slot / 8).is_some_and(|byte| byte >> (slot % 8) & 1 == 1)
    }

    /// These rows are computed now.
    pub(super) fn computed(&mut self, rows: &RowList<'_>) {
        for &row in rows.rows() {
            if let Some(byte) = self.bits.get_mut(usize::from(row) / 8) {
                *byte |= 1 << (row % 8);
            }
        }
    }

    /// Another token stands there from now on.
    pub(super) fn forget(&mut self, slot: usize) {
        if let Some(byte) = self.bits.get_mut(slot / 8) {
            *byte &= !(1 << (slot % 8));
        }
    }
}

/// Adds what every candidate needs: its own row, and the one that predicts it.
pub(super) fn add_candidates(view: &CacheView<'_>, rows: &mut RowList<'_>) {
    let end = view.visible_end();
    for position in view.candidates() {
        rows.add(view.row_of(position));
        rows.add_all(usize::from(position)..end.min(usize::from(position) + 1));
    }
}

/// Adds the block, and what its wanted rows need, if nothing is left to commit: a policy looks once more.
pub(super) fn add_block_without_masks(view: &CacheView<'_>, rows: &mut RowList<'_>) {
    if view.candidates().next().is_none() {
        view.wanted.iter().for_each(|&position| rows.add(view.row_of(position)));
        rows.add_all(view.block.start..view.block.end.min(view.visible_end()));
    }
}

/// Everything that a step has changed.
pub(super) fn edits<'s>(step: &'s Decided<'_>) -> impl Iterator<Item = usize> + 's {
    let position = |edit: &Commit| edit.position as usize;
    step.commits.iter().chain(step.revisions).map(position)
}

/// The range of changed positions whose slots a plan would not compute again by itself.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Stale {
    start: usize,
    end: usize,
}

impl Stale {
    /// Takes in what a step has changed, where `trusted` says that the slot would be trusted.
    pub(super) fn note(&mut self, step: &Decided<'_>, trusted: impl Fn(usize) -> bool) {
        for position in edits(step).filter(|position| trusted(*position)) {
            let empty = self.start >= self.end;
            self.start = if empty { position } else { self.start.min(position) };
            self.end = self.end.max(position + 1);
        }
    }

    /// Adds the rows of the range that can be seen; the others wait.
    pub(super) fn add_to(&mut self, rows: &mut RowList<'_>, visible_end: usize) {
        rows.add_all(self.start..self.end.min(visible_end));
        self.start = self.start.max(visible_end);
    }
}
