//! How far a distribution has moved, as the head streams by twice.

use super::HEAD_CHUNK;
use super::score::chunk_sums;
use crate::kernels::scalar::NotFinite;
use crate::math::{exp, ln, max, sum_by};
use bytemuck::{Pod, Zeroable};

/// Divergences below this count as 0: rounding alone leaves more.
const FLOOR: f32 = f32::from_bits((127 - 30) << 23);

/// A Kullback-Leibler divergence in the making, of a row of logits from another one: the sum of
/// `p (ln p - ln q)`.
///
/// With `p = e^l / sum e^l` and `q` likewise of logits `k`, that is the mean of `l - k` under `p`, less
/// the difference of the logarithms of both sums. Neither distribution has to exist whole.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Divergence {
    /// Of `l`.
    top: f32,
    /// `sum of e^(l - top)`.
    sum: f32,
    /// `sum of e^(l - top) * (l - k)`.
    moved: f32,
    /// Of `k`.
    other_top: f32,
    /// `sum of e^(k - other_top)`.
    other_sum: f32,
}

impl Default for Divergence {
    fn default() -> Self {
        let least = f32::NEG_INFINITY;
        Self { top: least, sum: 0.0, moved: 0.0, other_top: least, other_sum: 0.0 }
    }
}

impl Divergence {
    /// Takes in the logits of the same ids in both rows; minus infinity in both for ids that do not
    /// exist or take no part.
    #[inline(always)]
    pub(crate) fn absorb(&mut self, logits: &[f32; HEAD_CHUNK], others: &[f32; HEAD_CHUNK]) {
        let top = max(logits);
        if top > f32::NEG_INFINITY {
            let mut moved = [0.0; HEAD_CHUNK];
            for ((moved, l), k) in moved.iter_mut().zip(logits).zip(others) {
                let weighted = exp(l - top) * (l - k);
                *moved = if *l == f32::NEG_INFINITY { 0.0 } else { weighted };
            }
            let (sum, _) = chunk_sums(logits, top);
            let moved = sum_by(&moved, |moved| moved);
            let higher = if top > self.top { top } else { self.top };
            let (old, new) = (scale(self.top - higher), scale(top - higher));
            self.sum = self.sum * old + sum * new;
            self.moved = self.moved * old + moved * new;
            self.top = higher;
        }
        let top = max(others);
        if top > f32::NEG_INFINITY {
            let (sum, _) = chunk_sums(others, top);
            let higher = if top > self.other_top { top } else { self.other_top };
            self.other_sum =
                self.other_sum * scale(self.other_top - higher) + sum * scale(top - higher);
            self.other_top = higher;
        }
    }

    /// The divergence in nats.
    ///
    /// # Errors
    /// [`NotFinite`] if a logit was not a number.
    pub(crate) fn finish(&self) -> Result<f32, NotFinite> {
        let log_sum_exp = self.top + ln(self.sum);
        let other = self.other_top + ln(self.other_sum);
        let divergence = self.moved / self.sum - (log_sum_exp - other);
        match divergence.is_nan() {
            true => Err(NotFinite),
            false => Ok(if divergence < FLOOR { 0.0 } else { divergence }),
        }
    }
}

/// What moves a sum to a maximum that is `-shift` higher.
fn scale(shift: f32) -> f32 {
    if shift < 0.0 { exp(shift) } else { 1.0 }
}
