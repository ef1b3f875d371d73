//! Tokens that turn out wrong are replaced.

use crate::decode::{Commit, CommitPolicy, Edit, Needs, StepView};
use core::ops::Range;

/// LLaDA2.1's token editing (arXiv 2602.08676): commits every proposal whose probability is above one
/// threshold, at least the best one, and replaces every token of the block that is not its position's most
/// probable one if that one's probability is above another. A block without masks is edited on until
/// nothing changes, in at most [`MAX_POST_STEPS`](crate::MAX_POST_STEPS) passes.
#[derive(Debug, Clone, Copy)]
pub struct TokenEditing {
    mask_threshold: f32,
    edit_threshold: f32,
    /// A look at the block without masks has changed nothing.
    settled: bool,
}

impl TokenEditing {
    /// Commits above `mask_threshold`, edits above `edit_threshold`.
    #[must_use]
    pub const fn new(mask_threshold: f32, edit_threshold: f32) -> Self {
        Self { mask_threshold, edit_threshold, settled: true }
    }

    /// The release's defaults, 0.95 and 0.9. (The model card suggests 0.7 and 0.5.)
    #[must_use]
    pub const fn quality() -> Self {
        Self::new(0.95, 0.9)
    }

    /// The model card's speed mode, 0.5 and 0: commits boldly and relies on edits.
    #[must_use]
    pub const fn speedy() -> Self {
        Self::new(0.5, 0.0)
    }
}

impl Default for TokenEditing {
    fn default() -> Self {
        Self::quality()
    }
}

impl CommitPolicy for TokenEditing {
    fn name(&self) -> &'static str {
        "token-editing"
    }

    fn needs(&self) -> Needs {
        Needs::BLOCK_ROWS.and(Needs::REVISIONS)
    }

    fn begin_block(&mut self, _: Range<usize>, masks: usize) {
        // A block that was full from the start is none of our business.
        self.settled = masks == 0;
    }

    fn select(&mut self, view: &StepView<'_>, edit: &mut Edit<'_>) {
        for score in view.candidates() {
            let commit = view.proposed(score);
            if commit.confidence > self.mask_threshold {
                edit.offer(commit, usize::MAX);
            }
        }
        if edit.commits().is_empty() {
            for score in view.candidates() {
                edit.offer(view.proposed(score), 1);
            }
        }
        let block = view.block.clone();
        let rows = view.scores.iter().filter(|score| block.contains(&(score.position as usize)));
        for score in rows.filter(|score| view.is_open(score.position)) {
            let confidence = score.top_probability();
            let token = view.canvas.get(score.position as usize);
            let other = token.is_some_and(|token| *token != view.mask_id && *token != score.top);
            if other && confidence > self.edit_threshold {
                edit.revise(Commit { position: score.position, token: score.top, confidence });
            }
        }
        self.settled = edit.commits().is_empty() && edit.revisions().is_empty();
    }

    fn continues(&self) -> bool {
        !self.settled
    }
}
