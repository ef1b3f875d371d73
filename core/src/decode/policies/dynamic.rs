//! All that are sure, if they are enough.

use crate::decode::{CommitPolicy, Edit, StepView};

/// SDAR's dynamic rule, also that of LLaDA2.0 and Fast-dLLM v2: every proposal with a probability above
/// the threshold if there are at least `n` of them, else the best `n` (arXiv 2510.06303, 2512.15745,
/// 2509.26328). Unlike in [`Threshold`](super::Threshold), equality is not enough.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dynamic {
    threshold: f32,
    least: Option<usize>,
}

impl Dynamic {
    /// `n` is what the schedule says, as in SDAR. Published thresholds are 0.85 to 0.9.
    #[must_use]
    pub const fn new(threshold: f32) -> Self {
        Self { threshold, least: None }
    }

    /// `n` is the same in every step: 1 in LLaDA2.0 (threshold 0.95) and Fast-dLLM v2 (0.9). 0 counts
    /// as 1.
    #[must_use]
    pub const fn with_least(threshold: f32, n: usize) -> Self {
        Self { threshold, least: Some(n) }
    }
}

/// SDAR with a threshold of 0.9.
impl Default for Dynamic {
    fn default() -> Self {
        Self::new(0.9)
    }
}

impl CommitPolicy for Dynamic {
    fn name(&self) -> &'static str {
        "dynamic"
    }

    fn follows_schedule(&self) -> bool {
        self.least.is_none()
    }

    fn select(&mut self, view: &StepView<'_>, edit: &mut Edit<'_>) {
        let least = self.least.unwrap_or(view.quota).max(1);
        for score in view.candidates() {
            let commit = view.proposed(score);
            if commit.confidence > self.threshold {
                edit.offer(commit, usize::MAX);
            }
        }
        if edit.commits().len() < least {
            edit.clear_commits();
            for score in view.candidates() {
                edit.offer(view.proposed(score), least);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Dynamic;
    use crate::decode::policies::testing::{CONFIDENCES, select};

    #[test]
    fn all_that_are_sure_or_the_schedules_count() {
        assert_eq!(select(&mut Dynamic::new(0.9), &CONFIDENCES, 2), [0, 2, 4, 6]);
        assert_eq!(select(&mut Dynamic::new(0.9), &CONFIDENCES, 4), [0, 2, 4, 6]);
        assert_eq!(select(&mut Dynamic::new(0.9), &CONFIDENCES, 5), [0, 2, 3, 4, 6]);
        assert_eq!(select(&mut Dynamic::new(0.995), &CONFIDENCES, 0), [4]);
        assert_eq!(select(&mut Dynamic::new(0.5), &CONFIDENCES, 99).len(), 8);
    }

    #[test]
    fn a_count_of_its_own() {
        assert_eq!(select(&mut Dynamic::with_least(0.995, 1), &CONFIDENCES, 7), [4]);
        assert_eq!(select(&mut Dynamic::with_least(0.995, 0), &CONFIDENCES, 7), [4]);
        assert_eq!(select(&mut Dynamic::with_least(0.995, 2), &CONFIDENCES, 7), [0, 4]);
    }

    #[test]
    fn equality_is_not_enough() {
        assert_eq!(select(&mut Dynamic::new(1.0), &[1.0; 4], 2), [0, 1]);
        assert_eq!(select(&mut Dynamic::new(0.999_999), &[1.0; 4], 2).len(), 4);
    }
}
