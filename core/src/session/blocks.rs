//! Blocks: which one is decoded, which rows that takes, and how the canvas moves on.

use super::{Options, Session, SessionError, count};
use crate::cache::{CachePlan, CacheView, RowList};
use crate::decode::{CommitPolicy, EosPolicy, Schedule};
use crate::image::Attention;
use crate::model::Model;
use crate::pieces::move_down;
use crate::trace::Trace;

impl<M, P, S, X, C> Session<'_, M, P, S, X, C>
where
    M: Model,
    P: CommitPolicy,
    S: Schedule,
    X: EosPolicy,
    C: CachePlan,
{
    /// Tokens that stay when the canvas moves on: whole blocks of the attention.
    pub(super) fn pinned(options: &Options, attention_block: usize) -> usize {
        options.pinned.div_ceil(attention_block.max(1)).saturating_mul(attention_block)
    }

    /// Moves to the first block that still has masks at or left of it; false if there is none.
    pub(super) fn open_block(&mut self, trace: &mut impl Trace) -> Result<bool, SessionError> {
        while !self.block_open || !self.has_mask_before(self.block.end) {
            if self.block.end >= self.region.end {
                // Masks that no block covers do not exist: the last block ends the canvas.
                return Ok(self.block_open && self.has_mask_before(self.region.end));
            }
            let mut end = self.block_end(self.block.end);
            if end > self.len && self.method.cache.has_window() {
                self.make_room(trace)?;
                end = self.block_end(self.block.end);
            }
            self.block = self.block.end..end;
            let block = self.memory.canvas.get(self.block.clone()).unwrap_or_default();
            self.masks_at_block_start = count(block, self.vocabulary.mask_id);
            let candidates = self.memory.canvas.get(..self.block.end).unwrap_or_default();
            self.candidates_at_block_start = count(candidates, self.vocabulary.mask_id);
            self.step_in_block = 0;
            self.block_open = true;
            self.method.policy.begin_block(self.block.clone(), self.masks_at_block_start);
        }
        Ok(true)
    }

    /// Where the block that begins at `start` ends.
    fn block_end(&self, start: usize) -> usize {
        let length = self.options.block_length;
        let end = match self.model.attention() {
            Attention::Bidirectional => start.saturating_add(length),
            // Aligned to position 0.
            Attention::BlockCausal(_) => {
                let block = start.checked_div(length).unwrap_or(0).saturating_add(1);
                block.saturating_mul(length)
            }
        };
        end.min(self.region.end)
    }

    /// Drops the oldest block of the attention that is not pinned, and moves the rest down.
    fn make_room(&mut self, trace: &mut impl Trace) -> Result<(), SessionError> {
        let Attention::BlockCausal(own) = self.model.attention() else {
            return Err(SessionError::EndOfWindow);
        };
        let drop = own as usize;
        let keep = Self::pinned(&self.options, drop);
        let leaving = keep..keep.saturating_add(drop);
        trace.dropped(self.memory.canvas.get(leaving.clone()).unwrap_or_default());
        if leaving.end > self.block.end || !self.model.slide(keep, drop) {
            return Err(SessionError::EndOfWindow);
        }
        self.method.cache.slid(keep, drop);
        let canvas = self.memory.canvas.get_mut(..self.len).unwrap_or_default();
        move_down(canvas, keep, drop);
        let freed = canvas.len().saturating_sub(drop);
        canvas.get_mut(freed..).unwrap_or_default().fill(self.vocabulary.mask_id);
        self.dropped = self.dropped.saturating_add(drop as u64);
        self.block = self.block.start.saturating_sub(drop)..self.block.end - drop;
        // What is left of the prompt and of the answer.
        self.region.start = self.region.start.min(keep).max(self.region.start.saturating_sub(drop));
        self.region.end = self.region.end.saturating_sub(drop);
        self.len = self.slots().min(self.region.end);
        Ok(())
    }

    /// Asks the cache plan for the rows of this step, and adds those that predict the candidates.
    pub(super) fn plan_rows(&mut self, candidates: usize) -> usize {
        let memory = &mut self.memory;
        let wanted = memory.wanted.get(..candidates).unwrap_or_default();
        let shifted_logits = self.model.shifted_logits();
        let view = CacheView {
            canvas: memory.canvas.get(..self.len).unwrap_or_default(),
            block: self.block.clone(),
            step_in_block: self.step_in_block,
            wanted,
            attention: self.model.attention(),
            shifted_logits,
        };
        let mut rows = RowList::new(memory.rows);
        self.method.cache.plan(&view, &mut rows);
        for position in wanted {
            rows.add(usize::from(*position).saturating_sub(usize::from(shifted_logits)));
        }
        rows.rows().len()
    }

    pub(super) fn quota(&self) -> usize {
        let steps = self.options.steps / self.blocks.max(1);
        self.method.schedule.quota(self.step_in_block, steps, self.masks_at_block_start)
    }

    /// Steps after which a block is filled whatever the policy says.
    pub(super) fn step_cap(&self) -> usize {
        self.candidates_at_block_start.saturating_mul(2).saturating_add(8)
    }

    /// Lists the masks left of the block's end.
    pub(super) fn gather_candidates(&mut self) -> usize {
        let mask = self.vocabulary.mask_id;
        let canvas = self.memory.canvas.iter().take(self.block.end);
        // The canvas first: the range must not be asked for a position that is none.
        let masked = canvas.zip(0u16..).filter(|(id, _)| **id == mask);
        let mut n = 0;
        for (slot, (_, position)) in self.memory.wanted.iter_mut().zip(masked) {
            *slot = position;
            n += 1;
        }
        n
    }

    pub(super) fn first_mask(&self) -> Option<usize> {
        let canvas = self.memory.canvas.get(..self.len).unwrap_or_default();
        canvas.iter().position(|token| *token == self.vocabulary.mask_id)
    }

    pub(super) fn has_mask_before(&self, end: usize) -> bool {
        let canvas = self.memory.canvas.get(..end).unwrap_or_default();
        canvas.contains(&self.vocabulary.mask_id)
    }
}
