//! Masks leave one by one, each with its own chance.

use super::time::interval;
use crate::decode::{Commit, CommitPolicy, Edit, StepView};

/// Ancestral sampling of MDLM (arXiv 2406.07524): in each of the planned steps, from time `t` to time
/// `s`, every mask becomes its proposal with probability `(t - s) / t`. After the last step the masks that
/// are left become their most probable tokens, without noise.
///
/// Published with 128 steps for 1024 tokens and temperature 1. [`Ancestral::cached`] is the release's
/// `ddpm_cache`: steps in which nothing is committed need no pass of their own. [`Ancestral::uncached`] is
/// `ddpm`, one pass per step. Its noise schedule, `(1 - 1e-3) t`, gives the same probabilities.
#[derive(Debug, Clone, Copy)]
pub struct Ancestral {
    cached: bool,
    /// Steps of this block so far.
    step: usize,
}

impl Ancestral {
    /// A pass only where the canvas has changed.
    #[must_use]
    pub const fn cached() -> Self {
        Self { cached: true, step: 0 }
    }

    /// A pass for every step.
    #[must_use]
    pub const fn uncached() -> Self {
        Self { cached: false, step: 0 }
    }
}

impl Default for Ancestral {
    fn default() -> Self {
        Self::cached()
    }
}

impl CommitPolicy for Ancestral {
    fn name(&self) -> &'static str {
        if self.cached { "ancestral" } else { "ancestral-uncached" }
    }

    fn bounds_itself(&self) -> bool {
        true
    }

    fn begin_block(&mut self, _: core::ops::Range<usize>, _: usize) {
        self.step = 0;
    }

    fn select(&mut self, view: &StepView<'_>, edit: &mut Edit<'_>) {
        let steps = view.count.steps;
        while self.step < steps {
            let step = self.step;
            self.step += 1;
            unmask(view, edit, unmask_probability(step, steps), step);
            if !self.cached || !edit.commits().is_empty() {
                return;
            }
        }
        fill(view, edit);
    }
}

/// The chance of a mask to become a token in step `step` of `steps`.
fn unmask_probability(step: usize, steps: usize) -> f32 {
    let (t, s) = interval(step, steps);
    (t - s) / t
}

/// Commits each proposal with this probability; `step` keeps the draws of steps apart that share a pass.
pub(super) fn unmask(view: &StepView<'_>, edit: &mut Edit<'_>, probability: f32, step: usize) {
    for score in view.candidates() {
        if view.uniform(score.position, step as u32) < probability {
            edit.offer(view.proposed(score), usize::MAX);
        }
    }
}

/// Commits the most probable token everywhere.
pub(super) fn fill(view: &StepView<'_>, edit: &mut Edit<'_>) {
    for score in view.candidates() {
        let (position, token) = (score.position, score.top);
        let commit = Commit { position, token, confidence: score.top_probability() };
        edit.offer(commit, usize::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::{Ancestral, unmask_probability};
    use crate::decode::policies::testing::{CONFIDENCES, scores, select, view};
    use crate::decode::{Commit, CommitPolicy, Edit, StepCount, StepView};

    #[test]
    fn conformance_vectors() {
        for (step, expected) in [0.25, 1.0 / 3.0, 0.5, 1.0].into_iter().enumerate() {
            let probability = unmask_probability(step, 4);
            assert!((probability - expected).abs() < 1e-4, "{step}: {probability}");
        }
    }

    #[test]
    fn no_pass_is_without_a_commit_unless_it_is_asked_for() {
        for seed in 0..200 {
            let committed = |policy: &mut Ancestral| {
                let (canvas, open, scores) = ([1; 8], [1; 8], scores(&CONFIDENCES));
                let plain = view(&canvas, &open, &scores);
                let count = StepCount { steps: 64, ..plain.count };
                let mut memory = [Commit::default(); 8];
                let mut edit = Edit::new(&mut memory);
                policy.select(&StepView { seed, count, ..plain }, &mut edit);
                edit.commits().len()
            };
            assert!(committed(&mut Ancestral::cached()) > 0);
            let mut uncached = Ancestral::uncached();
            let counts: [usize; 65] = core::array::from_fn(|_| committed(&mut uncached));
            assert!(counts.contains(&0) && counts[64] == 8, "the last one fills");
        }
        assert_eq!(select(&mut Ancestral { cached: true, step: 8 }, &CONFIDENCES, 0).len(), 8);
    }
}
