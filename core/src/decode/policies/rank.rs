//! By what positions are ranked.

use crate::decode::Score;

/// What makes one proposal come before another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rank {
    /// Probability of the proposal.
    #[default]
    Confidence,
    /// Probability of the most probable token less that of the second.
    Margin,
    /// Entropy of the distribution, the lowest first.
    Entropy,
}

impl Rank {
    /// The rank of a position; larger comes first.
    #[must_use]
    pub fn of(self, score: &Score) -> f32 {
        match self {
            Self::Confidence => score.confidence(),
            Self::Margin => score.margin(),
            Self::Entropy => -score.entropy,
        }
    }
}
