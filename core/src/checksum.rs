//! One number that two machines must agree on.

use crate::decode::{Commit, Score};
use core::fmt;

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// FNV-1a (64 bit, fed 32-bit words) over the scores and commits of every step.
///
/// Covers the bits of every logit that a decision could depend on: equal checksums mean that the
/// arithmetic was the same, not just that the text came out alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checksum(u64);

impl Default for Checksum {
    fn default() -> Self {
        Self(OFFSET)
    }
}

impl Checksum {
    /// Takes in one word.
    pub fn absorb(&mut self, word: u32) {
        self.0 = (self.0 ^ u64::from(word)).wrapping_mul(PRIME);
    }

    /// Takes in one step.
    pub(crate) fn absorb_step(
        &mut self,
        forward: u32,
        scores: &[Score],
        commits: &[Commit],
        revisions: &[Commit],
    ) {
        self.absorb(forward);
        for score in scores {
            let words: [u32; size_of::<Score>() / 4] = bytemuck::cast(*score);
            words.into_iter().for_each(|word| self.absorb(word));
        }
        for c in commits.iter().chain(revisions) {
            self.absorb(c.position);
            self.absorb(c.token);
        }
    }

    /// The sum so far.
    #[must_use]
    pub fn value(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
