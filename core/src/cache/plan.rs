//! Cache plans: which rows go through the network in a step, and which slots are trusted.

use crate::image::Attention;
use core::ops::Range;

/// What a plan sees before a forward pass.
#[derive(Debug, Clone)]
pub struct CacheView<'a> {
    /// All tokens of the canvas; undecided ones are the mask.
    pub canvas: &'a [u32],
    /// Block that is being decoded.
    pub block: Range<usize>,
    /// Steps in this block before this one.
    pub step_in_block: usize,
    /// Positions whose scores are wanted, ascending.
    pub wanted: &'a [u16],
    /// Which positions a row sees.
    pub attention: Attention,
    /// The row before a position predicts it.
    pub shifted_logits: bool,
}

impl CacheView<'_> {
    /// The end of the slots that any wanted row sees: no row from there on can matter to this step.
    #[must_use]
    pub fn visible_end(&self) -> usize {
        let last = self.wanted.last().map_or(0, |&position| usize::from(position));
        let row = last.saturating_sub(usize::from(self.shifted_logits));
        self.attention.visible_end(row, self.canvas.len())
    }
}

/// Rows to compute, ascending, in borrowed memory.
#[derive(Debug)]
pub struct RowList<'a> {
    rows: &'a mut [u16],
    len: usize,
}

impl<'a> RowList<'a> {
    /// Empty; room for `rows.len()` rows.
    #[must_use]
    pub fn new(rows: &'a mut [u16]) -> Self {
        Self { rows, len: 0 }
    }

    /// The rows so far.
    #[must_use]
    pub fn rows(&self) -> &[u16] {
        self.rows.get(..self.len).unwrap_or_default()
    }

    /// Adds a row, unless it is there already.
    pub fn add(&mut self, row: usize) {
        let Ok(row) = u16::try_from(row) else { return };
        // Mostly rows come in order: then there is no place to look for.
        let at = match self.rows().last() {
            Some(&last) if row <= last => self.rows().binary_search(&row),
            _ => Err(self.len),
        };
        let Err(at) = at else { return };
        let mut moved = row;
        self.len = (self.len + 1).min(self.rows.len());
        for slot in self.rows.get_mut(at..self.len).unwrap_or_default() {
            core::mem::swap(slot, &mut moved);
        }
    }

    /// Adds every row of a range.
    pub fn add_all(&mut self, rows: Range<usize>) {
        rows.for_each(|row| self.add(row));
    }
}

/// Chooses the rows of each forward pass. The session adds the rows that predict wanted positions,
/// so a plan cannot leave a candidate without its score.
pub trait CachePlan {
    /// Name as the command line spells it.
    fn name(&self) -> &'static str;

    /// Whether every score is the one that computing all rows would give.
    fn is_exact(&self) -> bool;

    /// Whether it needs a model whose finished blocks see nothing that comes later.
    fn needs_blocks(&self) -> bool {
        false
    }

    /// Whether the canvas may become a window over a longer text. A constant, so that firmware whose
    /// plan says no has no code for it.
    fn has_window(&self) -> bool {
        false
    }

    /// A new canvas: nothing in the ring can be trusted.
    fn begin(&mut self) {}

    /// Adds the rows to compute in this step. Slots of all other rows keep what they hold.
    fn plan(&mut self, view: &CacheView<'_>, rows: &mut RowList<'_>);

    /// `drop` slots from slot `keep` on are gone and those behind them have moved down.
    fn slid(&mut self, _keep: usize, _drop: usize) {}
}

/// Computes every row that a wanted row sees, each time.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCache;

impl CachePlan for NoCache {
    fn name(&self) -> &'static str {
        "none"
    }

    fn is_exact(&self) -> bool {
        true
    }

    fn plan(&mut self, view: &CacheView<'_>, rows: &mut RowList<'_>) {
        rows.add_all(0..view.visible_end());
    }
}

/// Fast-dLLM's prefix cache (arXiv 2505.22618): all rows at the first step of a block, then those
/// from the block on. Approximate: what stands before the block would see its new tokens.
#[derive(Debug, Clone, Copy, Default)]
pub struct PrefixCache;

impl CachePlan for PrefixCache {
    fn name(&self) -> &'static str {
        "prefix"
    }

    fn is_exact(&self) -> bool {
        false
    }

    fn plan(&mut self, view: &CacheView<'_>, rows: &mut RowList<'_>) {
        let start = if view.step_in_block == 0 { 0 } else { view.block.start };
        rows.add_all(start..view.visible_end());
    }
}

/// Fast-dLLM's dual cache: all rows at the first step of a block, then those of the block alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct DualCache;

impl CachePlan for DualCache {
    fn name(&self) -> &'static str {
        "dual"
    }

    fn is_exact(&self) -> bool {
        false
    }

    fn plan(&mut self, view: &CacheView<'_>, rows: &mut RowList<'_>) {
        match view.step_in_block {
            0 => rows.add_all(0..view.visible_end()),
            _ => rows.add_all(view.block.clone()),
        }
    }
}

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

    fn begin(&mut self) {
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

    fn slid(&mut self, _keep: usize, drop: usize) {
        self.finished = self.finished.saturating_sub(drop);
    }
}
