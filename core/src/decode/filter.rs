//! What remains of a distribution before a proposal is drawn: top-p and top-k, without a vocabulary of
//! numbers.

use super::score::chunk_sums;
use super::{DECODERS, HEAD_CHUNK, Sampling, Score};
use crate::kernels::scalar::NotFinite;
use crate::math::{exp, ln};
use bytemuck::{Pod, Zeroable};

/// What remains of a distribution before a proposal is drawn from it, in this order: temperature,
/// top-p, top-k. Scores are then those of what remains, as in Dream. At temperature 0 nothing of it
/// matters.
///
/// At most [`Filter::MOST`] tokens remain of a filter that cuts: a nucleus that is larger is cut to that
/// many.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Filter {
    /// Scores are those of the distribution at the temperature, not at 1.
    pub tempered: bool,
    /// Only that many of the most probable tokens; 0 for all.
    pub top_k: u32,
    /// Only the most probable tokens whose predecessors sum to at most this; 1 for all.
    pub top_p: f32,
}

impl Filter {
    /// All tokens, scores at temperature 1.
    pub const NONE: Self = Self { tempered: false, top_k: 0, top_p: 1.0 };

    /// Tokens that remain at most, if not all do.
    pub const MOST: usize = HEAD_CHUNK;

    /// Whether it changes anything.
    #[must_use]
    pub fn is_some(&self) -> bool {
        self.tempered || self.top_k > 0 || self.has_nucleus()
    }

    /// Whether top-p leaves tokens out. A NaN does, as a p of 0 would.
    fn has_nucleus(&self) -> bool {
        self.top_p < 1.0 || self.top_p.is_nan()
    }
}

impl Default for Filter {
    fn default() -> Self {
        Self::NONE
    }
}

impl Sampling {
    /// Whether only some tokens remain.
    #[inline(always)]
    pub(crate) fn filters(&self) -> bool {
        DECODERS && self.temperature > 0.0 && (self.filter.top_k > 0 || self.filter.has_nucleus())
    }

    /// Whether logits are divided by the temperature before they are summed up: for scores of the
    /// tempered distribution, and for the mass of a nucleus.
    #[inline(always)]
    pub(crate) fn divides(&self) -> bool {
        DECODERS && self.temperature > 0.0 && (self.filter.tempered || self.filter.has_nucleus())
    }
}

/// The tokens of a row with the largest logits, as the head streams by.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Candidates {
    count: u32,
    /// Largest logit first; of equal ones the lower id.
    ids: [u32; Filter::MOST],
    logits: [f32; Filter::MOST],
}

impl Default for Candidates {
    fn default() -> Self {
        Self { count: 0, ids: [0; Filter::MOST], logits: [0.0; Filter::MOST] }
    }
}

impl Candidates {
    /// Forgets them all.
    pub(crate) fn clear(&mut self) {
        self.count = 0;
    }

    /// Takes in the logits of ids `first_id..`; those at minus infinity do not exist.
    pub(crate) fn absorb(&mut self, first_id: u32, chunk: &[f32; HEAD_CHUNK]) {
        for (id, &logit) in (first_id..).zip(chunk) {
            let least = match self.count as usize {
                Filter::MOST => self.logits.last().copied(),
                _ => None,
            };
            if logit > least.unwrap_or(f32::NEG_INFINITY) {
                self.insert(id, logit);
            }
        }
    }

    fn insert(&mut self, id: u32, logit: f32) {
        let found = self.logits.get(..self.count as usize).unwrap_or_default();
        let at = found.partition_point(|other| *other >= logit);
        self.count = (self.count + 1).min(Filter::MOST as u32);
        let (mut id, mut logit) = (id, logit);
        let places = self.ids.iter_mut().zip(&mut self.logits);
        for (place, least) in places.take(self.count as usize).skip(at) {
            core::mem::swap(place, &mut id);
            core::mem::swap(least, &mut logit);
        }
    }

    /// The same score of what remains, with a proposal drawn from that. `score` is of the whole
    /// distribution, at the temperature if there is a nucleus.
    ///
    /// # Errors
    /// [`NotFinite`] if the temperature is too small for a quotient by it.
    pub(crate) fn filter(
        &self,
        score: &Score,
        current: u32,
        sampling: &Sampling,
    ) -> Result<Score, NotFinite> {
        let kept = self.kept(score.log_sum_exp, sampling);
        let mut values = [f32::NEG_INFINITY; Filter::MOST];
        for (value, logit) in values.iter_mut().zip(&self.logits).take(kept) {
            *value = match sampling.filter.tempered {
                true => logit / sampling.temperature,
                false => *logit,
            };
        }
        let [top_logit, runner_up, ..] = values;
        let (sum, weighted) = chunk_sums(&values, top_logit);
        let log_sum = ln(sum);
        let entropy = log_sum - weighted / sum;
        if !((top_logit + log_sum).is_finite() && entropy.is_finite()) {
            return Err(NotFinite);
        }
        let value_of = |id: u32| {
            let at = self.ids.iter().take(kept).position(|other| *other == id)?;
            values.get(at).copied()
        };
        let proposal = self.draw(score.position, kept, sampling);
        let [top, ..] = self.ids;
        Ok(Score {
            top,
            top_logit,
            runner_up_logit: runner_up.max(f32::MIN),
            log_sum_exp: top_logit + log_sum,
            entropy: entropy.max(0.0),
            proposal,
            proposal_logit: value_of(proposal).unwrap_or(top_logit),
            current_logit: value_of(current).unwrap_or(f32::MIN),
            ..*score
        })
    }

    /// How many of them remain: `log_sum_exp` is that of all quotients by the temperature.
    fn kept(&self, log_sum_exp: f32, sampling: &Sampling) -> usize {
        let Sampling { temperature, filter, .. } = sampling;
        let limit = match filter.top_k {
            0 => self.count,
            k => k.min(self.count),
        };
        if !filter.has_nucleus() {
            return limit as usize;
        }
        let (mut kept, mut mass) = (0, 0.0);
        for logit in self.logits.iter().take(limit as usize) {
            // The first one always remains.
            if kept > 0 && (mass > filter.top_p || filter.top_p.is_nan()) {
                break;
            }
            mass += exp((logit / temperature - log_sum_exp).min(0.0));
            kept += 1;
        }
        kept
    }

    /// Gumbel-max over the first `kept` of them, with the noise that each id has anyway.
    fn draw(&self, position: u32, kept: usize, sampling: &Sampling) -> u32 {
        let [mut proposal, ..] = self.ids;
        let mut best = f32::NEG_INFINITY;
        for (&id, logit) in self.ids.iter().zip(&self.logits).take(kept) {
            let noisy = logit / sampling.temperature + sampling.noise(position, id);
            // Among infinite sums, the largest logit came first.
            let tied = noisy == best && noisy < f32::INFINITY && id < proposal;
            if noisy > best || tied {
                (proposal, best) = (id, noisy);
            }
        }
        proposal
    }
}
