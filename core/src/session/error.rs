//! Why a session stops.

use crate::model::ForwardError;
use core::fmt;

/// Why a session refused its input or stopped.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum SessionError {
    /// The canvas does not fit the planned memory or the model.
    CanvasTooLong {
        /// Tokens in the canvas.
        len: usize,
        /// Tokens that fit.
        max: usize,
    },
    /// A token id is not in the vocabulary.
    UnknownToken {
        /// Where it stands.
        position: usize,
        /// The id.
        id: u32,
    },
    /// The region to generate is not inside the canvas.
    Region,
    /// The block length is zero or does not divide the region.
    BlockLength {
        /// Tokens in the region.
        region: usize,
        /// Tokens per block.
        block: usize,
    },
    /// The steps cannot be shared equally among the blocks.
    Steps {
        /// Steps asked for.
        steps: usize,
        /// Blocks in the region.
        blocks: usize,
    },
    /// The block length does not divide the model's own blocks, outside of which a row sees nothing.
    AttentionBlock {
        /// Tokens per block that were asked for.
        block: usize,
        /// Tokens per block of the model's attention.
        attention: usize,
    },
    /// The cache plan needs block-causal attention, which the model does not have.
    Cache {
        /// Name of the plan.
        plan: &'static str,
    },
    /// The policy does what the cache plan cannot follow.
    Clash {
        /// Name of the policy or the end rule.
        policy: &'static str,
        /// Name of the plan.
        plan: &'static str,
        /// What the policy does.
        need: &'static str,
    },
    /// The model, or this build of the engine, does not give what the method needs.
    Unsupported {
        /// What is needed.
        need: &'static str,
    },
    /// A causal model predicts from what stands before, and nothing does.
    NoPrompt,
    /// The pinned tokens leave less than two blocks of the canvas.
    Pinned {
        /// Tokens that stay, in whole blocks.
        pinned: usize,
        /// Tokens of the canvas.
        canvas: usize,
    },
    /// The model cannot go on in a window: the text is longer than it can count, or it has none.
    EndOfWindow,
    /// The temperature is neither 0 nor a number of at least [`MIN_TEMPERATURE`](super::MIN_TEMPERATURE).
    Temperature,
    /// The model proposes tokens that may not be committed, so that the canvas cannot be completed.
    NoProgress,
    /// The network failed.
    Forward(ForwardError),
}

impl From<ForwardError> for SessionError {
    fn from(error: ForwardError) -> Self {
        Self::Forward(error)
    }
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::CanvasTooLong { len, max } => write!(
                f,
                "prompt and answer together are {len} tokens long and only {max} fit; \
                 shorten the prompt or the generation length"
            ),
            Self::UnknownToken { position, id } => {
                write!(f, "token {id} at position {position} is not in the vocabulary")
            }
            Self::Region => f.write_str("the region to generate lies outside the canvas"),
            Self::BlockLength { region, block } => write!(
                f,
                "a block length of {block} does not divide the generation length of {region}"
            ),
            Self::Steps { steps, blocks } => write!(
                f,
                "{steps} steps cannot be shared equally among {blocks} blocks; \
                 use a multiple of {blocks}"
            ),
            Self::AttentionBlock { block, attention } => write!(
                f,
                "a block length of {block} does not divide the model's blocks of {attention} tokens"
            ),
            Self::Cache { plan } => {
                write!(f, "the {plan} cache needs a model with block-causal attention")
            }
            Self::Clash { policy, plan, need } => write!(
                f,
                "{policy} needs {need}, which the {plan} cache cannot follow; use another cache"
            ),
            Self::Unsupported { need } => {
                write!(f, "the method needs {need}, which this model does not give")
            }
            Self::NoPrompt => f.write_str("a causal model needs at least one token to start from"),
            Self::Pinned { pinned, canvas } => write!(
                f,
                "{pinned} pinned tokens leave less than two blocks of a canvas of {canvas}"
            ),
            Self::EndOfWindow => {
                f.write_str("the text is longer than this model can hold; make the canvas longer")
            }
            Self::Temperature => {
                f.write_str("the temperature must be 0 or a number of at least 0.000001")
            }
            Self::NoProgress => f.write_str(
                "the model proposes only masks or tokens outside its vocabulary; check its config",
            ),
            Self::Forward(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for SessionError {}
