//! One random position at a time.

use crate::decode::{CommitPolicy, Edit, StepView};

/// First-hitting sampling of BD3-LM (arXiv 2503.09573, after 2409.02908): every pass commits the proposal
/// of one mask, chosen uniformly. The same distribution as infinitely many ancestral steps.
///
/// Published with temperature 1 and top-p 0.9, which the options of the session set.
#[derive(Debug, Clone, Copy, Default)]
pub struct FirstHitting;

impl CommitPolicy for FirstHitting {
    fn name(&self) -> &'static str {
        "first-hitting"
    }

    fn select(&mut self, view: &StepView<'_>, edit: &mut Edit<'_>) {
        for score in view.candidates() {
            let mut commit = view.proposed(score);
            // The largest of independent uniform numbers is at any place with the same probability.
            commit.confidence = view.uniform(score.position, 0);
            edit.offer(commit, 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::FirstHitting;
    use crate::decode::policies::testing::{CONFIDENCES, scores, view};
    use crate::decode::{Commit, CommitPolicy, Edit, StepCount, StepView};

    #[test]
    fn every_position_comes_as_often() {
        let (canvas, open, scores) = ([1; 8], [1; 8], scores(&CONFIDENCES));
        let mut counts = [0; 8];
        for forward in 0..8000 {
            let plain = view(&canvas, &open, &scores);
            let view = StepView { count: StepCount { forward, ..plain.count }, seed: 3, ..plain };
            let mut memory = [Commit::default(); 8];
            let mut edit = Edit::new(&mut memory);
            FirstHitting.select(&view, &mut edit);
            assert_eq!(edit.commits().len(), 1);
            let commit = edit.commits()[0];
            assert_eq!(commit.token, 100 + commit.position);
            counts[commit.position as usize] += 1;
        }
        assert!(counts.iter().all(|count| (880..1120).contains(count)), "{counts:?}");
    }
}
