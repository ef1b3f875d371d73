//! What can be chosen about decoding.

use crate::cache::{CachePlan, NoCache};
use crate::decode::{CommitPolicy, EosPolicy, Even, Filter, Schedule, StopAtEos, TopQ};

/// Smallest temperature other than 0: logits divided by less than this could overflow.
pub const MIN_TEMPERATURE: f32 = 1e-6;

/// How a canvas is to be decoded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// Tokens per block. Blocks are decoded left to right. With bidirectional attention they begin at
    /// the generated region and must divide it; with block-causal attention they are aligned to
    /// position 0 and must divide the attention's blocks.
    pub block_length: usize,
    /// Forward passes planned for the whole region; a multiple of the number of blocks.
    pub steps: usize,
    /// 0 always proposes the most probable token.
    pub temperature: f32,
    /// Key of the random numbers, used if the temperature is above 0.
    pub seed: u64,
    /// Tokens at the start that stay when a text grows beyond the canvas, rounded up to whole blocks
    /// of the attention. Only block-causal models write texts of any length.
    pub pinned: usize,
    /// What remains of a distribution before a proposal is drawn from it.
    pub filter: Filter,
}

impl Options {
    /// One block, one token per step: the most careful way to fill `length` tokens.
    #[must_use]
    pub const fn one_block(length: usize) -> Self {
        Self {
            block_length: length,
            steps: length,
            temperature: 0.0,
            seed: 0,
            pinned: 0,
            filter: Filter::NONE,
        }
    }
}

/// The interchangeable parts of decoding.
#[derive(Debug, Clone, Copy, Default)]
pub struct Method<P = TopQ, S = Even, X = StopAtEos, C = NoCache> {
    /// Chooses what to commit.
    pub policy: P,
    /// How many commits a step should make.
    pub schedule: S,
    /// When the text is finished.
    pub eos: X,
    /// Which rows a step computes.
    pub cache: C,
}

impl<P: CommitPolicy> Method<P> {
    /// A policy with the even schedule, stopping at the end token.
    pub fn with_policy(policy: P) -> Self {
        Self { policy, schedule: Even, eos: StopAtEos, cache: NoCache }
    }
}

impl<P, S, X, C> Method<P, S, X, C> {
    /// The same with another schedule.
    pub fn with_schedule<T: Schedule>(self, schedule: T) -> Method<P, T, X, C> {
        let Self { policy, eos, cache, .. } = self;
        Method { policy, schedule, eos, cache }
    }

    /// The same with another end rule.
    pub fn with_eos<E: EosPolicy>(self, eos: E) -> Method<P, S, E, C> {
        let Self { policy, schedule, cache, .. } = self;
        Method { policy, schedule, eos, cache }
    }

    /// The same with another cache plan.
    pub fn with_cache<D: CachePlan>(self, cache: D) -> Method<P, S, X, D> {
        let Self { policy, schedule, eos, .. } = self;
        Method { policy, schedule, eos, cache }
    }
}
