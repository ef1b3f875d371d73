//! The more that are sure, the less sure each need be.

use crate::decode::{CommitPolicy, Edit, StepView};

/// Fast-dLLM's factor rule: with the proposals in order of probability, the most `n` for which
/// `(n + 1) (1 - c_n) < factor`, and the best one in any case (arXiv 2505.22618; published factor 1).
///
/// This is the rule of the paper. The released code also commits the last candidate if it alone fails,
/// so that the last two masks always go together; that is taken for a slip.
#[derive(Debug, Clone, Copy)]
pub struct Factor(pub f32);

impl Default for Factor {
    fn default() -> Self {
        Self(1.0)
    }
}

impl CommitPolicy for Factor {
    fn name(&self) -> &'static str {
        "factor"
    }

    fn select(&mut self, view: &StepView<'_>, edit: &mut Edit<'_>) {
        for score in view.candidates() {
            edit.offer(view.proposed(score), usize::MAX);
        }
        let (mut ranked, mut passes) = (0.0, true);
        edit.retain(|commit| {
            ranked += 1.0;
            passes = passes && (ranked + 1.0) * (1.0 - commit.confidence) < self.0;
            passes || ranked == 1.0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::Factor;
    use crate::decode::policies::testing::{CONFIDENCES, select};

    #[test]
    fn conformance_vectors() {
        assert_eq!(select(&mut Factor(0.5), &CONFIDENCES, 0), [0, 2, 4, 6]);
        assert_eq!(select(&mut Factor(1.0), &CONFIDENCES, 0), [0, 2, 4, 6]);
        assert_eq!(select(&mut Factor(1.5), &CONFIDENCES, 0), [0, 2, 3, 4, 6]);
        assert_eq!(select(&mut Factor(2.0), &CONFIDENCES, 0), [0, 2, 3, 4, 6]);
    }

    #[test]
    fn the_best_one_in_any_case_and_nothing_behind_a_failure() {
        assert_eq!(select(&mut Factor(0.0), &CONFIDENCES, 0), [4]);
        assert_eq!(select(&mut Factor(f32::NAN), &CONFIDENCES, 0), [4]);
        // 2 (1 - 0.4) > 1: the first fails, and is committed all the same; the second would pass alone.
        assert_eq!(select(&mut Factor(1.0), &[0.4, 0.4], 0), [0]);
    }

    #[test]
    fn equality_is_not_enough_and_certainty_is() {
        // 3 (1 - 0.75) = 0.75.
        assert_eq!(select(&mut Factor(0.75), &[0.75, 1.0], 0), [1]);
        assert_eq!(select(&mut Factor(0.75001), &[0.75, 1.0], 0), [0, 1]);
        assert_eq!(select(&mut Factor(0.001), &[1.0; 8], 0).len(), 8);
    }
}
