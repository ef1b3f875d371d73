//! Near what is sure, less sure is enough.

use crate::decode::{CommitPolicy, Edit, StepView};

/// LocalLeap's rule (arXiv 2510.07081): proposals of at least `anchor` are anchors and are committed;
/// within `window` tokens of an anchor `relaxed` is enough. The best one in any case.
///
/// Distances are positions, whatever stands between. Only masks of this step are anchors, and what an
/// anchor lets pass does not become one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LocalLeap {
    anchor: f32,
    relaxed: f32,
    window: u32,
}

impl LocalLeap {
    /// `relaxed` is at most `anchor`: a larger one counts as that.
    #[must_use]
    pub fn new(anchor: f32, relaxed: f32, window: u32) -> Self {
        Self { anchor, relaxed: relaxed.min(anchor), window }
    }
}

/// The published setting: 0.9, 0.75 and 4.
impl Default for LocalLeap {
    fn default() -> Self {
        Self::new(0.9, 0.75, 4)
    }
}

impl CommitPolicy for LocalLeap {
    fn name(&self) -> &'static str {
        "local-leap"
    }

    fn select(&mut self, view: &StepView<'_>, edit: &mut Edit<'_>) {
        let sure = view.candidates().filter(|score| view.confidence(score) >= self.anchor);
        let mut anchors = sure.map(|score| score.position).peekable();
        for score in view.candidates() {
            let position = score.position;
            // The first anchor that is not too far to the left.
            while anchors.next_if(|at| at.saturating_add(self.window) < position).is_some() {}
            let near = anchors.peek().is_some_and(|at| *at <= position.saturating_add(self.window));
            let least = if near { self.relaxed } else { self.anchor };
            let commit = view.proposed(score);
            if commit.confidence >= least {
                edit.offer(commit, usize::MAX);
            }
        }
        if edit.commits().is_empty() {
            for score in view.candidates() {
                edit.offer(view.proposed(score), 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::LocalLeap;
    use crate::decode::policies::testing::{CONFIDENCES, select};

    fn leap(anchor: f32, relaxed: f32, window: u32) -> std::vec::Vec<u32> {
        select(&mut LocalLeap::new(anchor, relaxed, window), &CONFIDENCES, 0)
    }

    #[test]
    fn conformance_vectors() {
        assert_eq!(leap(0.9, 0.75, 1), [0, 2, 3, 4, 6]);
        assert_eq!(leap(0.95, 0.75, 1), [0, 3, 4]);
        assert_eq!(leap(0.9, 0.5, 4), [0, 1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn edges() {
        assert_eq!(leap(0.999, 0.5, 4), [4], "no anchor: the best one");
        assert_eq!(leap(0.9, 0.95, 4), leap(0.9, 0.9, 4), "not stricter near an anchor");
        assert_eq!(leap(0.9, 0.75, 0), [0, 2, 4, 6], "a window of 0 is the threshold rule");
        assert_eq!(leap(0.98, 0.0, u32::MAX).len(), 8);
        assert_eq!(select(&mut LocalLeap::default(), &[0.1], 0), [0]);
        assert_eq!(select(&mut LocalLeap::default(), &[0.5; 8], 0), [0], "ties");
    }

    #[test]
    fn what_an_anchor_lets_pass_is_no_anchor() {
        assert_eq!(select(&mut LocalLeap::new(0.9, 0.7, 1), &[0.95, 0.8, 0.8], 0), [0, 1]);
    }
}
