//! What has been computed stays: caches without a refresh.

use super::current::{Stale, add_candidates};
use crate::cache::{CachePlan, CacheView, Decided, RowList};
use crate::decode::Needs;
use crate::model::Visible;
use core::ops::Range;

/// FlashDLM's FreeCache (arXiv 2505.21467): everything in the first pass, then the rows from the block on.
/// What stands before the block is frozen as the block's last pass has computed it, so before that pass's
/// own commits, and is never computed again: the cheapest plan, and the one that drifts most.
///
/// In a shifted model the frozen part ends one position earlier, because its last row predicts the block's
/// first position. No memory.
#[derive(Debug, Clone, Copy, Default)]
pub struct FreeCache {
    repairs: bool,
    /// Where the next pass starts.
    start: usize,
    /// Where the rows end that have been computed: full blocks that were skipped may lie behind.
    computed: usize,
    stale: Stale,
}

impl FreeCache {
    /// Computes a finished block once more with its final tokens before it is frozen: together with the
    /// first pass of the next one.
    #[must_use]
    pub fn repaired() -> Self {
        Self { repairs: true, ..Self::default() }
    }
}

impl CachePlan for FreeCache {
    fn name(&self) -> &'static str {
        if self.repairs { "free-repaired" } else { "free" }
    }

    fn is_exact(&self) -> bool {
        false
    }

    /// What is frozen may not change.
    fn forbids(&self) -> Needs {
        Needs::RESIZING.and(Needs::REVISIONS)
    }

    fn begin(&mut self, _: Range<usize>) {
        *self = Self { repairs: self.repairs, ..Self::default() };
    }

    fn plan(&mut self, view: &CacheView<'_>, rows: &mut RowList<'_>) {
        let clean = view.block.start.saturating_sub(usize::from(view.shifted_logits));
        let start = if self.repairs || view.forward == 0 { self.start } else { clean };
        let end = view.visible_end();
        self.stale.add_to(rows, end);
        rows.add_all(start.min(self.computed)..end);
        add_candidates(view, rows);
        (self.start, self.computed) = (clean, self.computed.max(end));
    }

    fn decided(&mut self, step: &Decided<'_>) {
        // Masks before the block are computed as masks until they are filled; then once more.
        let start = self.start;
        self.stale.note(step, |position| position < start);
    }
}

/// LaViDa's prefix cache (arXiv 2505.16839): rows of the prompt see the prompt alone, so they are computed
/// once; those of the answer see everything and are computed in every pass. Exact for models trained with
/// this prefix; on others the prefix itself changes the scores, and the cache adds nothing to that.
///
/// Masks in the prompt are filled before it is trusted. Needs a model that hides slots. No memory.
#[derive(Debug, Clone, Copy, Default)]
pub struct LavidaPrefix {
    prompt: usize,
    computed: bool,
}

impl CachePlan for LavidaPrefix {
    fn name(&self) -> &'static str {
        "lavida"
    }

    fn is_exact(&self) -> bool {
        true
    }

    fn needs(&self) -> Needs {
        Needs::VISIBILITY
    }

    /// The prompt does not see the answer, whatever happens to it.
    fn forbids(&self) -> Needs {
        Needs::NONE
    }

    fn begin(&mut self, region: Range<usize>) {
        *self = Self { prompt: region.start, computed: false };
    }

    fn plan(&mut self, view: &CacheView<'_>, rows: &mut RowList<'_>) {
        let start = if self.computed { self.prompt } else { 0 };
        let end = view.visible_end();
        rows.add_all(start..end);
        let prompt = view.canvas.get(..self.prompt).unwrap_or_default();
        // With block-causal attention, a first block inside of the prompt does not see all of it.
        self.computed |= end >= self.prompt && !prompt.contains(&view.mask_id);
    }

    fn visible(&self) -> Visible<'_> {
        Visible { prefix: self.prompt, ..Visible::ALL }
    }

    fn decided(&mut self, step: &Decided<'_>) {
        let mut revisions = step.revisions.iter();
        self.computed &= !revisions.any(|revision| (revision.position as usize) < self.prompt);
    }
}
