//! Any order.

use crate::decode::{CommitPolicy, Edit, StepView};

/// LLaDA's random order: the schedule's count of positions, all equally likely (arXiv 2502.09992).
///
/// The order is a pure function of the seed; it is the same at every temperature.
#[derive(Debug, Clone, Copy, Default)]
pub struct RandomOrder;

impl CommitPolicy for RandomOrder {
    fn name(&self) -> &'static str {
        "random"
    }

    fn follows_schedule(&self) -> bool {
        true
    }

    fn select(&mut self, view: &StepView<'_>, edit: &mut Edit<'_>) {
        for score in view.candidates() {
            let rank = view.uniform(score.position, 0);
            edit.offer(view.proposed_by(score, rank), view.quota);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::RandomOrder;
    use crate::decode::policies::testing::{MASK, scores, select, view};
    use crate::decode::{Commit, CommitPolicy, Edit, StepView};

    #[test]
    fn commits_as_many_as_the_schedule_says() {
        assert_eq!(select(&mut RandomOrder, &[0.5; 8], 3).len(), 3);
        assert_eq!(select(&mut RandomOrder, &[0.5; 8], 99).len(), 8);
        assert!(select(&mut RandomOrder, &[0.5; 8], 0).is_empty());
    }

    #[test]
    fn every_position_is_equally_likely() {
        let (canvas, open, scores) =
            ([MASK; 8], [1; 8], scores(&[0.9, 0.1, 0.5, 0.5, 0.5, 0.5, 0.2, 1.0]));
        let mut counts = [0u32; 8];
        for seed in 0..8000 {
            let view = StepView { quota: 2, seed, ..view(&canvas, &open, &scores) };
            let mut memory = [Commit::default(); 8];
            let mut edit = Edit::new(&mut memory);
            RandomOrder.select(&view, &mut edit);
            edit.commits().iter().for_each(|commit| counts[commit.position as usize] += 1);
        }
        assert!(counts.iter().all(|count| (1850..2150).contains(count)), "{counts:?}");
    }
}
