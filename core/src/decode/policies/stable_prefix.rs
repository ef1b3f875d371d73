//! Left to right, as far as it holds.

use super::of_inner;
use crate::decode::{CommitPolicy, Edit, Needs, StepView};
use core::ops::Range;

/// No token: what a position proposed before it was first seen.
const NONE: u32 = u32::MAX;

/// Longest stable prefix (arXiv 2603.05454) around any policy: of what the inner policy commits, only the
/// run from the first mask on, without a gap. If the first mask is not among it, its proposal alone.
///
/// What is decided then never has a mask before it in the block, so that keys and values are final in
/// order. With a memory, a proposal behind the first mask must also be the same as in the pass before.
/// The paper also snaps the end of the run to delimiters; that is left out, as a policy does not know
/// which tokens those are.
#[derive(Debug)]
pub struct StablePrefix<'m, P> {
    inner: P,
    /// The last proposal of each position.
    last: Option<&'m mut [u32]>,
}

impl<P> StablePrefix<'static, P> {
    /// The run that the inner policy commits.
    #[must_use]
    pub const fn new(inner: P) -> Self {
        Self { inner, last: None }
    }
}

impl<'m, P> StablePrefix<'m, P> {
    /// The run whose proposals have also not changed; `last` has one element per position of the canvas.
    #[must_use]
    pub fn with_memory(inner: P, last: &'m mut [u32]) -> Self {
        Self { inner, last: Some(last) }
    }

    fn forget(&mut self) {
        if let Some(last) = &mut self.last {
            last.fill(NONE);
        }
    }

    /// Whether the position proposed this token in the pass before; that it does now is kept.
    fn repeats(&mut self, position: u32, token: u32) -> bool {
        let Some(last) = &mut self.last else { return true };
        let last = last.get_mut(position as usize);
        last.is_some_and(|last| core::mem::replace(last, token) == token)
    }
}

impl<P: CommitPolicy> CommitPolicy for StablePrefix<'_, P> {
    of_inner!(inner: follows_schedule bounds_itself bias continues);

    fn name(&self) -> &'static str {
        "stable-prefix"
    }

    fn needs(&self) -> Needs {
        self.inner.needs()
    }

    fn capacity(&self) -> usize {
        let own = self.last.as_ref().map_or(usize::MAX, |last| last.len());
        self.inner.capacity().min(own)
    }

    fn begin(&mut self, region: Range<usize>) {
        self.forget();
        self.inner.begin(region);
    }

    fn begin_block(&mut self, block: Range<usize>, masks: usize) {
        self.forget();
        self.inner.begin_block(block, masks);
    }

    fn select(&mut self, view: &StepView<'_>, edit: &mut Edit<'_>) {
        self.inner.select(view, edit);
        let (mut end, mut open) = (0, true);
        for (index, score) in view.candidates().enumerate() {
            let repeats = self.repeats(score.position, score.proposal);
            let commits = || edit.commits().iter().any(|commit| commit.position == score.position);
            open = open && (repeats || index == 0) && commits();
            if open {
                end = score.position + 1;
            }
        }
        edit.retain(|commit| commit.position < end);
        if let Some(first) = view.candidates().next().filter(|_| edit.commits().is_empty()) {
            edit.offer(view.proposed(first), 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::StablePrefix;
    use crate::decode::policies::testing::{CONFIDENCES, decide, scores, select};
    use crate::decode::{CommitPolicy, Threshold, TopQ};

    #[test]
    fn only_the_run_from_the_first_mask() {
        let stable = &mut StablePrefix::new(Threshold(0.5));
        // All but the last have 0.5.
        assert_eq!(select(stable, &CONFIDENCES, 0), [0, 1, 2, 3, 4, 5, 6]);
        let stable = &mut StablePrefix::new(Threshold(0.9));
        assert_eq!(select(stable, &CONFIDENCES, 0), [0]);
        assert_eq!(select(stable, &[0.2, 0.99, 0.99], 0), [0], "the first mask in any case");
        assert_eq!(select(&mut StablePrefix::new(TopQ), &CONFIDENCES, 2), [0]);
    }

    #[test]
    fn decided_positions_do_not_break_the_run() {
        let mut gap = scores(&[0.9, 0.9, 0.9, 0.9]);
        gap.remove(1);
        assert_eq!(decide(&mut StablePrefix::new(Threshold(0.9)), &gap, 0), [0, 2]);
    }

    #[test]
    fn with_a_memory_only_what_has_not_changed() {
        let mut last = [0; 8];
        let stable = &mut StablePrefix::with_memory(Threshold(0.5), &mut last);
        assert_eq!(stable.capacity(), 8);
        stable.begin_block(0..4, 4);
        let mut all = scores(&[0.9; 4]);
        assert_eq!(decide(stable, &all, 0), [0], "nothing has been seen before");
        all[2].proposal = 7;
        assert_eq!(decide(stable, &all, 0), [0, 1]);
        assert_eq!(decide(stable, &all, 0), [0, 1, 2, 3]);
        stable.begin_block(0..4, 4);
        assert_eq!(decide(stable, &all, 0), [0]);
    }
}
