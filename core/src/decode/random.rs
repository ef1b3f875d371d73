//! Counter-based random numbers: a pure function of (seed, step, position, token id).
//!
//! Nothing is drawn in sequence, so results do not depend on tiles, threads or which rows are
//! computed. The generator is Philox4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as
//! 1, 2, 3", 2011).

use super::Filter;
use crate::math::ln;

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const KEY_STEPS: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;

/// Four random words for one counter value and key.
///
/// ```
/// // Known answer of the reference implementation (Random123).
/// let words = demask::decode::philox4x32([0; 4], [0; 2]);
/// assert_eq!(words, [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
/// ```
#[must_use]
pub fn philox4x32(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let [mut a, mut b, mut c, mut d] = counter;
    let [mut k0, mut k1] = key;
    let [m0, m1] = MULTIPLIERS.map(u64::from);
    for _ in 0..ROUNDS {
        let (low, high) = (m0 * u64::from(a), m1 * u64::from(c));
        (a, b, c, d) =
            ((high >> 32) as u32 ^ b ^ k0, high as u32, (low >> 32) as u32 ^ d ^ k1, low as u32);
        k0 = k0.wrapping_add(KEY_STEPS[0]);
        k1 = k1.wrapping_add(KEY_STEPS[1]);
    }
    [a, b, c, d]
}

/// How proposals are drawn in one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// 0 takes the largest logit; larger values flatten the distribution.
    pub temperature: f32,
    /// Key of the random numbers.
    pub seed: u64,
    /// Number of the forward pass.
    pub step: u32,
    /// What remains of a distribution before a proposal is drawn.
    pub filter: Filter,
    /// A token that is never proposed, besides the mask: it takes no part, like the mask.
    pub forbidden: Option<u32>,
}

/// Largest value that [`gumbel`] returns, rounded up: a token that trails by more than this cannot
/// win, whatever its noise.
const GUMBEL_MAX: f32 = 22.9;

impl Sampling {
    /// Always the largest logit.
    pub const GREEDY: Self =
        Self { temperature: 0.0, seed: 0, step: 0, filter: Filter::NONE, forbidden: None };

    /// Adds Gumbel noise to `logits` over the temperature (Gumbel-max trick: the largest sum is a
    /// draw from the softmax). Calls `consider(offset, noisy)` for every logit that can still reach
    /// `best`, the largest sum so far, which `consider` returns.
    pub(crate) fn perturb(
        &self,
        (position, first_id): (u32, u32),
        (logits, temperature): (&[f32], f32),
        mut best: f32,
        mut consider: impl FnMut(usize, f32) -> f32,
    ) {
        // Chunks start at multiples of 64, so quads of ids never straddle two of them.
        for (quad, logits) in logits.chunks(4).enumerate() {
            // Drawing noise costs far more than this look, and a peaked distribution rarely needs it.
            if logits.iter().all(|l| l / temperature + GUMBEL_MAX < best) {
                continue;
            }
            let words = self.words(position, first_id / 4 + quad as u32);
            for (i, (l, word)) in logits.iter().zip(words).enumerate() {
                best = consider(quad * 4 + i, l / temperature + gumbel(word));
            }
        }
    }

    /// The random words of four ids at a position, `4 * quad` the first of them.
    fn words(&self, position: u32, quad: u32) -> [u32; 4] {
        let key = [self.seed as u32, (self.seed >> 32) as u32];
        philox4x32([quad, position, self.step, 0], key)
    }

    /// The noise of one id at a position.
    pub(crate) fn noise(&self, position: u32, id: u32) -> f32 {
        let [a, b, c, d] = self.words(position, id / 4);
        gumbel(match id % 4 {
            0 => a,
            1 => b,
            2 => c,
            _ => d,
        })
    }
}

/// Standard Gumbel noise `-ln(-ln u)` from 32 random bits, `u = (word + 0.5) / 2^32`.
///
/// Near `u = 1`, where the large values come from, `-ln u` is taken as `-ln(1 - v)` of the exact
/// small complement: rounding `u` to 24 bits would cut the tail at 16.6 and with it the diversity
/// of large vocabularies.
pub(super) fn gumbel(word: u32) -> f32 {
    const UNIT: f32 = 1.0 / 4_294_967_296.0;
    let exponential = if word < 1 << 31 {
        -ln((word as f32 + 0.5) * UNIT)
    } else {
        -libm::log1pf(-((!word) as f32 + 0.5) * UNIT)
    };
    -ln(exponential)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_known_answers() {
        assert_eq!(
            philox4x32([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]
        );
        assert_eq!(
            philox4x32([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]),
            [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]
        );
    }

    #[test]
    fn gumbel_reaches_far_and_stays_below_its_bound() {
        assert!(gumbel(u32::MAX) > 22.8 && gumbel(u32::MAX) < GUMBEL_MAX);
        assert!(gumbel(0) > -3.2 && gumbel(0) < -3.0);
        let mean: f64 = (0..1 << 16).map(|i| f64::from(gumbel(i << 16 | 0x8000))).sum::<f64>()
            / f64::from(1 << 16);
        assert!((mean - 0.577_215_66).abs() < 1e-3, "mean {mean}");
    }
}
