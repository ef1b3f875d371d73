//! From left to right.

use crate::decode::{CommitPolicy, Edit, StepView};

/// SDAR's sequential rule: the schedule's count of masks, leftmost first (arXiv 2510.06303).
#[derive(Debug, Clone, Copy, Default)]
pub struct Sequential;

impl CommitPolicy for Sequential {
    fn name(&self) -> &'static str {
        "sequential"
    }

    fn follows_schedule(&self) -> bool {
        true
    }

    fn select(&mut self, view: &StepView<'_>, edit: &mut Edit<'_>) {
        // Candidates are ascending, and equal ranks go to the lower position.
        for score in view.candidates().take(view.quota) {
            edit.offer(view.proposed_by(score, 1.0), view.quota);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Sequential;
    use crate::decode::policies::testing::{CONFIDENCES, select};

    #[test]
    fn leftmost_first_whatever_the_probabilities() {
        assert_eq!(select(&mut Sequential, &CONFIDENCES, 3), [0, 1, 2]);
        assert_eq!(select(&mut Sequential, &CONFIDENCES, 99).len(), 8);
        assert!(select(&mut Sequential, &CONFIDENCES, 0).is_empty());
    }
}
