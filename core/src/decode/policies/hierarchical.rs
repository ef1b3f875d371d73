//! One anchor in every gap.

use crate::decode::{Commit, CommitPolicy, Edit, StepView};

/// dInfer's hierarchical rule: of every run of adjacent masks the best proposal, if its probability is
/// above `low`, and everything above `high`. If none of all is above `low`, the best one
/// (arXiv 2510.08666; published `low` 0.4 to 0.62, `high` 0.92).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hierarchical {
    low: f32,
    high: f32,
}

impl Hierarchical {
    /// `low` is at most `high`: a larger one counts as that.
    #[must_use]
    pub fn new(low: f32, high: f32) -> Self {
        Self { low: low.min(high), high }
    }

    /// Goes through proposals, ascending by position, and hands on those that are taken.
    pub(super) fn take(
        self,
        proposals: impl Iterator<Item = Commit>,
        mut taken: impl FnMut(Commit),
    ) {
        // What is above `high` has been handed on already.
        let between = |best: &Commit| best.confidence > self.low && best.confidence <= self.high;
        let (mut run, mut next): (Option<Commit>, u32) = (None, 0);
        for commit in proposals {
            if commit.position != next {
                run.take().filter(between).into_iter().for_each(&mut taken);
            }
            next = commit.position.saturating_add(1);
            if commit.confidence > self.high {
                taken(commit);
            }
            if run.is_none_or(|best| commit.confidence > best.confidence) {
                run = Some(commit);
            }
        }
        run.filter(between).into_iter().for_each(taken);
    }
}

/// 0.62 and 0.92.
impl Default for Hierarchical {
    fn default() -> Self {
        Self::new(0.62, 0.92)
    }
}

impl CommitPolicy for Hierarchical {
    fn name(&self) -> &'static str {
        "hierarchical"
    }

    fn select(&mut self, view: &StepView<'_>, edit: &mut Edit<'_>) {
        let proposals = view.candidates().map(|score| view.proposed(score));
        self.take(proposals, |commit| edit.offer(commit, usize::MAX));
        if edit.commits().is_empty() {
            for score in view.candidates() {
                edit.offer(view.proposed(score), 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Hierarchical;
    use crate::decode::policies::testing::{MASK, scores, view};
    use crate::decode::{Commit, CommitPolicy, Edit, Score};
    use std::vec::Vec;

    /// Commits of proposals in the runs 0..3, 4..6 and 7..8.
    fn runs(confidences: [f32; 6]) -> Vec<u32> {
        let at = [0, 1, 2, 4, 5, 7];
        let mut scores = scores(&confidences);
        scores.iter_mut().zip(at).for_each(|(score, position): (&mut Score, u32)| {
            score.position = position;
        });
        let (canvas, open) = ([MASK; 8], [1; 8]);
        let mut memory = [Commit::default(); 8];
        let mut edit = Edit::new(&mut memory);
        Hierarchical::default().select(&view(&canvas, &open, &scores), &mut edit);
        let mut positions: Vec<u32> = edit.commits().iter().map(|c| c.position).collect();
        positions.sort_unstable();
        positions
    }

    #[test]
    fn the_best_of_each_run_and_all_that_are_sure() {
        assert_eq!(runs([0.7, 0.8, 0.75, 0.5, 0.4, 0.63]), [1, 7]);
        assert_eq!(runs([0.95, 0.8, 0.97, 0.7, 0.4, 0.1]), [0, 2, 4]);
    }

    #[test]
    fn none_above_low_and_ties() {
        assert_eq!(runs([0.5, 0.6, 0.5, 0.1, 0.2, 0.3]), [1]);
        assert_eq!(runs([0.62; 6]), [0], "equality is not enough");
        assert_eq!(runs([0.9; 6]), [0, 4, 7]);
        assert_eq!(runs([0.92; 6]), [0, 4, 7]);
        assert_eq!(runs([1.0; 6]).len(), 6);
    }
}
