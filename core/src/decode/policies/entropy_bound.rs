//! A budget of entropy for each step.

use super::Rank;
use crate::decode::{CommitPolicy, Edit, StepView};

/// EB-Sampler's rule: the best-ranked proposals, as many as have at most this much entropy together, the
/// largest of them not counted (Ben-Hamu et al., arXiv 2505.24857). The best one always passes.
///
/// What is not counted bounds what positions that are committed together can know about each other. The
/// order is by entropy; the paper also offers probability and margin. Published budgets are 0.001, 0.1
/// (DiffusionGemma, the default here) and 0.35 nats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EntropyBound {
    nats: f32,
    rank: Rank,
}

impl EntropyBound {
    /// A budget in nats, spent in order of entropy.
    #[must_use]
    pub const fn new(nats: f32) -> Self {
        Self { nats, rank: Rank::Entropy }
    }

    /// Spends it in another order.
    #[must_use]
    pub const fn by(mut self, rank: Rank) -> Self {
        self.rank = rank;
        self
    }
}

impl Default for EntropyBound {
    fn default() -> Self {
        Self::new(0.1)
    }
}

impl CommitPolicy for EntropyBound {
    fn name(&self) -> &'static str {
        "entropy-bound"
    }

    fn select(&mut self, view: &StepView<'_>, edit: &mut Edit<'_>) {
        for score in view.candidates() {
            edit.offer(view.proposed_by(score, self.rank.of(score)), usize::MAX);
        }
        // All but the largest so far. In order of entropy that is the sum of the earlier ones.
        let (mut largest, mut others, mut passes, mut first) = (0.0f32, 0.0f32, true, true);
        edit.retain(|commit| {
            let entropy = view.score(commit.position).map_or(0.0, |score| score.entropy);
            others += if entropy < largest { entropy } else { largest };
            largest = largest.max(entropy);
            passes = passes && others <= self.nats;
            core::mem::take(&mut first) || passes
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{EntropyBound, Rank};
    use crate::decode::policies::testing::{decide, scores};
    use crate::decode::{Score, policies::testing::CONFIDENCES};
    use std::vec::Vec;

    const ENTROPIES: [f32; 8] = [0.02, 0.9, 0.05, 0.31, 0.01, 0.7, 0.08, 1.6];

    fn with_entropies(confidences: &[f32], entropies: &[f32]) -> Vec<Score> {
        let mut all = scores(confidences);
        all.iter_mut().zip(entropies).for_each(|(score, entropy)| score.entropy = *entropy);
        all
    }

    fn bound(nats: f32) -> Vec<u32> {
        decide(&mut EntropyBound::new(nats), &with_entropies(&CONFIDENCES, &ENTROPIES), 0)
    }

    #[test]
    fn conformance_vectors() {
        assert_eq!(bound(0.001), [4]);
        assert_eq!(bound(0.05), [0, 2, 4]);
        assert_eq!(bound(0.1), [0, 2, 4, 6]);
        assert_eq!(bound(0.2), [0, 2, 3, 4, 6]);
        assert_eq!(bound(0.5), [0, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn the_best_one_passes_whatever_the_budget() {
        assert_eq!(bound(-1.0), [4]);
        assert_eq!(bound(f32::NAN), [4]);
        assert_eq!(bound(f32::INFINITY).len(), 8);
        let certain = with_entropies(&[1.0; 4], &[0.0; 4]);
        assert_eq!(decide(&mut EntropyBound::new(0.0), &certain, 0), [0, 1, 2, 3]);
    }

    #[test]
    fn another_order_spends_the_same_budget() {
        // By probability 0, 1, 2, 3; the entropies 0.5, 0.1, 0.2, 0.1 cost 0, 0.1, 0.3 and 0.4.
        let all = with_entropies(&[0.9, 0.8, 0.7, 0.6], &[0.5, 0.1, 0.2, 0.1]);
        let by = |nats| decide(&mut EntropyBound::new(nats).by(Rank::Confidence), &all, 0);
        assert_eq!(by(0.05), [0]);
        assert_eq!(by(0.11), [0, 1]);
        assert_eq!(by(0.31), [0, 1, 2]);
        assert_eq!(by(0.41), [0, 1, 2, 3]);
    }
}
