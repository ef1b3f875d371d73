//! How a canvas is decoded.

use super::super::CliError;
use super::method::{AnyCache, AnyEos, AnyMethod, AnyPolicy};
use crate::load::LoadedModel;
use clap::{Args, ValueEnum};
use demask::cache::{BlockCache, DualCache, NoCache, PrefixCache};
use demask::decode::{Even, Threshold, TopQ};
use demask::image::{Attention, ModelConfig};
use demask::{Method, Options};

/// Generation length when none is asked for.
const DEFAULT_LENGTH: usize = 56;
/// Block length of long answers where the model has none of its own (LLaDA's and Fast-dLLM's).
const BLOCK: usize = 32;
/// Commit threshold of `--policy threshold` when none is given (Fast-dLLM's).
const DEFAULT_THRESHOLD: f32 = 0.9;

/// Which positions are committed in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PolicyName {
    /// The schedule's count of most confident tokens (LLaDA)
    LowConfidence,
    /// Every token at least as confident as --threshold (Fast-dLLM)
    Threshold,
}

/// When a text is finished.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum EosName {
    /// At the first end token with no mask before it
    #[default]
    Stop,
    /// When every mask is filled
    Fill,
}

/// How a canvas is decoded.
#[derive(Debug, Clone, Default, Args)]
pub struct DecodeArgs {
    /// Tokens to generate [default: 56, or what the context has room for]
    #[arg(long, value_name = "N")]
    pub gen_length: Option<usize>,
    /// Tokens per block, decoded left to right; divides the generation length, or the blocks of a
    /// block-causal model [default: the model's, else 32 for answers of 96 tokens or more, else all]
    #[arg(long, value_name = "N")]
    pub block_length: Option<usize>,
    /// Forward passes for the whole text; a multiple of the blocks [default: one per token]
    #[arg(long, value_name = "N")]
    pub steps: Option<usize>,
    /// Seed of the random numbers, used if the temperature is above 0
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// 0 takes the most probable token; 1 samples
    #[arg(long, value_name = "T", default_value_t = 0.0, allow_negative_numbers = true)]
    pub temperature: f32,
    /// Commit policy [default: threshold for several blocks or with --threshold, low-confidence for
    /// one block or with --steps]
    #[arg(long, value_enum)]
    pub policy: Option<PolicyName>,
    /// Confidence at which the threshold policy commits, 0 to 1 [default: the model's, else 0.9]
    #[arg(long, value_name = "P", conflicts_with = "steps", allow_negative_numbers = true)]
    pub threshold: Option<f32>,
    /// Which rows a step computes [default: what is exact, or for several blocks of a model
    /// without an exact cache, dual]
    #[arg(long, value_enum)]
    pub cache: Option<CacheName>,
    /// Tokens that are kept at a time; the text of a block-causal model may be longer
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub canvas: Option<u16>,
    /// Tokens at the start that stay when a text outgrows the canvas [default: the prompt]
    #[arg(long, value_name = "N")]
    pub pin: Option<usize>,
    /// When to stop
    #[arg(long, value_enum, default_value_t = EosName::Stop)]
    pub eos: EosName,
}

/// Cache plans by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CacheName {
    /// Every step computes everything that it sees
    None,
    /// Approximate: after a block's first step, only rows from the block on
    Prefix,
    /// Approximate: after a block's first step, only the block's rows
    Dual,
    /// Exact, for block-causal models: finished blocks are computed once
    Block,
}

/// The arguments made definite for one model and one prompt.
#[derive(Debug, Clone)]
pub struct Decoding {
    /// Tokens to generate.
    pub length: usize,
    /// Tokens of the canvas.
    pub canvas: usize,
    /// Options of the session.
    pub options: Options,
    policy: Policy,
    cache: CacheName,
    eos: AnyEos,
}

#[derive(Debug, Clone, Copy)]
enum Policy {
    LowConfidence,
    Threshold(f32),
}

impl DecodeArgs {
    /// How an answer to a prompt of `prompt` tokens is decoded.
    ///
    /// # Errors
    /// [`CliError`] if the text does not fit the canvas, or options contradict each other.
    pub fn decoding(&self, model: &LoadedModel, prompt: usize) -> Result<Decoding, CliError> {
        let config = model.config();
        let room = (config.context as usize).saturating_sub(prompt);
        let length = self.gen_length.unwrap_or_else(|| DEFAULT_LENGTH.min(room).max(1));
        let canvas = self.canvas(config, prompt, length)?;
        let mut decoding = self.definite(model, length, canvas)?;
        decoding.options.pinned = self.pin.unwrap_or(prompt);
        decoding.options.steps = self.steps.unwrap_or(match config.features.attention {
            Attention::Bidirectional => length,
            Attention::BlockCausal(_) => {
                let block = decoding.options.block_length.max(1);
                (prompt + length).div_ceil(block).saturating_sub(prompt / block) * block
            }
        });
        Ok(decoding)
    }

    /// How the `masks` gaps of a text of `length` tokens are filled. A given text may hold end tokens
    /// of its own, and what follows them stays.
    ///
    /// # Errors
    /// As [`DecodeArgs::decoding`].
    pub fn infilling(
        &self,
        model: &LoadedModel,
        length: usize,
        masks: usize,
    ) -> Result<Decoding, CliError> {
        let canvas = self.canvas(model.config(), length, 0)?;
        let mut decoding = self.definite(model, length, canvas)?;
        let blocks = length.div_ceil(decoding.options.block_length.max(1)).max(1);
        decoding.options.steps =
            self.steps.unwrap_or_else(|| masks.max(1).next_multiple_of(blocks));
        decoding.eos = AnyEos::Fill;
        Ok(decoding)
    }

    /// Everything but the steps, which depend on where the masks are.
    fn definite(
        &self,
        model: &LoadedModel,
        length: usize,
        canvas: usize,
    ) -> Result<Decoding, CliError> {
        let attention = model.config().features.attention;
        let published = model.generation();
        let sub_block = published.sub_block_length.map(|length| length as usize);
        let block_length = self.block_length.unwrap_or(match attention {
            Attention::BlockCausal(block) => sub_block.unwrap_or(block as usize),
            // Long answers go block by block, as these models are used; short ones as a whole.
            Attention::Bidirectional if length > 2 * BLOCK && length.is_multiple_of(BLOCK) => BLOCK,
            Attention::Bidirectional => length,
        });
        let bidirectional = attention == Attention::Bidirectional;
        let several = !bidirectional || block_length < length;
        let cache = self.cache.unwrap_or(match bidirectional {
            false => CacheName::Block,
            true if several => CacheName::Dual,
            true => CacheName::None,
        });
        let eos = match self.eos {
            EosName::Stop => AnyEos::Stop(model.stop_ids().to_vec()),
            EosName::Fill => AnyEos::Fill,
        };
        let options = Options {
            block_length,
            temperature: self.temperature,
            seed: self.seed,
            ..Options::one_block(length)
        };
        let policy = self.policy(several, published.threshold)?;
        Ok(Decoding { length, canvas, options, policy, cache, eos })
    }

    /// Tokens of the canvas for `length` tokens after `prompt` others: the model's context, or less.
    /// A block-causal model moves its canvas along; any other needs room for all.
    fn canvas(
        &self,
        config: &ModelConfig,
        prompt: usize,
        length: usize,
    ) -> Result<usize, CliError> {
        let context = config.context as usize;
        let limit = self.canvas.map_or(context, usize::from);
        let text = prompt.saturating_add(length);
        if text > limit && config.features.attention == Attention::Bidirectional {
            return Err(CliError::new(format!(
                "the prompt has {prompt} tokens and {length} are to be generated, but the model's \
                 context is {limit} tokens; shorten the prompt or lower --gen-length"
            )));
        }
        Ok(text.min(limit).max(1))
    }

    fn policy(&self, several_blocks: bool, published: Option<f32>) -> Result<Policy, CliError> {
        let name = match (self.policy, self.threshold, self.steps) {
            (Some(PolicyName::LowConfidence), Some(_), _) => {
                return Err(CliError::new(
                    "--threshold belongs to --policy threshold; leave one of them out",
                ));
            }
            (Some(PolicyName::Threshold), _, Some(_)) => {
                return Err(CliError::new(
                    "--steps has no meaning for --policy threshold; leave one of them out",
                ));
            }
            (Some(name), ..) => name,
            (None, Some(_), _) => PolicyName::Threshold,
            (None, None, None) if several_blocks => PolicyName::Threshold,
            (None, None, _) => PolicyName::LowConfidence,
        };
        let threshold = self.threshold.or(published).unwrap_or(DEFAULT_THRESHOLD);
        match (name, (0.0..=1.0).contains(&threshold)) {
            (PolicyName::LowConfidence, _) => Ok(Policy::LowConfidence),
            (PolicyName::Threshold, true) => Ok(Policy::Threshold(threshold)),
            (PolicyName::Threshold, false) => {
                Err(CliError::new("--threshold must lie between 0 and 1"))
            }
        }
    }
}

impl Decoding {
    /// Policy, schedule, end rule and cache for a session.
    #[must_use]
    pub fn method(&self) -> AnyMethod {
        let policy: AnyPolicy = match self.policy {
            Policy::LowConfidence => Box::new(TopQ),
            Policy::Threshold(threshold) => Box::new(Threshold(threshold)),
        };
        let cache: AnyCache = match self.cache {
            CacheName::None => Box::new(NoCache),
            CacheName::Prefix => Box::new(PrefixCache),
            CacheName::Dual => Box::new(DualCache),
            CacheName::Block => Box::new(BlockCache::default()),
        };
        Method { policy, schedule: Even, eos: self.eos.clone(), cache }
    }

    /// Most steps that the schedule allows, or 0 where the policy decides alone.
    #[must_use]
    pub fn steps_planned(&self) -> usize {
        match self.policy {
            Policy::LowConfidence => self.options.steps,
            Policy::Threshold(_) => 0,
        }
    }
}
