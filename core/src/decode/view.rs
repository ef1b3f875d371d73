//! What a policy sees in one step.

use super::random::gumbel;
use super::{Commit, Score, philox4x32};
use crate::math::exp;
use core::ops::Range;

/// Where decoding stands, before or after a forward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StepCount {
    /// Forward passes before this one.
    pub forward: usize,
    /// Steps in this block before this one. Steps whose quota is 0 count too, although they make no
    /// pass.
    pub step: usize,
    /// Steps planned for this block.
    pub steps: usize,
    /// Blocks of the answer.
    pub blocks: usize,
    /// Blocks before this one.
    pub block: usize,
    /// Tokens of the answer.
    pub length: usize,
    /// Masks in the block when it began.
    pub masks: usize,
    /// Masks that are left in it.
    pub left: usize,
}

/// The canvas and its scores.
#[derive(Debug, Clone)]
pub struct StepView<'a> {
    /// All tokens; undecided ones are the mask.
    pub canvas: &'a [u32],
    /// Per position: 1 if it was a mask at the start, else 0. Only such positions may change.
    pub open: &'a [u8],
    /// The part of the canvas that is being generated.
    pub region: Range<usize>,
    /// Current block.
    pub block: Range<usize>,
    /// Where decoding stands.
    pub count: StepCount,
    /// What the schedule wants committed, if the policy follows it; else 0.
    pub quota: usize,
    /// Stands for "not yet decided".
    pub mask_id: u32,
    /// Ends a text.
    pub eos_id: u32,
    /// Factor on the rank of positions that propose the end token; from the
    /// [`EosPolicy`](super::EosPolicy).
    pub eos_weight: Option<f32>,
    /// Key of the random numbers.
    pub seed: u64,
    /// One record per position that has been scored, ascending by position: the candidates, and what
    /// the policy [needs](super::Needs) besides.
    pub scores: &'a [Score],
    /// With [`Needs::SHADOWS`](super::Needs::SHADOWS), one record per position of the block, from its
    /// shadow.
    pub shadows: &'a [Score],
}

impl<'a> StepView<'a> {
    /// Whether a position is a mask.
    #[must_use]
    pub fn is_mask(&self, position: u32) -> bool {
        self.canvas.get(position as usize) == Some(&self.mask_id)
    }

    /// Whether a committed token at this position may be changed.
    #[must_use]
    pub fn is_open(&self, position: u32) -> bool {
        self.open.get(position as usize) == Some(&1)
    }

    /// Scores of the masks left of the block's end.
    pub fn candidates(&self) -> impl Iterator<Item = &'a Score> + Clone + use<'a> {
        let (canvas, mask, end) = (self.canvas, self.mask_id, self.block.end);
        self.scores.iter().filter(move |score| {
            let position = score.position as usize;
            position < end && canvas.get(position) == Some(&mask)
        })
    }

    /// The score of a position, if it has been scored.
    #[must_use]
    pub fn score(&self, position: u32) -> Option<&'a Score> {
        let at = self.scores.binary_search_by_key(&position, |score| score.position).ok()?;
        self.scores.get(at)
    }

    /// Probability of the proposal, lowered by the end rule if that is the end token.
    #[must_use]
    pub fn confidence(&self, score: &Score) -> f32 {
        self.rank(score, score.confidence())
    }

    /// `value` as a rank, lowered by the end rule if the proposal is the end token. A weight of 0 ranks
    /// below everything else.
    #[must_use]
    pub fn rank(&self, score: &Score, value: f32) -> f32 {
        match self.eos_weight.filter(|_| score.proposal == self.eos_id) {
            None => value,
            Some(weight) if weight > 0.0 && value >= 0.0 => value * weight,
            Some(weight) if weight > 0.0 => value / weight,
            Some(_) => f32::MIN,
        }
    }

    /// What a score proposes, ranked by its probability.
    #[must_use]
    pub fn proposed(&self, score: &Score) -> Commit {
        let Score { position, proposal, .. } = *score;
        Commit { position, token: proposal, confidence: self.confidence(score) }
    }

    /// What a score proposes, ranked by `value`.
    #[must_use]
    pub fn proposed_by(&self, score: &Score, value: f32) -> Commit {
        let Score { position, proposal, .. } = *score;
        Commit { position, token: proposal, confidence: self.rank(score, value) }
    }

    /// A uniform random number in (0, 1), the same for the same seed, pass, position and `purpose`.
    /// Purposes keep several draws of a policy apart; those of tokens are apart from all of them.
    #[must_use]
    pub fn uniform(&self, position: u32, purpose: u32) -> f32 {
        ((self.word(position, purpose) >> 8) as f32 + 0.5) * (1.0 / 16_777_216.0)
    }

    /// Standard Gumbel noise, of the same kind: the largest sums of weights in nats and noise are draws
    /// without replacement from the softmax of the weights.
    #[must_use]
    pub fn gumbel(&self, position: u32, purpose: u32) -> f32 {
        gumbel(self.word(position, purpose))
    }

    fn word(&self, position: u32, purpose: u32) -> u32 {
        let key = [self.seed as u32, (self.seed >> 32) as u32];
        let counter = [purpose, position, self.count.forward as u32, 1];
        let [word, ..] = philox4x32(counter, key);
        word
    }
}

/// Something to add to a logit before it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct LogitBias {
    /// Position in the canvas.
    pub position: u32,
    /// Token.
    pub id: u32,
    /// Nats to add.
    pub nats: f32,
}

impl Score {
    /// Softmax probability of the most probable token.
    #[must_use]
    pub fn top_probability(&self) -> f32 {
        exp((self.top_logit - self.log_sum_exp).min(0.0))
    }

    /// Softmax probability of the token that stands at the position.
    #[must_use]
    pub fn current_probability(&self) -> f32 {
        exp((self.current_logit - self.log_sum_exp).min(0.0))
    }

    /// Probability of the most probable token less that of the second.
    #[must_use]
    pub fn margin(&self) -> f32 {
        self.top_probability() - exp((self.runner_up_logit - self.log_sum_exp).min(0.0))
    }
}
