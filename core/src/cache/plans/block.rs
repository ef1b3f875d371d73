//! The caches of models whose finished blocks see nothing that comes later.

use super::current::Stale;
use crate::cache::{CachePlan, CacheView, Decided, RowList};
use crate::image::Attention;
use core::ops::Range;

/// The exact cache of block-causal and causal models: finished blocks are computed once as they
/// stand, together with the first step of the next one; then only the rows of the block in hand.
#[derive(Debug, Clone, Copy, Default)]
pub struct BlockCache {
    /// Slots from the first on that hold finished tokens, as computed with those tokens.
    finished: usize,
    /// First position that has been edited since.
    edited: usize,
}

/// The first position of the attention's block.
fn block_start(attention: Attention, position: usize) -> usize {
    match attention {
        Attention::BlockCausal(block) => {
            position.checked_div(block as usize).unwrap_or(0) * block as usize
        }
        Attention::Bidirectional => 0,
    }
}

impl BlockCache {
    /// The first row to compute. A finished block that was edited is not finished: its rows see each
    /// other, and all that follows sees them.
    fn start(&self, view: &CacheView<'_>) -> usize {
        self.finished.min(block_start(view.attention, self.edited))
    }
}

impl CachePlan for BlockCache {
    fn name(&self) -> &'static str {
        "block"
    }

    fn is_exact(&self) -> bool {
        true
    }

    fn needs_blocks(&self) -> bool {
        true
    }

    fn has_window(&self) -> bool {
        true
    }

    fn begin(&mut self, _: Range<usize>) {
        self.finished = 0;
    }

    fn plan(&mut self, view: &CacheView<'_>, rows: &mut RowList<'_>) {
        rows.add_all(self.start(view)..view.visible_end());
        // Everything before the block in hand, and before any mask that has come back, has its final
        // tokens and is computed now.
        let first = view.wanted.first().map_or(view.block.start, |first| usize::from(*first));
        self.finished = block_start(view.attention, first.min(view.block.start));
        self.edited = usize::MAX;
    }

    fn decided(&mut self, step: &Decided<'_>) {
        for revision in step.revisions {
            self.edited = self.edited.min(revision.position as usize);
        }
    }

    fn slid(&mut self, _keep: usize, drop: usize) {
        self.finished = self.finished.saturating_sub(drop);
        // Among pinned slots that is too low, and some rows are computed once more.
        self.edited = self.edited.saturating_sub(drop);
    }
}

/// Fast-dLLM v2's hierarchical cache (arXiv 2509.26328): the exact prefix of [`BlockCache`], and inside
/// the block in hand only the rows of the sub-block. The whole block is computed at the first pass of a
/// sub-block and, in shifted models, as long as its first position is a mask: another row predicts it.
/// Approximate inside the block.
///
/// The sub-blocks are the session's blocks: set the block length to a divisor of the attention's, 8 of 32
/// as published.
#[derive(Debug, Clone, Copy, Default)]
pub struct SubBlockCache {
    blocks: BlockCache,
    sub_block: (usize, usize),
    stale: Stale,
}

impl CachePlan for SubBlockCache {
    fn name(&self) -> &'static str {
        "sub-block"
    }

    fn is_exact(&self) -> bool {
        false
    }

    fn needs_blocks(&self) -> bool {
        true
    }

    fn has_window(&self) -> bool {
        true
    }

    fn begin(&mut self, region: Range<usize>) {
        self.blocks.begin(region);
        self.stale = Stale::default();
    }

    fn plan(&mut self, view: &CacheView<'_>, rows: &mut RowList<'_>) {
        let Range { start, end } = view.block;
        self.sub_block = (start, end);
        self.stale.add_to(rows, view.visible_end());
        let first_is_mask = view.canvas.get(start) == Some(&view.mask_id);
        let prefix_is_exact = self.blocks.start(view) >= block_start(view.attention, start);
        if view.pass == 0 || view.shifted_logits && first_is_mask || !prefix_is_exact {
            return self.blocks.plan(view, rows);
        }
        rows.add_all(start..end.min(view.visible_end()));
    }

    fn decided(&mut self, step: &Decided<'_>) {
        self.blocks.decided(step);
        let (start, end) = self.sub_block;
        self.stale.note(step, |position| !(start..end).contains(&position));
    }

    fn slid(&mut self, keep: usize, drop: usize) {
        self.blocks.slid(keep, drop);
        // A window moves between blocks, and the first pass of each computes all that is in hand.
        self.stale = Stale::default();
    }
}
