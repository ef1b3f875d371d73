//! Explore slowly, then fill fast.

use crate::decode::{CommitPolicy, Edit, StepView};
use core::ops::Range;

/// SlowFast sampling (arXiv 2506.10848): passes that look for how far the text is certain, then passes
/// that fill only that span.
///
/// A *slow* pass estimates the span: it ends behind the last mask of the block whose proposal has a
/// probability of at least `certain`. Two estimates in a row that differ by less than 2 settle it; after 6
/// slow passes the mean of the last two does. *Fast* passes fill the span, then the search goes on behind
/// it. Every pass commits the proposals of at least `sure` if there are two or more, else the best one.
///
/// The release goes on with slow passes when the span is settled; the paper does not, nor does this.
#[derive(Debug, Clone, Copy)]
pub struct SlowFast {
    sure: f32,
    certain: f32,
    /// Where the spans that are full end.
    start: usize,
    /// Where the span to be filled ends; `None` in the slow phase.
    end: Option<usize>,
    /// The last estimate of this slow phase, and how many there have been.
    estimate: usize,
    estimates: u32,
}

/// Slow passes for one span at most.
const MAX_SLOW: u32 = 6;

impl SlowFast {
    /// Probabilities from which proposals are committed together, and from which they show that the text
    /// reaches so far.
    #[must_use]
    pub const fn new(sure: f32, certain: f32) -> Self {
        Self { sure, certain, start: 0, end: None, estimate: 0, estimates: 0 }
    }

    fn slow_phase(&mut self, start: usize) {
        *self = Self { start, ..Self::new(self.sure, self.certain) };
    }

    /// Estimates the span from the scores of a slow pass, and settles it if it can.
    fn explore(&mut self, view: &StepView<'_>) {
        let certain = view.candidates().filter(|score| view.confidence(score) >= self.certain);
        let inside = certain.map(|score| score.position as usize).filter(|at| *at >= self.start);
        let end = inside.max().unwrap_or(self.start).saturating_add(1).min(view.block.end);
        let before = core::mem::replace(&mut self.estimate, end);
        self.estimates += 1;
        if self.estimates < 2 {
            return;
        }
        // The standard deviation of two numbers is half of their difference.
        if before.abs_diff(end) < 2 {
            self.end = Some(end);
        } else if self.estimates >= MAX_SLOW {
            self.end = Some(before.midpoint(end));
        }
    }
}

/// The published setting: 0.9 and 0.3.
impl Default for SlowFast {
    fn default() -> Self {
        Self::new(0.9, 0.3)
    }
}

impl CommitPolicy for SlowFast {
    fn name(&self) -> &'static str {
        "slow-fast"
    }

    fn begin_block(&mut self, block: Range<usize>, _: usize) {
        self.slow_phase(block.start);
    }

    fn select(&mut self, view: &StepView<'_>, edit: &mut Edit<'_>) {
        let first = view.candidates().next().map_or(0, |score| score.position as usize);
        if let Some(full) = self.end.filter(|end| first >= *end) {
            self.slow_phase(full);
        }
        // The estimate is for the passes that follow: a slow one commits anywhere in the block.
        let end = self.end.unwrap_or(view.block.end);
        if self.end.is_none() {
            self.explore(view);
        }
        let inside = view.candidates().filter(|score| (score.position as usize) < end);
        for score in inside.clone() {
            let commit = view.proposed(score);
            if commit.confidence >= self.sure {
                edit.offer(commit, usize::MAX);
            }
        }
        if edit.commits().len() < 2 {
            edit.clear_commits();
            for score in inside {
                edit.offer(view.proposed(score), 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::SlowFast;
    use crate::decode::CommitPolicy;
    use crate::decode::policies::testing::{CONFIDENCES, select};

    fn begun() -> SlowFast {
        let mut policy = SlowFast::default();
        policy.begin_block(0..8, 8);
        policy
    }

    #[test]
    fn two_that_are_sure_or_the_best() {
        assert_eq!(select(&mut begun(), &CONFIDENCES, 0), [0, 2, 4, 6]);
        assert_eq!(select(&mut begun(), &[0.95, 0.89, 0.1, 0.96], 0), [0, 3]);
        assert_eq!(select(&mut begun(), &[0.1, 0.95, 0.1], 0), [1]);
        assert_eq!(select(&mut begun(), &[0.1; 8], 0), [0]);
    }

    #[test]
    fn equal_estimates_settle_the_span() {
        let policy = &mut begun();
        let sure_to_three = [0.2, 0.4, 0.31, 0.29, 0.1, 0.1, 0.1, 0.8];
        select(policy, &[0.1, 0.2, 0.35, 0.1, 0.1, 0.1, 0.1, 0.1], 0);
        assert_eq!((policy.end, policy.estimate), (None, 3));
        select(policy, &[0.1, 0.2, 0.1, 0.35, 0.1, 0.1, 0.1, 0.1], 0);
        assert_eq!(policy.end, Some(4));
        // The best proposal is at 7, outside of the span.
        assert_eq!(select(policy, &sure_to_three, 0), [1]);
    }

    #[test]
    fn unsteady_estimates_are_averaged_after_six_passes() {
        let policy = &mut begun();
        let short = [0.5, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1];
        let long = [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.5];
        for pass in 0..6 {
            assert_eq!(policy.end, None, "pass {pass}");
            select(policy, if pass % 2 == 0 { &short } else { &long }, 0);
        }
        assert_eq!(policy.end, Some(4), "the mean of 1 and 8, rounded down");
    }

    #[test]
    fn nothing_certain_is_a_span_of_one() {
        let policy = &mut begun();
        select(policy, &[0.1; 8], 0);
        select(policy, &[0.1; 8], 0);
        assert_eq!(policy.end, Some(1));
    }
}
