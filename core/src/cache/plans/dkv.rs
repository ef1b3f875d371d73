//! dKV-Cache: a token is trusted one pass after it was decided.

use super::current::{Current, edits};
use crate::cache::{CachePlan, CacheView, Decided, RowList};
use core::ops::Range;

/// dKV-Cache (arXiv 2505.15781): keys and values of decided tokens are kept, once they have been computed
/// as these tokens, one pass later; masks are computed every time. Passes 0 and 1 of each block, and then
/// every `R`-th, compute everything.
///
/// In a shifted model a row is kept once its own token and the next are decided ("un and right", the
/// paper's best rule, which slots at positions make free).
///
/// `R` is 8, and 4 for shifted models, as published for LLaDA and Dream. Memory: one bit per position.
#[derive(Debug)]
pub struct DkvCache<'a> {
    current: Current<'a>,
    kept: Kept,
    /// 0 for what is published for the model.
    every: usize,
    whole_text: bool,
    shift: usize,
}

/// What is not computed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// Decided tokens, between refreshes.
    Decided,
    /// The prompt, for good.
    Prompt,
    /// The prompt for good, decided tokens between refreshes.
    PromptAndDecided,
}

/// Refreshes of LLaDA and of Dream.
const EVERY: (usize, usize) = (8, 4);

impl<'a> DkvCache<'a> {
    fn new(bits: &'a mut [u8], kept: Kept) -> Self {
        Self { current: Current::new(bits), kept, every: 0, whole_text: false, shift: 0 }
    }

    /// dKV-Cache-Decode: prompt and decided tokens are kept between refreshes. `bits` serves eight
    /// positions per byte.
    #[must_use]
    pub fn decode(bits: &'a mut [u8]) -> Self {
        Self::new(bits, Kept::Decided)
    }

    /// dKV-Cache-Prefill: the prompt is computed once and kept for good; the answer is computed in every
    /// pass.
    #[must_use]
    pub fn prefill(bits: &'a mut [u8]) -> Self {
        Self::new(bits, Kept::Prompt)
    }

    /// dKV-Cache-PD: the prompt is kept for good, decided tokens between refreshes.
    #[must_use]
    pub fn pd(bits: &'a mut [u8]) -> Self {
        Self::new(bits, Kept::PromptAndDecided)
    }

    /// Another number of passes between refreshes; 1 computes everything each time, 0 stands for what is
    /// published.
    #[must_use]
    pub fn refreshed_every(self, passes: usize) -> Self {
        Self { every: passes, ..self }
    }

    /// Counts passes of the whole text, as Dream's release, which has no blocks: a new block is no
    /// reason for a refresh.
    #[must_use]
    pub fn across_blocks(self) -> Self {
        Self { whole_text: true, ..self }
    }

    fn is_refresh(&self, view: &CacheView<'_>) -> bool {
        let pass = if self.whole_text { view.forward } else { view.pass };
        let every = match (self.every, view.shifted_logits) {
            (0, false) => EVERY.0,
            (0, true) => EVERY.1,
            (every, _) => every,
        };
        pass < 2 || pass.is_multiple_of(every)
    }
}

impl CachePlan for DkvCache<'_> {
    fn name(&self) -> &'static str {
        match self.kept {
            Kept::Decided => "dkv-decode",
            Kept::Prompt => "dkv-prefill",
            Kept::PromptAndDecided => "dkv-pd",
        }
    }

    fn is_exact(&self) -> bool {
        false
    }

    fn capacity(&self) -> usize {
        self.current.capacity()
    }

    fn begin(&mut self, _: Range<usize>) {
        self.current.clear();
    }

    fn plan(&mut self, view: &CacheView<'_>, rows: &mut RowList<'_>) {
        self.shift = usize::from(view.shifted_logits);
        let refresh = self.is_refresh(view);
        for row in 0..view.visible_end() {
            let prompt = row < view.region.start;
            let kept = match self.kept {
                Kept::Decided => !refresh,
                Kept::Prompt => prompt,
                Kept::PromptAndDecided => prompt || !refresh,
            };
            let mut predicted = row..=row.saturating_add(self.shift);
            let open = predicted.any(|position| view.canvas.get(position) == Some(&view.mask_id));
            if !kept || open || !self.current.has(row) {
                rows.add(row);
            }
        }
        view.wanted.iter().for_each(|&position| rows.add(view.row_of(position)));
        self.current.computed(rows);
    }

    fn decided(&mut self, step: &Decided<'_>) {
        for position in edits(step) {
            self.current.forget(position);
            // The row that has predicted it is computed once more too.
            self.current.forget(position.saturating_sub(self.shift));
        }
    }
}
