//! Tokens that stay on top are believed sooner.

use crate::decode::{CommitPolicy, Edit, LogitBias, Needs, Score, StepView};
use crate::math::{exp, ln};
use bytemuck::{Pod, Zeroable};
use core::ops::Range;

/// Tokens per position that have credit at the same time.
pub const CREDITS: usize = 8;

/// A token with credit.
#[derive(Debug, Clone, Copy, PartialEq, Default, Pod, Zeroable)]
#[repr(C)]
pub struct CreditPair {
    /// The token.
    pub id: u32,
    /// Its credit; 0 for a free place.
    pub credit: f32,
}

/// Credit decoding of dInfer (arXiv 2510.08666): every pass leaves 0.8 of each token's credit and gives the
/// most probable token of each mask `p^0.2` more, `p` its probability. Logits are then raised by
/// `0.7 ln(1 + credit)`, and proposals committed that have at least the threshold's probability, or are
/// within 1e-5 of the best.
///
/// The release keeps a number per position and token of the vocabulary; here it is [`CREDITS`] pairs per
/// position, of which the poorest makes room, and the most probable token is that of the raised logits.
/// Memory per position of the canvas: `CREDITS` pairs and `CREDITS` entries of the bias.
#[derive(Debug)]
pub struct Credit<'a> {
    threshold: f32,
    pairs: &'a mut [[CreditPair; CREDITS]],
    bias: &'a mut [LogitBias],
    /// Entries of `bias` that are in use.
    used: usize,
}

const DECAY: f32 = 0.8;
const EXPONENT: f32 = 0.2;
const WEIGHT: f32 = 0.7;
/// What is this close to the best is as good.
const TIE: f32 = 1e-5;

impl<'a> Credit<'a> {
    /// Commits from this probability on; published: 0.9. `bias` holds [`CREDITS`] entries for each element
    /// of `pairs`.
    #[must_use]
    pub fn new(
        threshold: f32,
        pairs: &'a mut [[CreditPair; CREDITS]],
        bias: &'a mut [LogitBias],
    ) -> Self {
        Self { threshold, pairs, bias, used: 0 }
    }

    /// Gives credit to a position's best token; the proposal's probability with it.
    fn give(&mut self, score: &Score) -> f32 {
        let (top, confidence) = (score.top_probability(), score.confidence());
        let place = self.pairs.get_mut(score.position as usize);
        let Some(pair) = place.and_then(|pairs| pair_of(pairs, score.top)) else {
            return confidence;
        };
        let before = pair.credit;
        pair.credit += exp(EXPONENT * ln(top));
        // The logit grows by less than the part that the bias of this pass held already.
        let growth = exp(nats(before) - nats(pair.credit));
        let growth = 1.0 / growth;
        let raised = if score.proposal == score.top { confidence * growth } else { confidence };
        raised / (1.0 + top * (growth - 1.0))
    }

    /// What the next pass adds to the logits of the masks that are left.
    fn prepare(&mut self, view: &StepView<'_>, edit: &Edit<'_>) {
        self.used = 0;
        for score in view.candidates() {
            let position = score.position;
            let Some(pairs) = self.pairs.get_mut(position as usize) else { continue };
            if edit.commits().iter().any(|commit| commit.position == position) {
                continue;
            }
            for pair in pairs.iter_mut().filter(|pair| pair.credit > 0.0) {
                pair.credit *= DECAY;
                if let Some(slot) = self.bias.get_mut(self.used) {
                    *slot = LogitBias { position, id: pair.id, nats: nats(pair.credit) };
                    self.used += 1;
                }
            }
        }
    }
}

/// The pair of this token: its own, a free one, or the poorest.
fn pair_of(pairs: &mut [CreditPair; CREDITS], id: u32) -> Option<&mut CreditPair> {
    let own = pairs.iter().position(|pair| pair.credit > 0.0 && pair.id == id);
    let at = own.unwrap_or_else(|| {
        let mut poorest = (0, f32::INFINITY);
        for (at, pair) in pairs.iter().enumerate() {
            if pair.credit < poorest.1 {
                poorest = (at, pair.credit);
            }
        }
        poorest.0
    });
    let pair = pairs.get_mut(at)?;
    if own.is_none() {
        *pair = CreditPair { id, credit: 0.0 };
    }
    Some(pair)
}

/// What credit adds to a logit.
fn nats(credit: f32) -> f32 {
    WEIGHT * ln(1.0 + credit)
}

impl CommitPolicy for Credit<'_> {
    fn name(&self) -> &'static str {
        "credit"
    }

    fn needs(&self) -> Needs {
        Needs::BIAS
    }

    fn capacity(&self) -> usize {
        self.pairs.len().min(self.bias.len() / CREDITS)
    }

    fn begin_block(&mut self, _: Range<usize>, _: usize) {
        self.pairs.fill([CreditPair::default(); CREDITS]);
        self.used = 0;
    }

    fn bias(&self) -> &[LogitBias] {
        self.bias.get(..self.used).unwrap_or_default()
    }

    fn select(&mut self, view: &StepView<'_>, edit: &mut Edit<'_>) {
        for score in view.candidates() {
            let confidence = self.give(score);
            edit.offer(view.proposed_by(score, confidence), usize::MAX);
        }
        let best = edit.commits().first().map_or(0.0, |commit| commit.confidence);
        let threshold = self.threshold.min(best - TIE);
        edit.retain(|commit| commit.confidence >= threshold);
        self.prepare(view, edit);
    }
}
