//! Bold commits, checked by rows that do not see them.

use super::lowest::{next_lowest, take_back};
use crate::decode::{CommitPolicy, Edit, Needs, StepView};
use core::ops::Range;

/// Wide-in, narrow-out (WINO, arXiv 2507.18578): commits proposals with a probability above one threshold,
/// at most 0.7 of the masks and between 5 and 20, at least the best one. If it was more than one, tokens of
/// the block become masks again whose *shadow*, a row that sees a mask in their place, gives them a
/// probability below another threshold; fewer than the pass before has committed.
///
/// Published with blocks of 128 tokens, thresholds 0.6 (0.7 and 0.8 on some tasks) and 0.9. A pass may take
/// back more than it commits, two passes together may not, so it ends; the session's cap holds besides.
#[derive(Debug, Clone, Copy)]
pub struct Wino {
    accept: f32,
    keep: f32,
    /// Commits of the pass before.
    last_accept: usize,
}

/// What counts as the commits of the pass before a block's first.
const FIRST_ACCEPT: usize = 30;

impl Wino {
    /// Commits above `accept` and takes back below `keep`.
    #[must_use]
    pub const fn new(accept: f32, keep: f32) -> Self {
        Self { accept, keep, last_accept: FIRST_ACCEPT }
    }

    fn narrow_out(&self, view: &StepView<'_>, edit: &mut Edit<'_>) {
        let shadows = (0u32..).skip(view.block.start).zip(view.shadows);
        let doubtful = shadows.filter_map(|(position, shadow)| {
            let probability = shadow.current_probability();
            let token = view.is_open(position) && !view.is_mask(position);
            (token && probability < self.keep).then_some((probability, position))
        });
        let mut limit = doubtful.clone().count();
        if limit >= self.last_accept {
            limit = self.last_accept.saturating_sub(1);
        }
        let mut last = None;
        for _ in 0..limit {
            let Some(next) = next_lowest(doubtful.clone(), last) else { break };
            take_back(view, edit, next);
            last = Some(next);
        }
    }
}

/// Commits of a pass over so many masks, at most.
fn cap(masks: usize) -> usize {
    (masks.saturating_mul(7) / 10).clamp(5, 20).min(masks)
}

impl Default for Wino {
    fn default() -> Self {
        Self::new(0.6, 0.9)
    }
}

impl CommitPolicy for Wino {
    fn name(&self) -> &'static str {
        "wino"
    }

    fn needs(&self) -> Needs {
        Needs::SHADOWS.and(Needs::REVISIONS)
    }

    fn bounds_itself(&self) -> bool {
        true
    }

    fn begin_block(&mut self, _: Range<usize>, _: usize) {
        self.last_accept = FIRST_ACCEPT;
    }

    fn select(&mut self, view: &StepView<'_>, edit: &mut Edit<'_>) {
        let cap = cap(view.candidates().count());
        for score in view.candidates() {
            let commit = view.proposed(score);
            if commit.confidence > self.accept {
                edit.offer(commit, cap);
            }
        }
        if edit.commits().is_empty() {
            for score in view.candidates() {
                edit.offer(view.proposed(score), 1);
            }
        }
        let accepted = edit.commits().len();
        if accepted > 1 {
            self.narrow_out(view, edit);
        }
        self.last_accept = accepted;
    }
}

#[cfg(test)]
mod tests {
    use super::{Wino, cap};
    use crate::decode::policies::testing::{CONFIDENCES, select};

    #[test]
    fn conformance_vectors() {
        // Five of three masks are all three.
        assert_eq!([3, 8, 20, 64].map(cap), [3, 5, 14, 20]);
        assert_eq!(select(&mut Wino::default(), &CONFIDENCES, 0), [0, 2, 3, 4, 6]);
        assert_eq!(select(&mut Wino::new(0.995, 0.9), &CONFIDENCES, 0), [4]);
    }
}
