//! Whatever is sure enough.

use crate::decode::{CommitPolicy, Edit, StepView};

/// Fast-dLLM's rule: every proposal whose probability is at least this, and the best one in any
/// case (arXiv 2505.22618).
#[derive(Debug, Clone, Copy)]
pub struct Threshold(pub f32);

impl CommitPolicy for Threshold {
    fn name(&self) -> &'static str {
        "threshold"
    }

    fn select(&mut self, view: &StepView<'_>, edit: &mut Edit<'_>) {
        let mut sure = 0;
        for score in view.candidates() {
            let commit = view.proposed(score);
            sure += usize::from(commit.confidence >= self.0);
            // As many of the best as are sure so far are all of these.
            edit.offer(commit, sure.max(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Threshold;
    use crate::decode::policies::testing::{CONFIDENCES, select};

    #[test]
    fn conformance_vectors() {
        assert_eq!(select(&mut Threshold(0.9), &CONFIDENCES, 0), [0, 2, 4, 6]);
        assert_eq!(select(&mut Threshold(0.995), &CONFIDENCES, 0), [4]);
    }

    #[test]
    fn ties_go_to_the_lower_position() {
        assert_eq!(select(&mut Threshold(1.5), &[0.5; 8], 0), [0]);
    }
}
