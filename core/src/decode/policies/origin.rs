//! Dream's original rule: every mask decides for itself.

use crate::decode::{CommitPolicy, DreamGrid, Edit, StepView};
use core::ops::Range;

/// Dream's `origin`, the default of its release: in step `t`, every mask becomes its proposal with
/// probability `1 - tau[t+1] / tau[t]`, independently; in the last step all do (arXiv 2508.15487).
///
/// The reference runs the network in steps that commit nothing, too. Here those are passed over: the
/// canvas is the same, so the draws of the following steps are made in this pass.
#[derive(Debug, Clone, Copy, Default)]
pub struct Origin {
    grid: DreamGrid,
    /// Steps of this block so far, those without a commit included.
    step: usize,
}

impl Origin {
    /// With the noise of this time grid.
    #[must_use]
    pub const fn new(grid: DreamGrid) -> Self {
        Self { grid, step: 0 }
    }
}

impl CommitPolicy for Origin {
    fn name(&self) -> &'static str {
        "origin"
    }

    fn begin_block(&mut self, _: Range<usize>, _: usize) {
        self.step = 0;
    }

    fn select(&mut self, view: &StepView<'_>, edit: &mut Edit<'_>) {
        let steps = view.count.steps;
        let mut last = false;
        while edit.commits().is_empty() && !last {
            last = self.step.saturating_add(1) >= steps;
            let share = self.grid.share(self.step, steps);
            let probability = share.0 as f32 / share.1.max(1) as f32;
            for score in view.candidates() {
                if last || view.uniform(score.position, self.step as u32) < probability {
                    edit.offer(view.proposed(score), usize::MAX);
                }
            }
            self.step = self.step.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Origin;
    use crate::decode::policies::testing::{MASK, scores, view};
    use crate::decode::{Commit, CommitPolicy, Edit, StepCount, StepView};

    /// Positions that become tokens in the first pass, and the steps that this took.
    fn first_pass(seed: u64, steps: usize) -> (usize, usize) {
        let (canvas, open, scores) = ([MASK; 16], [1; 16], scores(&[0.5; 16]));
        let base = view(&canvas, &open, &scores);
        let view = StepView { count: StepCount { steps, ..base.count }, seed, ..base };
        let mut policy = Origin::default();
        policy.begin_block(0..16, 16);
        let mut memory = [Commit::default(); 16];
        let mut edit = Edit::new(&mut memory);
        policy.select(&view, &mut edit);
        (edit.commits().len(), policy.step)
    }

    #[test]
    fn the_last_step_takes_all() {
        assert_eq!(first_pass(3, 1), (16, 1));
        assert_eq!(first_pass(3, 0), (16, 1));
    }

    #[test]
    fn each_mask_is_drawn_with_the_share_of_its_step() {
        // With 4 steps the first share is 0.999 / 4.
        let total: usize = (0..4000)
            .map(|seed| first_pass(seed, 4))
            .map(|(commits, steps)| if steps == 1 { commits } else { 0 })
            .sum();
        let mean = total as f64 / (4000.0 * 16.0);
        assert!((mean - 0.24975).abs() < 0.006, "{mean}");
    }

    #[test]
    fn passes_over_steps_without_a_commit() {
        let taken: std::vec::Vec<usize> =
            (0..200).map(|seed| first_pass(seed, 1000)).map(|(_, steps)| steps).collect();
        assert!(taken.iter().any(|steps| *steps > 50));
        assert!((0..200).all(|seed| first_pass(seed, 1000).0 > 0));
    }
}
