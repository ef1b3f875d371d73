//! What can be said about decoding.

use super::super::CliError;
use super::decoding::Decoding;
use crate::load::LoadedModel;
use crate::methods::presets::{self, Block, Level, Preset};
use crate::methods::{Choice, Counts, End, Plan, Policy, Spec, Value};
use clap::Args;
use demask::Options;
use demask::decode::Filter;
use demask::image::{Attention, ModelConfig};

/// Generation length when none is asked for.
const DEFAULT_LENGTH: usize = 56;
/// Block length of long answers where the model has none of its own (LLaDA's and Fast-dLLM's).
const BLOCK: usize = 32;
/// Commit threshold of `--policy threshold` when none is given (Fast-dLLM's).
const DEFAULT_THRESHOLD: f32 = 0.9;

/// How a canvas is decoded.
#[derive(Debug, Clone, Default, Args)]
pub struct DecodeArgs {
    /// Published settings of the model's family; everything else that is said goes before them
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub preset: Option<Level>,
    /// Commit policy, as NAME or NAME:PARAMETER=VALUE,...; `demask policies` lists them [default:
    /// threshold for several blocks or with --threshold, low-confidence for one block or with --steps]
    #[arg(long, value_name = "POLICY")]
    pub policy: Option<Spec<Policy>>,
    /// How many tokens a step commits, for policies that follow a schedule [default: even]
    #[arg(long, value_name = "SCHEDULE")]
    pub schedule: Option<Spec<Counts>>,
    /// Which rows a step computes [default: what is exact, or for several blocks of a model
    /// without an exact cache, dual]
    #[arg(long, value_name = "PLAN")]
    pub cache: Option<Spec<Plan>>,
    /// When a text ends, and how early it may [default: stop; fill for gaps]
    #[arg(long, value_name = "RULE")]
    pub eos: Option<Spec<End>>,
    /// Confidence at which the threshold policy commits, 0 to 1 [default: the model's, else 0.9]
    #[arg(long, value_name = "P", conflicts_with = "steps", allow_negative_numbers = true)]
    pub threshold: Option<f32>,
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
    /// Seed of the random numbers [default: 0]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub seed: u64,
    /// 0 takes the most probable token; 1 samples [default: 0]
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    pub temperature: Option<f32>,
    /// Draw from the most probable tokens that make up this much [default: 1, all of them]
    #[arg(long, value_name = "P")]
    pub top_p: Option<f32>,
    /// Draw from so many of the most probable tokens [default: 0, all of them]
    #[arg(long, value_name = "N")]
    pub top_k: Option<u32>,
    /// Tokens that are kept at a time; the text of a block-causal model may be longer
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub canvas: Option<u16>,
    /// Tokens at the start that stay when a text outgrows the canvas [default: the prompt]
    #[arg(long, value_name = "N")]
    pub pin: Option<usize>,
    /// Say on standard error how it is decoded
    #[arg(long)]
    pub explain: bool,
}

impl DecodeArgs {
    /// How an answer to a prompt of `prompt` tokens is decoded.
    ///
    /// # Errors
    /// [`CliError`] if the text does not fit the canvas, or options contradict each other.
    pub fn decoding(&self, model: &LoadedModel, prompt: usize) -> Result<Decoding, CliError> {
        let config = model.config();
        let length = self.length(config, prompt);
        let canvas = self.canvas(config, prompt, length)?;
        let mut decoding = self.definite(model, length, canvas)?;
        decoding.prompt = prompt;
        decoding.options.pinned = self.pin.unwrap_or(prompt);
        decoding.options.steps = self.steps.unwrap_or(match config.features.attention {
            Attention::Bidirectional => length,
            Attention::BlockCausal(_) => {
                let block = decoding.options.block_length.max(1);
                (prompt + length).div_ceil(block).saturating_sub(prompt / block) * block
            }
        });
        decoding.checked()
    }

    /// Tokens to generate after a prompt of `prompt` tokens.
    #[must_use]
    pub fn length(&self, config: &ModelConfig, prompt: usize) -> usize {
        let room = (config.context as usize).saturating_sub(prompt);
        self.gen_length.unwrap_or_else(|| DEFAULT_LENGTH.min(room).max(1))
    }

    /// Says how it is decoded, if that is asked for.
    pub fn announce(&self, decoding: &Decoding) {
        if self.explain {
            eprintln!("demask: {decoding}");
        }
    }

    /// How the `masks` gaps of a text of `length` tokens are filled. A given text may hold end tokens
    /// of its own, and what follows them stays, unless an end rule is asked for.
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
        if self.eos.is_none() {
            decoding.choice.end = named("fill")?;
        }
        decoding.checked()
    }

    /// Everything but the steps, which depend on where the masks are.
    fn definite(
        &self,
        model: &LoadedModel,
        length: usize,
        canvas: (usize, usize),
    ) -> Result<Decoding, CliError> {
        let config = model.config();
        let preset = self.preset.map(|level| preset_of(config, level)).transpose()?;
        let block_length = self.block_length(model, length, preset);
        let bidirectional = config.features.attention == Attention::Bidirectional;
        let several = !bidirectional || block_length < length;
        let cache = match bidirectional {
            false => "block",
            true if several => "dual",
            true => "none",
        };
        let from_preset = |part: fn(&Preset) -> &'static str| preset.map(part);
        // Caches between blocks have nothing to keep in a single one.
        let cache_of_preset = preset.filter(|_| several).map(|preset| preset.cache);
        let choice = Choice {
            policy: self.policy(several, preset, model.generation().threshold)?,
            schedule: chosen(&self.schedule, from_preset(|p| p.schedule), "even")?,
            end: chosen(&self.eos, from_preset(|p| p.end), "stop")?,
            cache: chosen(&self.cache, cache_of_preset, cache)?,
        };
        let options = Options {
            block_length,
            temperature: self.temperature.or(preset.map(|p| p.temperature)).unwrap_or(0.0),
            seed: self.seed,
            filter: self.filter(preset)?,
            ..Options::one_block(length)
        };
        Ok(Decoding::new(length, canvas, options, choice, preset, model))
    }

    fn block_length(&self, model: &LoadedModel, length: usize, preset: Option<&Preset>) -> usize {
        let attention = model.config().features.attention;
        let sub_block = model.generation().sub_block_length.map(|length| length as usize);
        let own = || match attention {
            Attention::BlockCausal(block) => sub_block.unwrap_or(block as usize),
            // Long answers go block by block, as these models are used; short ones as a whole.
            Attention::Bidirectional if length > 2 * BLOCK && length.is_multiple_of(BLOCK) => BLOCK,
            Attention::Bidirectional => length,
        };
        let divided = match attention {
            Attention::BlockCausal(block) => block as usize,
            Attention::Bidirectional => length,
        };
        let wanted = match (self.block_length, preset.map(|preset| preset.block)) {
            (Some(tokens), _) => Some(tokens),
            (None, Some(Block::Tokens(tokens))) if divided.is_multiple_of(tokens) => Some(tokens),
            (None, Some(Block::Whole)) if attention == Attention::Bidirectional => Some(length),
            _ => None,
        };
        wanted.unwrap_or_else(own)
    }

    /// Tokens of the canvas for `length` tokens after `prompt` others, and the most that it may have: the
    /// model's context, or less.
    /// A block-causal model moves its canvas along; any other needs room for all.
    fn canvas(
        &self,
        config: &ModelConfig,
        prompt: usize,
        length: usize,
    ) -> Result<(usize, usize), CliError> {
        let context = config.context as usize;
        let limit = self.canvas.map_or(context, usize::from);
        let text = prompt.saturating_add(length);
        if text > limit && config.features.attention == Attention::Bidirectional {
            return Err(CliError::new(format!(
                "the prompt has {prompt} tokens and {length} are to be generated, but the model's \
                 context is {limit} tokens; shorten the prompt or lower --gen-length"
            )));
        }
        Ok((text.min(limit).max(1), limit.max(1)))
    }

    fn policy(
        &self,
        several_blocks: bool,
        preset: Option<&Preset>,
        published: Option<f32>,
    ) -> Result<Spec<Policy>, CliError> {
        let usual = match (self.threshold, self.steps, &self.schedule) {
            (Some(_), ..) => "threshold",
            (None, None, None) if several_blocks => "threshold",
            _ => "low-confidence",
        };
        let mut policy = match (self.threshold, preset) {
            // A threshold is a policy: it goes before that of a preset.
            (Some(_), _) | (None, None) => chosen(&self.policy, None, usual)?,
            (None, Some(preset)) => chosen(&self.policy, Some(preset.policy), usual)?,
        };
        if policy.names() == "threshold" && self.steps.is_some() {
            return Err(CliError::new(
                "--steps has no meaning for --policy threshold; leave one of them out",
            ));
        }
        let Some(threshold) = self.threshold else {
            let threshold = Value::Number(published.unwrap_or(DEFAULT_THRESHOLD));
            policy.set_if_open("threshold", "p", &threshold);
            return Ok(policy);
        };
        if !(0.0..=1.0).contains(&threshold) {
            return Err(CliError::new("--threshold must lie between 0 and 1"));
        }
        match policy.set_if_open("threshold", "p", &Value::Number(threshold)) {
            Some(true) => Ok(policy),
            Some(false) => Err(CliError::new(
                "--policy says at which threshold already; leave --threshold out",
            )),
            None => Err(CliError::new(
                "--threshold belongs to --policy threshold; leave one of them out",
            )),
        }
    }

    fn filter(&self, preset: Option<&Preset>) -> Result<Filter, CliError> {
        let published = preset.map_or(Filter::NONE, |preset| preset.filter);
        let top_p = self.top_p.unwrap_or(published.top_p);
        if !(0.0..=1.0).contains(&top_p) {
            return Err(CliError::new("--top-p must lie between 0 and 1"));
        }
        Ok(Filter { top_p, top_k: self.top_k.unwrap_or(published.top_k), ..published })
    }
}

fn preset_of(config: &ModelConfig, level: Level) -> Result<&'static Preset, CliError> {
    let family = config.architecture;
    presets::find(family, level).ok_or_else(|| {
        CliError::new(format!(
            "there is no preset for {}; leave --preset out, or use a model of {}",
            family.name(),
            presets::families()
        ))
    })
}

/// What was asked for, else what a preset says, else the usual.
fn chosen<K: crate::methods::Part>(
    asked: &Option<Spec<K>>,
    preset: Option<&str>,
    usual: &str,
) -> Result<Spec<K>, CliError> {
    match asked {
        Some(spec) => Ok(spec.clone()),
        None => named(preset.unwrap_or(usual)),
    }
}

fn named<K: crate::methods::Part>(name: &str) -> Result<Spec<K>, CliError> {
    super::super::Problem::problem(name.parse())
}
