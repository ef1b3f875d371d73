//! Blocks: which one is decoded, which rows that takes, and how the canvas moves on.

use super::{Options, Session, SessionError, count_of};
use crate::cache::{CachePlan, CacheView, RowList, keep_in_front};
use crate::decode::{CommitPolicy, EosPolicy, Needs, Schedule, StepCount};
use crate::image::Attention;
use crate::model::Model;
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
            if self.block_open && self.looks_again() {
                self.post_steps += 1;
                return Ok(true);
            }
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
            self.masks_at_block_start = count_of(block, self.vocabulary.mask_id);
            let candidates = self.memory.canvas.get(..self.block.end).unwrap_or_default();
            self.candidates_at_block_start = count_of(candidates, self.vocabulary.mask_id);
            self.block_index += usize::from(self.block_open);
            self.step_in_block = 0;
            self.passes_in_block = 0;
            self.post_steps = 0;
            self.block_open = true;
            self.method.policy.begin_block(self.block.clone(), self.masks_at_block_start);
        }
        Ok(true)
    }

    /// Where the block that begins at `start` ends.
    fn block_end(&self, start: usize) -> usize {
        let index = self.block_index + usize::from(self.block_open);
        let length = self.options.block_length.max(1);
        let end = match self.model.attention() {
            Attention::Bidirectional => {
                let own = self.method.schedule.block_length(index, self.blocks, self.region.len());
                start.saturating_add(own.unwrap_or(length).max(1))
            }
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
        self.leave(keep, drop);
        self.dropped = self.dropped.saturating_add(drop as u64);
        self.block = self.block.start.saturating_sub(drop)..self.block.end - drop;
        // What is left of the prompt and of the answer.
        self.region.start = self.region.start.min(keep).max(self.region.start.saturating_sub(drop));
        self.region.end = self.region.end.saturating_sub(drop);
        self.len = self.slots().min(self.region.end);
        Ok(())
    }

    /// Where decoding stands.
    pub(super) fn count(&self) -> StepCount {
        let block = self.memory.canvas.get(self.block.clone()).unwrap_or_default();
        StepCount {
            forward: self.forwards as usize,
            step: self.step_in_block,
            steps: self.options.steps / self.blocks.max(1),
            blocks: self.blocks,
            block: self.block_index,
            length: self.region.len(),
            masks: self.masks_at_block_start,
            left: count_of(block, self.vocabulary.mask_id),
        }
    }

    /// Steps in which the schedule wants nothing need no forward pass. At most so many are passed over
    /// at once: any number may be planned.
    pub(super) fn skip_empty_steps(&mut self) {
        const MOST: usize = u16::MAX as usize;
        if !self.method.policy.follows_schedule() {
            return;
        }
        let mut count = self.count();
        let end = count.steps.min(count.step.saturating_add(MOST));
        while count.step < end && self.method.schedule.quota(&count) == 0 {
            count.step += 1;
        }
        self.step_in_block = count.step;
    }

    /// Lists the positions to score and the rows to compute; their numbers.
    pub(super) fn plan_rows(&mut self, needs: Needs) -> (usize, usize) {
        let mut scored = self.gather_wanted(needs);
        let memory = &mut self.memory;
        let shift = usize::from(self.model.shifted_logits());
        let view = CacheView {
            canvas: memory.canvas.get(..self.len).unwrap_or_default(),
            region: self.region.start..self.region.end.min(self.len),
            block: self.block.clone(),
            forward: self.forwards as usize,
            pass: self.passes_in_block,
            wanted: memory.wanted.get(..scored).unwrap_or_default(),
            shadowed: if needs.include(Needs::SHADOWS) { self.block.clone() } else { 0..0 },
            mask_id: self.vocabulary.mask_id,
            attention: self.model.attention(),
            shifted_logits: shift > 0,
        };
        let mut rows = RowList::new(memory.rows);
        self.method.cache.plan(&view, &mut rows);
        let row_of = |position: u16| usize::from(position).saturating_sub(shift);
        if self.method.cache.limits_candidates() {
            let (canvas, mask) = (&*memory.canvas, self.vocabulary.mask_id);
            let offered = |position: u16, rows: &RowList<'_>| {
                let is_mask = canvas.get(usize::from(position)) == Some(&mask);
                rows.contains(row_of(position))
                    && (!is_mask || self.method.cache.is_candidate(position))
            };
            // One candidate there must be.
            let forced = match view.candidates().any(|position| offered(position, &rows)) {
                true => None,
                false => view.candidates().next(),
            };
            forced.iter().for_each(|position| rows.add(row_of(*position)));
            let wanted = memory.wanted.get_mut(..scored).unwrap_or_default();
            scored = keep_in_front(wanted, |&position| {
                offered(position, &rows) || forced == Some(position)
            });
        }
        for position in memory.wanted.iter().take(scored) {
            rows.add(row_of(*position));
        }
        (scored, rows.rows().len())
    }

    /// Appends a masked shadow for every position of the block behind the canvas, the `scored` positions
    /// and the `computed` rows; their number.
    pub(super) fn shadow_block(&mut self, needs: Needs, scored: usize, computed: usize) -> usize {
        if !needs.include(Needs::SHADOWS) {
            return 0;
        }
        let (len, count) = (self.len, self.block.len());
        let memory = &mut self.memory;
        let canvas = memory.canvas.get_mut(len..len + count).unwrap_or_default();
        let wanted = memory.wanted.get_mut(scored..scored + count).unwrap_or_default();
        let rows = memory.rows.get_mut(computed..computed + count).unwrap_or_default();
        let slots = (len.min(usize::from(u16::MAX)) as u16..).zip(canvas.iter_mut());
        for ((wanted, row), (slot, token)) in wanted.iter_mut().zip(rows).zip(slots) {
            (*wanted, *row, *token) = (slot, slot, self.vocabulary.mask_id);
        }
        canvas.len()
    }

    /// Passes after which a block is filled whatever the policy says.
    pub(super) fn step_cap(&self) -> usize {
        let cap = self.candidates_at_block_start.saturating_mul(2);
        let own = match self.method.policy.bounds_itself() {
            true => self.options.steps / self.blocks.max(1),
            false => 0,
        };
        cap.max(own).saturating_add(8)
    }

    /// Lists the masks left of the block's end, and what the policy needs besides; their number.
    fn gather_wanted(&mut self, needs: Needs) -> usize {
        let mask = self.vocabulary.mask_id;
        let all = needs.include(Needs::ALL_ROWS);
        // Later blocks are nothing to a row of block-causal attention.
        let behind = (all || needs.include(Needs::ALL_MASKS))
            && self.model.attention() == Attention::Bidirectional;
        let end = if behind { self.len } else { self.block.end };
        let decided = match needs.include(Needs::BLOCK_ROWS) {
            _ if all => self.region.clone(),
            true => self.block.clone(),
            false => 0..0,
        };
        let canvas = self.memory.canvas.iter().take(end);
        // The canvas first: the range must not be asked for a position that is none.
        let wanted = canvas
            .zip(0u16..)
            .filter(|(id, position)| **id == mask || decided.contains(&usize::from(*position)));
        let mut n = 0;
        for (slot, (_, position)) in self.memory.wanted.iter_mut().zip(wanted) {
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
