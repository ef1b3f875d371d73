//! The exact cache of models whose finished blocks see nothing that comes later.

use crate::cache::{CachePlan, CacheView, Decided, RowList};
use crate::image::Attention;
use core::ops::Range;

/// The exact cache of block-causal and causal models: finished blocks are computed once as they
/// stand, together with the first step of the next one; then only the rows of the block in hand.
#[derive(Debug, Clone, Copy, Default)]
pub struct BlockCache {
    /// Slots from the first on that hold finished tokens, as computed with those tokens.
    finished: usize,
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
        rows.add_all(self.finished..view.visible_end());
        // Everything before the attention block in hand has its final tokens and is computed now.
        if let Attention::BlockCausal(block) = view.attention {
            let block = (block as usize).max(1);
            self.finished = view.block.start / block * block;
        }
    }

    fn decided(&mut self, step: &Decided<'_>) {
        // A block that is edited after it was finished is not finished: compute it, and what follows,
        // once more.
        for revision in step.revisions {
            self.finished = self.finished.min(revision.position as usize);
        }
    }

    fn slid(&mut self, _keep: usize, drop: usize) {
        self.finished = self.finished.saturating_sub(drop);
    }
}
