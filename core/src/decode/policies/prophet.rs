//! When the answer is clear, all of it at once.

use super::of_inner;
use crate::decode::{Commit, CommitPolicy, Edit, Needs, StepView};
use core::ops::Range;

/// Prophet (arXiv 2508.19982) around any policy: as soon as the best token leads the second by enough, on
/// average over the answer, every mask becomes its best token. Until then the inner policy decides.
///
/// Enough is 7.5 nats in the first 33 of 100 planned passes, then 5 up to the 67th, then 2.5; these numbers are
/// LLaDA's, and a model with other logits wants others. The average is over the masks that are left and
/// the block in hand, decided positions included, or over a part of the answer that the caller knows to
/// hold what matters. With block-causal attention only the block in hand is looked at and filled.
#[derive(Debug, Clone)]
pub struct Prophet<P> {
    inner: P,
    gaps: [f32; 3],
    /// Positions of the answer that count, from its start.
    answer: Option<Range<usize>>,
}

impl<P> Prophet<P> {
    /// With the published thresholds, over the masks that are left and the block in hand.
    #[must_use]
    pub const fn new(inner: P) -> Self {
        Self { inner, gaps: [7.5, 5.0, 2.5], answer: None }
    }

    /// Other leads in nats, for the three parts of the planned passes.
    #[must_use]
    pub const fn with_gaps(mut self, gaps: [f32; 3]) -> Self {
        self.gaps = gaps;
        self
    }

    /// Looks at these positions of the answer only, counted from its start. What of them is decided takes
    /// part, so that the rows of the whole answer are scored in every pass.
    #[must_use]
    pub const fn over(mut self, answer: Range<usize>) -> Self {
        self.answer = Some(answer);
        self
    }

    /// The lead that is enough in this pass.
    fn enough(&self, view: &StepView<'_>) -> f32 {
        let planned = view.count.steps.saturating_mul(view.count.blocks);
        let percent = view.count.forward.saturating_add(1).saturating_mul(100);
        let [early, middle, late] = self.gaps;
        match planned {
            _ if percent < planned.saturating_mul(33) => early,
            _ if percent < planned.saturating_mul(67) => middle,
            _ => late,
        }
    }

    /// Whether the scored positions that count lead by enough.
    fn is_clear(&self, view: &StepView<'_>) -> bool {
        let start = view.region.start;
        let counts = |position: usize| match &self.answer {
            Some(answer) => position.checked_sub(start).is_some_and(|at| answer.contains(&at)),
            None => true,
        };
        let (mut sum, mut number) = (0.0, 0.0);
        for score in view.scores.iter().filter(|score| counts(score.position as usize)) {
            sum += score.top_logit - score.runner_up_logit;
            number += 1.0;
        }
        number > 0.0 && sum / number >= self.enough(view)
    }
}

impl<P: CommitPolicy> CommitPolicy for Prophet<P> {
    of_inner!(inner: follows_schedule bounds_itself capacity begin begin_block bias continues);

    fn name(&self) -> &'static str {
        "prophet"
    }

    fn needs(&self) -> Needs {
        let own = match self.answer {
            Some(_) => Needs::ALL_ROWS,
            None => Needs::ALL_MASKS.and(Needs::BLOCK_ROWS),
        };
        self.inner.needs().and(own)
    }

    fn select(&mut self, view: &StepView<'_>, edit: &mut Edit<'_>) {
        if !self.is_clear(view) {
            return self.inner.select(view, edit);
        }
        for score in view.scores.iter().filter(|score| view.is_mask(score.position)) {
            let (position, token) = (score.position, score.top);
            edit.offer(Commit { position, token, confidence: score.top_probability() }, usize::MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Prophet;
    use crate::decode::policies::testing::{MASK, decide, scores, view};
    use crate::decode::{Needs, Score, StepCount, StepView, TopQ};
    use std::vec::Vec;

    fn with_gaps(gaps: &[f32]) -> Vec<Score> {
        let mut all = scores(&std::vec![0.5; gaps.len()]);
        for (score, gap) in all.iter_mut().zip(gaps) {
            score.runner_up_logit = score.top_logit - gap;
        }
        all
    }

    #[test]
    fn a_clear_answer_is_committed_at_once() {
        let mut prophet = Prophet::new(TopQ);
        assert_eq!(decide(&mut prophet, &with_gaps(&[7.5; 4]), 1), [0, 1, 2, 3]);
        assert_eq!(decide(&mut prophet, &with_gaps(&[7.4; 4]), 1), [0]);
        assert_eq!(decide(&mut prophet, &with_gaps(&[1.0, 13.0, 8.0, 8.0]), 2), [0, 1, 2, 3]);
    }

    #[test]
    fn only_the_answer_counts_but_all_is_committed() {
        let gaps = with_gaps(&[0.0, 9.0, 9.0, 0.0]);
        assert_eq!(decide(&mut Prophet::new(TopQ).over(1..3), &gaps, 1).len(), 4);
        assert_eq!(decide(&mut Prophet::new(TopQ).over(0..3), &gaps, 1).len(), 1);
        assert_eq!(
            decide(&mut Prophet::new(TopQ).over(9..12), &gaps, 1).len(),
            1,
            "nothing to see"
        );
        let needs = crate::decode::CommitPolicy::needs(&Prophet::new(TopQ).over(1..3));
        assert!(needs.include(Needs::ALL_ROWS));
    }

    #[test]
    fn thresholds_fall_with_the_passes() {
        let (canvas, open) = ([MASK; 4], [1; 4]);
        let scores = with_gaps(&[5.0; 4]);
        let enough = |forward, steps| {
            let view = view(&canvas, &open, &scores);
            let count = StepCount { forward, steps, blocks: 1, ..view.count };
            Prophet::new(TopQ).enough(&StepView { count, ..view })
        };
        // Passes count from 1: of 100, the 33rd is the first of the second part.
        assert_eq!(
            [0, 31, 32, 65, 66, 99, 500].map(|f| enough(f, 100)),
            [7.5, 7.5, 5.0, 5.0, 2.5, 2.5, 2.5]
        );
        assert_eq!(enough(0, 1), 2.5);
        assert_eq!(enough(0, 0), 2.5);
    }
}
