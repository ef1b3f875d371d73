//! The count schedules of the field besides [`Even`](super::Even). All of them are pure functions of where
//! decoding stands, in whole numbers wherever the rule is a fraction: no target rounds differently.

mod ascending;
mod cosine;
mod dream_grid;
mod lavida_shift;

pub use ascending::Ascending;
pub use cosine::Cosine;
pub use dream_grid::DreamGrid;
pub use lavida_shift::LavidaShift;

#[cfg(test)]
mod testing {
    use crate::decode::{Schedule, StepCount};
    use std::vec::Vec;

    /// The counts of all steps of one block of `masks`.
    pub(super) fn counts(schedule: &dyn Schedule, steps: usize, masks: usize) -> Vec<usize> {
        let mut count = StepCount {
            steps,
            masks,
            left: masks,
            blocks: 1,
            length: masks,
            ..StepCount::default()
        };
        let mut counts = Vec::new();
        for step in 0..steps {
            count.step = step;
            let quota = schedule.quota(&count).min(count.left);
            count.left -= quota;
            counts.push(quota);
        }
        counts
    }
}
