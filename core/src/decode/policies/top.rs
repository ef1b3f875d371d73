//! As many as the schedule says, the best first.

use crate::decode::{CommitPolicy, Edit, StepView};

/// LLaDA's low-confidence rule: the schedule's count of proposals with the highest probability.
#[derive(Debug, Clone, Copy, Default)]
pub struct TopQ;

impl CommitPolicy for TopQ {
    fn name(&self) -> &'static str {
        "low-confidence"
    }

    fn follows_schedule(&self) -> bool {
        true
    }

    fn select(&mut self, view: &StepView<'_>, edit: &mut Edit<'_>) {
        for score in view.candidates() {
            edit.offer(view.proposed(score), view.quota);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::TopQ;
    use crate::decode::policies::testing::{CONFIDENCES, select};

    #[test]
    fn conformance_vectors() {
        assert_eq!(select(&mut TopQ, &CONFIDENCES, 3), [0, 2, 4]);
        assert!(select(&mut TopQ, &CONFIDENCES, 0).is_empty());
        assert_eq!(select(&mut TopQ, &CONFIDENCES, 99).len(), 8);
    }

    #[test]
    fn ties_go_to_the_lower_position() {
        assert_eq!(select(&mut TopQ, &[1.0; 8], 3), [0, 1, 2]);
    }
}
