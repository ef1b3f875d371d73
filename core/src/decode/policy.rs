//! Commit policies: which masked positions become tokens in this step.

use super::Score;
use bytemuck::{Pod, Zeroable};
use core::ops::Range;

/// What a policy sees in one step.
#[derive(Debug, Clone)]
pub struct StepView<'a> {
    /// All tokens; undecided ones are the mask.
    pub canvas: &'a [u32],
    /// Current block.
    pub block: Range<usize>,
    /// Forward passes before this one.
    pub step: usize,
    /// Steps in this block before this one.
    pub step_in_block: usize,
    /// What the schedule wants committed; may be 0.
    pub quota: usize,
    /// One record per candidate, ascending by position. Candidates are the masks left of the
    /// block's end.
    pub scores: &'a [Score],
}

/// One decision: this position becomes this token.
#[derive(Debug, Clone, Copy, PartialEq, Default, Pod, Zeroable)]
#[repr(C)]
pub struct Commit {
    /// Position in the canvas.
    pub position: u32,
    /// Token that it becomes.
    pub token: u32,
    /// What the policy ranked it by.
    pub confidence: f32,
}

impl Commit {
    /// What a score proposes, ranked by its probability.
    #[must_use]
    #[inline(never)] // every policy asks, and flash is scarce
    pub fn proposed(score: &Score) -> Self {
        let Score { position, proposal, .. } = *score;
        Self { position, token: proposal, confidence: score.confidence() }
    }
}

/// The decisions of one step, best first, in borrowed memory.
#[derive(Debug)]
pub struct Edit<'a> {
    commits: &'a mut [Commit],
    len: usize,
}

impl<'a> Edit<'a> {
    /// Nothing decided; room for `commits.len()` decisions.
    #[must_use]
    pub fn new(commits: &'a mut [Commit]) -> Self {
        Self { commits, len: 0 }
    }

    /// Decisions so far.
    #[must_use]
    pub fn commits(&self) -> &[Commit] {
        self.commits.get(..self.len).unwrap_or_default()
    }

    /// Keeps the best `limit` of the decisions so far and this one, by confidence, then by lower
    /// position. Comes out the same in whatever order candidates are offered.
    #[inline(never)] // as above
    pub fn offer(&mut self, commit: Commit, limit: usize) {
        let limit = limit.min(self.commits.len());
        let better = |other: &Commit| {
            other.confidence > commit.confidence
                || (other.confidence == commit.confidence && other.position < commit.position)
        };
        let at = self.commits().partition_point(better);
        if at >= limit {
            return;
        }
        self.len = (self.len + 1).min(limit);
        // Not `rotate_right`: the optimizer cannot see that its panic is out of reach.
        let mut moved = commit;
        for slot in self.commits.get_mut(at..self.len).unwrap_or_default() {
            core::mem::swap(slot, &mut moved);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }
}

/// Chooses what to commit. The engine guarantees progress and the step cap, not the policy.
pub trait CommitPolicy {
    /// A block begins with this many masks in it.
    fn begin_block(&mut self, _block: Range<usize>, _masks: usize) {}

    /// Offers commits for this step.
    fn select(&mut self, view: &StepView<'_>, edit: &mut Edit<'_>);
}

impl<P: CommitPolicy + ?Sized> CommitPolicy for &mut P {
    fn begin_block(&mut self, block: Range<usize>, masks: usize) {
        (**self).begin_block(block, masks);
    }

    fn select(&mut self, view: &StepView<'_>, edit: &mut Edit<'_>) {
        (**self).select(view, edit);
    }
}

/// LLaDA's low-confidence rule: the schedule's count of proposals with the highest probability.
#[derive(Debug, Clone, Copy, Default)]
pub struct TopQ;

impl CommitPolicy for TopQ {
    fn select(&mut self, view: &StepView<'_>, edit: &mut Edit<'_>) {
        for score in view.scores {
            edit.offer(Commit::proposed(score), view.quota);
        }
    }
}

/// Fast-dLLM's rule: every proposal whose probability is at least this, and the best one in any
/// case (arXiv 2505.22618).
#[derive(Debug, Clone, Copy)]
pub struct Threshold(pub f32);

impl CommitPolicy for Threshold {
    fn select(&mut self, view: &StepView<'_>, edit: &mut Edit<'_>) {
        for score in view.scores {
            let commit = Commit::proposed(score);
            if commit.confidence >= self.0 {
                edit.offer(commit, usize::MAX);
            }
        }
        if edit.commits().is_empty() {
            for score in view.scores {
                edit.offer(Commit::proposed(score), 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// Scores with the given confidences at positions 0, 1, ...
    fn scores(confidences: &[f32]) -> Vec<Score> {
        (0..)
            .zip(confidences)
            .map(|(position, &c)| Score {
                position,
                proposal: 100 + position,
                proposal_logit: c.ln(),
                ..Score::default()
            })
            .collect()
    }

    fn select(policy: &mut dyn CommitPolicy, confidences: &[f32], quota: usize) -> Vec<u32> {
        let (scores, canvas) = (scores(confidences), [1; 8]);
        let view = StepView {
            canvas: &canvas,
            block: 0..8,
            step: 0,
            step_in_block: 0,
            quota,
            scores: &scores,
        };
        let mut memory = [Commit::default(); 8];
        let mut edit = Edit::new(&mut memory);
        policy.select(&view, &mut edit);
        assert!(edit.commits().iter().all(|c| c.token == 100 + c.position));
        let mut positions: Vec<u32> = edit.commits().iter().map(|c| c.position).collect();
        positions.sort_unstable();
        positions
    }

    const CONFIDENCES: [f32; 8] = [0.97, 0.55, 0.92, 0.80, 0.99, 0.60, 0.91, 0.30];

    #[test]
    fn conformance_vectors() {
        assert_eq!(select(&mut Threshold(0.9), &CONFIDENCES, 0), [0, 2, 4, 6]);
        assert_eq!(select(&mut Threshold(0.995), &CONFIDENCES, 0), [4]);
        assert_eq!(select(&mut TopQ, &CONFIDENCES, 3), [0, 2, 4]);
        assert!(select(&mut TopQ, &CONFIDENCES, 0).is_empty());
        assert_eq!(select(&mut TopQ, &CONFIDENCES, 99).len(), 8);
    }

    #[test]
    fn ties_go_to_the_lower_position() {
        assert_eq!(select(&mut TopQ, &[1.0; 8], 3), [0, 1, 2]);
        assert_eq!(select(&mut Threshold(1.5), &[0.5; 8], 0), [0]);
    }
}
