//! The best, and what is as good.

use crate::decode::{CommitPolicy, Edit, StepView};

/// Probabilities that are this close to the best count as equal to it.
const TOLERANCE: f32 = 1e-5;

/// dInfer's threshold: every proposal of at least the threshold or, if none has that, every one within
/// 1e-5 of the best (arXiv 2510.08666). The threshold is 0.9 by default.
///
/// Unlike in [`Threshold`](super::Threshold), equally good proposals go together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NearBest(pub f32);

impl Default for NearBest {
    fn default() -> Self {
        Self(0.9)
    }
}

impl CommitPolicy for NearBest {
    fn name(&self) -> &'static str {
        "near-best"
    }

    fn select(&mut self, view: &StepView<'_>, edit: &mut Edit<'_>) {
        let confidences = view.candidates().map(|score| view.confidence(score));
        let best = confidences.fold(f32::MIN, f32::max);
        let least = self.0.min(best - TOLERANCE);
        for score in view.candidates() {
            let commit = view.proposed(score);
            if commit.confidence >= least {
                edit.offer(commit, usize::MAX);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::NearBest;
    use crate::decode::policies::testing::{CONFIDENCES, select};

    #[test]
    fn like_a_threshold_but_for_ties() {
        assert_eq!(select(&mut NearBest(0.9), &CONFIDENCES, 0), [0, 2, 4, 6]);
        assert_eq!(select(&mut NearBest(0.995), &CONFIDENCES, 0), [4]);
        assert_eq!(select(&mut NearBest(0.9), &[0.5, 0.499_995, 0.3, 0.5], 0), [0, 1, 3]);
        assert_eq!(select(&mut NearBest(0.9), &[0.9, 0.1], 0), [0]);
    }
}
