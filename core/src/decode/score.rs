//! The score record: everything a commit policy may want to know about a row, gathered while the
//! head streams by. No vocabulary-sized buffer exists.

use super::{LogitRow, Sampling};
use crate::kernels::scalar::NotFinite;
use crate::math::{EXP_MIN, exp, ln, max, sum_by};
use bytemuck::{Pod, Zeroable};

/// Vocabulary ids whose logits exist at the same time for a row. Part of the numerics contract:
/// the log-sum-exp is combined chunk by chunk.
pub const HEAD_CHUNK: usize = 64;

/// What the head says about one position. Logits are in nats, after any bias; the mask token takes no
/// part. With a [`Filter`](super::Filter) and a temperature above 0 everything is about what the filter
/// leaves, and logits are divided by the temperature if it is `tempered`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Pod, Zeroable)]
#[repr(C)]
pub struct Score {
    /// Position in the canvas.
    pub position: u32,
    /// Token with the largest logit; of equal ones the lowest id.
    pub top: u32,
    /// Its logit.
    pub top_logit: f32,
    /// Second-largest logit.
    pub runner_up_logit: f32,
    /// Logarithm of the sum of the exponentials of all logits.
    pub log_sum_exp: f32,
    /// Entropy of the softmax, in nats.
    pub entropy: f32,
    /// Token proposed for the position: `top`, or a draw if the temperature is above 0.
    pub proposal: u32,
    /// Its logit, without noise.
    pub proposal_logit: f32,
    /// Logit of the token that stands at the position; the least number for a mask, and for a token
    /// that takes no part.
    pub current_logit: f32,
    /// Nats from this distribution to that of the last pass that scored the position
    /// (Kullback-Leibler divergence), infinite if there was none. Only with
    /// [`Needs::DIVERGENCE`](super::Needs::DIVERGENCE), else 0.
    pub divergence: f32,
}

impl Score {
    /// Softmax probability of the proposal: LLaDA's low-confidence score.
    #[must_use]
    pub fn confidence(&self) -> f32 {
        exp((self.proposal_logit - self.log_sum_exp).min(0.0))
    }

    /// Scores a row of logits that exist in memory, as a reference model's do, for a position with a
    /// mask. [`LogitRow`] is the same for any position.
    ///
    /// # Errors
    /// [`NotFinite`] if a logit is NaN or infinite.
    ///
    /// # Example
    /// ```
    /// use demask::decode::{Sampling, Score};
    /// let score = Score::from_logits(7, &[1.0, 9.0, 3.0], 1, &Sampling::GREEDY).unwrap();
    /// assert_eq!((score.position, score.top), (7, 2)); // id 1 is the mask
    /// assert!((score.confidence() - 0.8808).abs() < 1e-4);
    /// ```
    pub fn from_logits(
        position: u32,
        logits: &[f32],
        mask_id: u32,
        sampling: &Sampling,
    ) -> Result<Self, NotFinite> {
        LogitRow::new(position, logits, mask_id).score(sampling)
    }
}

/// A [`Score`] in the making.
///
/// Chunks come in ascending order and are first reduced on their own (eight chains each, relative
/// to the chunk's maximum), so that the result does not depend on how many are in flight.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct ScoreAccumulator {
    position: u32,
    top: u32,
    proposal: u32,
    /// Token that stands at the position.
    pub(crate) current: u32,
    top_logit: f32,
    runner_up_logit: f32,
    proposal_logit: f32,
    current_logit: f32,
    /// Largest noisy logit so far.
    proposal_noisy: f32,
    /// `sum of exp(l - top_logit)`.
    sum: f32,
    /// `sum of exp(l - top_logit) * (l - top_logit)`.
    weighted: f32,
}

impl ScoreAccumulator {
    /// Nothing seen yet; the token `current` stands at the position.
    #[must_use]
    pub(crate) fn new(position: u32, current: u32) -> Self {
        let least = f32::NEG_INFINITY;
        Self {
            position,
            top: 0,
            proposal: 0,
            current,
            top_logit: least,
            runner_up_logit: least,
            proposal_logit: least,
            current_logit: least,
            proposal_noisy: least,
            sum: 0.0,
            weighted: 0.0,
        }
    }

    /// Takes in the logits of ids `first_id..`, which starts at a multiple of [`HEAD_CHUNK`]; those at
    /// minus infinity take no part. Leaves quotients by the temperature where the score is of those.
    #[inline(always)]
    pub(crate) fn absorb(
        &mut self,
        first_id: u32,
        chunk: &mut [f32; HEAD_CHUNK],
        sampling: &Sampling,
    ) {
        let mut temperature = sampling.temperature;
        if sampling.divides() {
            chunk.iter_mut().for_each(|l| *l /= temperature);
            temperature = 1.0;
        }
        let current = self.current.checked_sub(first_id);
        if let Some(l) = current.and_then(|i| chunk.get(i as usize)) {
            self.current_logit = *l;
        }
        let before = self.top_logit;
        let max = max(chunk);
        // Most chunks hold nothing that comes first or second.
        if max > self.runner_up_logit {
            self.rank(first_id, chunk);
        }
        // A chunk of nothing but the mask or missing ids adds nothing; a NaN must not pass for one.
        if chunk.iter().any(|&l| l != f32::NEG_INFINITY) {
            let (sum, weighted) = chunk_sums(chunk, max);
            self.merge(before, max, sum, weighted);
        }
        // The payload of a NaN could come out of the exponential as a number.
        let magnitude = chunk.iter().fold(0, |m, l| (l.to_bits() << 1).max(m));
        if magnitude > f32::INFINITY.to_bits() << 1 {
            self.sum = f32::NAN;
        }
        if temperature > 0.0 && !sampling.filters() {
            self.draw(first_id, chunk, (temperature, sampling));
        }
    }

    /// Updates the largest and the second-largest logit.
    fn rank(&mut self, first_id: u32, chunk: &[f32; HEAD_CHUNK]) {
        for (id, &l) in (first_id..).zip(chunk) {
            if l > self.top_logit {
                self.runner_up_logit = self.top_logit;
                (self.top, self.top_logit) = (id, l);
            } else if l > self.runner_up_logit {
                self.runner_up_logit = l;
            }
        }
    }

    /// Adds a chunk's sums, relative to `max`, to the running ones, relative to `before`; both end
    /// relative to the new `top_logit`.
    fn merge(&mut self, before: f32, max: f32, sum: f32, weighted: f32) {
        let (old_sum, old_weighted) = rebase(self.sum, self.weighted, before - self.top_logit);
        let (new_sum, new_weighted) = rebase(sum, weighted, max - self.top_logit);
        self.sum = old_sum + new_sum;
        self.weighted = old_weighted + new_weighted;
    }

    fn draw(
        &mut self,
        first_id: u32,
        chunk: &[f32; HEAD_CHUNK],
        (temperature, sampling): (f32, &Sampling),
    ) {
        let best = self.proposal_noisy;
        let place = (self.position, first_id);
        sampling.perturb(place, (chunk, temperature), best, |offset, noisy| {
            let logit = chunk.get(offset).copied().unwrap_or(f32::NEG_INFINITY);
            // Over a tiny temperature several logits may be infinite.
            let overflowed = noisy == f32::INFINITY && logit > self.proposal_logit;
            if noisy > self.proposal_noisy || overflowed {
                self.proposal_noisy = noisy;
                self.proposal = first_id + offset as u32;
                self.proposal_logit = logit;
            }
            self.proposal_noisy
        });
    }

    /// The finished record.
    ///
    /// # Errors
    /// [`NotFinite`] if a logit was NaN or infinite.
    pub(crate) fn finish(&self) -> Result<Score, NotFinite> {
        let log_sum = ln(self.sum);
        let log_sum_exp = self.top_logit + log_sum;
        let entropy = log_sum - self.weighted / self.sum;
        if !(log_sum_exp.is_finite() && entropy.is_finite()) {
            return Err(NotFinite);
        }
        let drawn = self.proposal_noisy > f32::NEG_INFINITY;
        let (proposal, proposal_logit) = match drawn {
            true => (self.proposal, self.proposal_logit),
            false => (self.top, self.top_logit),
        };
        Ok(Score {
            position: self.position,
            top: self.top,
            top_logit: self.top_logit,
            // A vocabulary of one token has no second.
            runner_up_logit: self.runner_up_logit.max(f32::MIN),
            log_sum_exp,
            entropy: if entropy > 0.0 { entropy } else { 0.0 },
            proposal,
            proposal_logit,
            current_logit: self.current_logit.max(f32::MIN),
            divergence: 0.0,
        })
    }
}

/// `sum of e^d` and `sum of e^d * d` with `d = l - max`, clamped like the exponential.
///
/// One plain loop after the other: that is what compilers turn into vector code.
#[inline(always)]
pub(super) fn chunk_sums(chunk: &[f32; HEAD_CHUNK], max: f32) -> (f32, f32) {
    let mut terms = [0.0; HEAD_CHUNK];
    for (term, l) in terms.iter_mut().zip(chunk) {
        // Ids that do not exist, and the mask, are at minus infinity and add nothing.
        let below = l - max;
        *term = if below == f32::NEG_INFINITY { 0.0 } else { exp(below) };
    }
    let sum = sum_by(&terms, |e| e);
    for (term, l) in terms.iter_mut().zip(chunk) {
        *term *= (l - max).max(EXP_MIN);
    }
    (sum, sum_by(&terms, |weighted| weighted))
}

/// Moves sums that are relative to a maximum to one that is `-shift` higher.
fn rebase(sum: f32, weighted: f32, shift: f32) -> (f32, f32) {
    if shift >= 0.0 || sum == 0.0 {
        return (sum, weighted);
    }
    let factor = exp(shift);
    (factor * sum, factor * (weighted + shift * sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logits(n: usize) -> std::vec::Vec<f32> {
        (0..n).map(|i| ((i * 7919 % 1009) as f32 / 100.0) - 5.0).collect()
    }

    #[test]
    fn matches_a_plain_softmax() {
        for n in [2, 63, 64, 65, 500] {
            let (l, mask) = (logits(n), 1usize);
            let kept: std::vec::Vec<f64> = l
                .iter()
                .enumerate()
                .filter(|(i, _)| *i != mask)
                .map(|(_, l)| f64::from(*l))
                .collect();
            let sum: f64 = kept.iter().map(|l| l.exp()).sum();
            let entropy: f64 = kept.iter().map(|l| -(l.exp() / sum) * (l - sum.ln())).sum();
            let s = Score::from_logits(3, &l, mask as u32, &Sampling::GREEDY).unwrap();
            assert!((f64::from(s.log_sum_exp) - sum.ln()).abs() < 1e-5, "n {n}");
            assert!((f64::from(s.entropy) - entropy).abs() < 1e-4, "n {n}");
            let best = kept.iter().copied().fold(f64::MIN, f64::max);
            assert_eq!(f64::from(s.top_logit), best);
            assert_eq!((s.proposal, s.proposal_logit), (s.top, s.top_logit));
        }
    }

    #[test]
    fn ties_go_to_the_lower_id_and_not_finite_is_an_error() {
        let s = Score::from_logits(0, &[0.0, 2.0, 5.0, 5.0], 9, &Sampling::GREEDY).unwrap();
        assert_eq!((s.top, s.runner_up_logit), (2, 5.0));
        for bad in [f32::NAN, f32::INFINITY] {
            assert!(Score::from_logits(0, &[0.0, bad], 9, &Sampling::GREEDY).is_err());
        }
        assert!(Score::from_logits(0, &[1.0], 0, &Sampling::GREEDY).is_err(), "only the mask");
    }

    #[test]
    fn draws_follow_the_softmax() {
        let l = [1.0f32, 0.0, 2.0, -1.0, 0.5];
        let temperature = 0.7;
        let weights: std::vec::Vec<f64> =
            l.iter().map(|l| (f64::from(*l) / temperature).exp()).collect();
        let total: f64 = weights.iter().sum();
        let (mut counts, n) = ([0u32; 5], 20_000);
        for step in 0..n {
            let sampling =
                Sampling { temperature: temperature as f32, seed: 11, step, ..Sampling::GREEDY };
            let s = Score::from_logits(4, &l, 99, &sampling).unwrap();
            counts[s.proposal as usize] += 1;
            assert_eq!(s.proposal_logit, l[s.proposal as usize]);
        }
        for (count, weight) in counts.iter().zip(&weights) {
            let expected = weight / total;
            let got = f64::from(*count) / f64::from(n);
            assert!((got - expected).abs() < 0.015, "{got} {expected}");
        }
    }
}
