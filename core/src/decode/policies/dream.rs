//! Dream's orders by rank.

use super::Rank;
use crate::decode::{CommitPolicy, Edit, StepView};
use crate::session::MIN_TEMPERATURE;

/// Dream's `maskgit_plus`, `topk_margin` and `entropy`: the schedule's count of positions with the
/// highest rank (arXiv 2508.15487). Made for [`DreamGrid`](crate::decode::DreamGrid) and one block.
///
/// With a temperature of its own (`alg_temp`), positions are drawn without replacement from the softmax
/// of `rank / temperature`, as the largest sums of rank and Gumbel noise. 0, the default, takes the
/// highest ranks. Ranks are those of the filtered, tempered distribution if
/// [`Options::filter`](crate::Options::filter) asks for that, as Dream does.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Dream {
    rank: Rank,
    temperature: f32,
}

impl Dream {
    /// The highest ranks.
    #[must_use]
    pub const fn new(rank: Rank) -> Self {
        Self { rank, temperature: 0.0 }
    }

    /// Draws positions at this temperature (`alg_temp`). What is no positive number counts as 0.
    #[must_use]
    pub fn with_temperature(mut self, temperature: f32) -> Self {
        let usable = temperature > 0.0 && temperature.is_finite();
        self.temperature = if usable { temperature.max(MIN_TEMPERATURE) } else { 0.0 };
        self
    }
}

impl CommitPolicy for Dream {
    fn name(&self) -> &'static str {
        match self.rank {
            Rank::Confidence => "maskgit-plus",
            Rank::Margin => "topk-margin",
            Rank::Entropy => "entropy",
        }
    }

    fn follows_schedule(&self) -> bool {
        true
    }

    fn select(&mut self, view: &StepView<'_>, edit: &mut Edit<'_>) {
        for score in view.candidates() {
            let mut commit = view.proposed_by(score, self.rank.of(score));
            if self.temperature > 0.0 {
                let noise = view.gumbel(score.position, 0);
                commit.confidence = (commit.confidence / self.temperature + noise).max(f32::MIN);
            }
            edit.offer(commit, view.quota);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Dream, Rank};
    use crate::decode::policies::testing::{CONFIDENCES, MASK, scores, select, view};
    use crate::decode::{Commit, CommitPolicy, Edit, Score, StepView};
    use std::vec::Vec;

    /// Three positions that every rank orders differently: by probability 0, 1, 2; by margin 1, 0, 2; by
    /// entropy 2, 1, 0.
    fn three() -> Vec<Score> {
        let runners_up = [0.4f32, 0.1, 0.35];
        let mut all = scores(&[0.6, 0.5, 0.4]);
        for ((score, runner_up), entropy) in all.iter_mut().zip(runners_up).zip([1.5, 1.4, 1.3]) {
            (score.runner_up_logit, score.entropy) = (runner_up.ln(), entropy);
        }
        all
    }

    /// Positions in the order in which they are committed.
    fn order(policy: &mut Dream, scores: &[Score], quota: usize, seed: u64) -> Vec<u32> {
        let (canvas, open) = (std::vec![MASK; scores.len()], std::vec![1; scores.len()]);
        let view = StepView { quota, seed, ..view(&canvas, &open, scores) };
        let mut memory = std::vec![Commit::default(); scores.len()];
        let mut edit = Edit::new(&mut memory);
        policy.select(&view, &mut edit);
        edit.commits().iter().map(|commit| commit.position).collect()
    }

    #[test]
    fn ranks_differ() {
        let by = |rank| order(&mut Dream::new(rank), &three(), 3, 0);
        assert_eq!(by(Rank::Confidence), [0, 1, 2]);
        assert_eq!(by(Rank::Margin), [1, 0, 2]);
        assert_eq!(by(Rank::Entropy), [2, 1, 0]);
    }

    #[test]
    fn conformance_vector_and_ties() {
        assert_eq!(select(&mut Dream::default(), &CONFIDENCES, 3), [0, 2, 4]);
        assert_eq!(select(&mut Dream::default(), &[1.0; 8], 3), [0, 1, 2]);
        assert!(select(&mut Dream::default(), &[1.0; 8], 0).is_empty());
    }

    #[test]
    fn what_is_no_temperature_takes_the_highest() {
        for bad in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert_eq!(Dream::new(Rank::Margin).with_temperature(bad), Dream::new(Rank::Margin));
        }
        let cold = &mut Dream::new(Rank::Confidence).with_temperature(1e-30);
        assert_eq!(order(cold, &three(), 3, 7), [0, 1, 2]);
    }

    #[test]
    fn pairs_are_drawn_without_replacement_from_the_softmax() {
        let temperature = 0.1;
        let policy = &mut Dream::new(Rank::Confidence).with_temperature(temperature);
        let weights = [0.6f64, 0.5, 0.4].map(|c| (c / f64::from(temperature)).exp());
        let total: f64 = weights.iter().sum();
        let n = 20_000u32;
        let mut counts = [[0u32; 3]; 3];
        for seed in 0..u64::from(n) {
            let drawn = order(policy, &three(), 2, seed);
            counts[drawn[0] as usize][drawn[1] as usize] += 1;
        }
        for (first, row) in counts.iter().enumerate() {
            for (second, count) in row.iter().enumerate().filter(|(second, _)| *second != first) {
                let expected = weights[first] / total * weights[second] / (total - weights[first]);
                let got = f64::from(*count) / f64::from(n);
                assert!((got - expected).abs() < 0.012, "{first} {second}: {got} {expected}");
            }
        }
    }
}
