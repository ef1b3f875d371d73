//! Everything at the start of a block, then less: Fast-dLLM's caches, and dInfer's between the two.

use super::current::{Stale, add_candidates};
use crate::cache::{CachePlan, CacheView, Decided, RowList};
use core::ops::Range;

/// Fast-dLLM's prefix cache (arXiv 2505.22618): all rows at the first pass of a block, then those from
/// the block on. Approximate: what stands before the block would see its new tokens.
///
/// Masks before the block are candidates, so their rows are computed too; the release leaves them out.
#[derive(Debug, Clone, Copy, Default)]
pub struct PrefixCache {
    /// Passes of a block between those that compute everything; 0 for the first one only. Pass 0 is a
    /// multiple of any number.
    every: usize,
    start: usize,
    stale: Stale,
}

impl PrefixCache {
    /// Computes all rows at every `passes`-th pass of a block too.
    #[must_use]
    pub fn refreshed_every(passes: usize) -> Self {
        Self { every: passes, ..Self::default() }
    }
}

impl CachePlan for PrefixCache {
    fn name(&self) -> &'static str {
        "prefix"
    }

    fn is_exact(&self) -> bool {
        false
    }

    fn begin(&mut self, _: Range<usize>) {
        self.stale = Stale::default();
    }

    fn plan(&mut self, view: &CacheView<'_>, rows: &mut RowList<'_>) {
        self.start = view.block.start;
        let start = if view.pass.is_multiple_of(self.every) { 0 } else { self.start };
        self.stale.add_to(rows, view.visible_end());
        rows.add_all(start..view.visible_end());
        add_candidates(view, rows);
    }

    fn decided(&mut self, step: &Decided<'_>) {
        let start = self.start;
        self.stale.note(step, |position| position < start);
    }
}

/// Fast-dLLM's dual cache: all rows at the first pass of a block, then those of the block alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct DualCache(Around);

impl DualCache {
    /// Computes all rows at every `passes`-th pass of a block too.
    #[must_use]
    pub fn refreshed_every(passes: usize) -> Self {
        Self(Around { every: passes, ..Around::default() })
    }
}

/// dInfer's vicinity refresh (arXiv 2510.08666): all rows in the first passes of the text and the first of
/// each block, then those of the block and of its neighbourhood. Published: 4 passes, 16 rows on either
/// side.
#[derive(Debug, Clone, Copy)]
pub struct VicinityCache(Around);

impl VicinityCache {
    /// Computes all rows in the first `warm_up` passes of the text, then `before` and `after` rows around
    /// the block.
    #[must_use]
    pub fn new(before: usize, after: usize, warm_up: usize) -> Self {
        Self(Around { before, after, warm_up, ..Around::default() })
    }

    /// Computes all rows at every `passes`-th pass of a block too.
    #[must_use]
    pub fn refreshed_every(self, passes: usize) -> Self {
        Self(Around { every: passes, ..self.0 })
    }
}

impl Default for VicinityCache {
    fn default() -> Self {
        Self::new(16, 16, 4)
    }
}

/// The rows of the block, with some on either side.
#[derive(Debug, Clone, Copy, Default)]
struct Around {
    before: usize,
    after: usize,
    warm_up: usize,
    every: usize,
    /// What the last pass would have computed without a refresh.
    start: usize,
    end: usize,
    stale: Stale,
}

impl Around {
    fn plan(&mut self, view: &CacheView<'_>, rows: &mut RowList<'_>) {
        let visible = view.visible_end();
        self.start = view.block.start.saturating_sub(self.before);
        self.end = view.block.end.saturating_add(self.after).min(visible);
        self.stale.add_to(rows, view.visible_end());
        match view.forward < self.warm_up || view.pass.is_multiple_of(self.every) {
            true => rows.add_all(0..visible),
            false => rows.add_all(self.start..self.end),
        }
        add_candidates(view, rows);
    }

    fn decided(&mut self, step: &Decided<'_>) {
        let computed = self.start..self.end;
        self.stale.note(step, |position| !computed.contains(&position));
    }
}

/// Both plans differ in numbers and name only.
macro_rules! around {
    ($type:ty, $name:literal) => {
        impl CachePlan for $type {
            fn name(&self) -> &'static str {
                $name
            }

            fn is_exact(&self) -> bool {
                false
            }

            fn begin(&mut self, _: Range<usize>) {
                self.0.stale = Stale::default();
            }

            fn plan(&mut self, view: &CacheView<'_>, rows: &mut RowList<'_>) {
                self.0.plan(view, rows);
            }

            fn decided(&mut self, step: &Decided<'_>) {
                self.0.decided(step);
            }
        }
    };
}

around!(DualCache, "dual");
around!(VicinityCache, "vicinity");
