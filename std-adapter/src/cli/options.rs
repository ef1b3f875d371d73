//! Options that several commands share, spelled the same everywhere.

use super::live::{ColorChoice, Style};
use super::{CliError, Problem};
use crate::detect::Choice;
use crate::load::LoadedModel;
use crate::runtime::Settings;
use clap::{Args, ValueEnum};
use demask::cache::{BlockCache, CachePlan, CacheView, DualCache, NoCache, PrefixCache, RowList};
use demask::decode::{
    CommitPolicy, Edit, EosPolicy, Even, FillAll, StepView, StopAtEos, Threshold, TopQ,
};
use demask::image::{Attention, ModelConfig};
use demask::{Method, Options};
use std::ops::Range;
use std::path::PathBuf;

/// Generation length when none is asked for.
const DEFAULT_LENGTH: usize = 56;
/// Block length of long answers where the model has none of its own (LLaDA's and Fast-dLLM's).
const BLOCK: usize = 32;
/// Commit threshold of `--policy threshold` when none is given (Fast-dLLM's).
const DEFAULT_THRESHOLD: f32 = 0.9;

/// Which model, and how it is opened.
#[derive(Debug, Clone, Args)]
pub struct ModelArgs {
    /// Image (.dmk), Hugging Face folder, or `intents` for the bundled model
    pub model: PathBuf,
    /// Skip the digests of a very large image
    #[arg(long)]
    pub no_verify: bool,
}

impl ModelArgs {
    /// Opens the model.
    ///
    /// # Errors
    /// [`LoadError`](crate::load::LoadError) as a [`CliError`].
    pub fn open(&self) -> Result<LoadedModel, CliError> {
        LoadedModel::open(&self.model, !self.no_verify).problem()
    }
}

/// What of the machine is used. The result depends on none of it.
#[derive(Debug, Clone, Default, Args)]
pub struct MachineArgs {
    /// Threads [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: Option<u16>,
    /// Instruction set: auto, scalar, avx2, avx-vnni, avx512-vnni, amx, neon, dotprod, i8mm
    #[arg(long, value_name = "NAME", default_value_t)]
    pub kernels: Choice,
}

impl MachineArgs {
    /// Settings for canvases of up to `canvas` tokens.
    #[must_use]
    pub fn settings(&self, canvas: usize) -> Settings {
        Settings { canvas, threads: self.threads(), kernels: self.kernels }
    }

    /// The number of threads asked for, or the number of cores.
    #[must_use]
    pub fn threads(&self) -> usize {
        match self.threads {
            Some(n) => usize::from(n),
            None => std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// Which positions are committed in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PolicyName {
    /// The schedule's count of most confident tokens (LLaDA)
    LowConfidence,
    /// Every token at least as confident as --threshold (Fast-dLLM)
    Threshold,
}

/// When a text is finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EosName {
    /// At the first end token with no mask before it
    Stop,
    /// When every mask is filled
    Fill,
}

/// How a canvas is decoded.
#[derive(Debug, Clone, Args)]
pub struct DecodeArgs {
    /// Tokens to generate [default: 56, or what the context has room for]
    #[arg(long, value_name = "N")]
    pub gen_length: Option<usize>,
    /// Tokens per block, decoded left to right; divides the generation length [default: all]
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
    /// Commit policy [default: low-confidence, or threshold if --threshold is given]
    #[arg(long, value_enum)]
    pub policy: Option<PolicyName>,
    /// Confidence at which the threshold policy commits, 0 to 1 [default: 0.9]
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

/// A method chosen at run time.
pub type AnyMethod = Method<AnyPolicy, Even, &'static (dyn EosPolicy + Sync), AnyCache>;

/// A cache plan chosen at run time.
pub struct AnyCache(Box<dyn CachePlan>);

impl CachePlan for AnyCache {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn is_exact(&self) -> bool {
        self.0.is_exact()
    }

    fn needs_blocks(&self) -> bool {
        self.0.needs_blocks()
    }

    fn has_window(&self) -> bool {
        self.0.has_window()
    }

    fn begin(&mut self) {
        self.0.begin();
    }

    fn plan(&mut self, view: &CacheView<'_>, rows: &mut RowList<'_>) {
        self.0.plan(view, rows);
    }

    fn slid(&mut self, keep: usize, drop: usize) {
        self.0.slid(keep, drop);
    }
}

/// A policy chosen at run time.
pub struct AnyPolicy(Box<dyn CommitPolicy>);

impl CommitPolicy for AnyPolicy {
    fn begin_block(&mut self, block: Range<usize>, masks: usize) {
        self.0.begin_block(block, masks);
    }

    fn select(&mut self, view: &StepView<'_>, edit: &mut Edit<'_>) {
        self.0.select(view, edit);
    }
}

impl DecodeArgs {
    /// Tokens to generate after a prompt of `prompt` tokens.
    #[must_use]
    pub fn length(&self, prompt: usize, context: usize) -> usize {
        self.gen_length.unwrap_or_else(|| DEFAULT_LENGTH.min(context.saturating_sub(prompt)).max(1))
    }

    /// Options for generating `length` tokens after `prompt` others.
    #[must_use]
    pub fn options(&self, config: &ModelConfig, prompt: usize, length: usize) -> Options {
        let attention = config.features.attention;
        let block_length = self.block_length.unwrap_or(match attention {
            Attention::BlockCausal(block) => block as usize,
            // Long answers go block by block, as these models are used; short ones as a whole.
            Attention::Bidirectional if length > 2 * BLOCK && length.is_multiple_of(BLOCK) => BLOCK,
            Attention::Bidirectional => length,
        });
        let steps = match attention {
            Attention::Bidirectional => length,
            Attention::BlockCausal(_) => {
                let block = block_length.max(1);
                (prompt + length).div_ceil(block).saturating_sub(prompt / block) * block
            }
        };
        Options {
            block_length,
            steps: self.steps.unwrap_or(steps),
            temperature: self.temperature,
            seed: self.seed,
            pinned: self.pin.unwrap_or(prompt),
        }
    }

    /// Tokens of the canvas for `length` tokens after `prompt` others: the model's context, or less.
    /// A block-causal model moves its canvas along; any other needs room for all.
    ///
    /// # Errors
    /// [`CliError`] if the text does not fit and the model cannot move on.
    pub fn canvas(
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

    fn cache_plan(&self, config: &ModelConfig, options: &Options, length: usize) -> AnyCache {
        let name = self.cache.unwrap_or(match config.features.attention {
            Attention::BlockCausal(_) => CacheName::Block,
            Attention::Bidirectional if options.block_length < length => CacheName::Dual,
            Attention::Bidirectional => CacheName::None,
        });
        AnyCache(match name {
            CacheName::None => Box::new(NoCache),
            CacheName::Prefix => Box::new(PrefixCache),
            CacheName::Dual => Box::new(DualCache),
            CacheName::Block => Box::new(BlockCache::default()),
        })
    }

    /// Policy, schedule, end rule and cache for generating `length` tokens with `options`.
    ///
    /// # Errors
    /// [`CliError`] if options contradict each other.
    pub fn method(
        &self,
        config: &ModelConfig,
        options: &Options,
        length: usize,
    ) -> Result<AnyMethod, CliError> {
        let cache = self.cache_plan(config, options, length);
        let policy: Box<dyn CommitPolicy> = match self.policy_name()? {
            PolicyName::LowConfidence => Box::new(TopQ),
            PolicyName::Threshold => Box::new(Threshold(self.checked_threshold()?)),
        };
        let eos: &'static (dyn EosPolicy + Sync) = match self.eos {
            EosName::Stop => &StopAtEos,
            EosName::Fill => &FillAll,
        };
        Ok(Method { policy: AnyPolicy(policy), schedule: Even, eos, cache })
    }

    /// Most steps that the schedule allows, or 0 where the policy decides alone.
    #[must_use]
    pub fn steps_planned(&self, options: &Options) -> usize {
        match self.policy_name() {
            Ok(PolicyName::LowConfidence) => options.steps,
            _ => 0,
        }
    }

    fn policy_name(&self) -> Result<PolicyName, CliError> {
        match (self.policy, self.threshold) {
            (Some(PolicyName::LowConfidence), Some(_)) => Err(CliError::new(
                "--threshold belongs to --policy threshold; leave one of them out",
            )),
            (Some(name), _) => Ok(name),
            (None, Some(_)) => Ok(PolicyName::Threshold),
            (None, None) => Ok(PolicyName::LowConfidence),
        }
    }

    fn checked_threshold(&self) -> Result<f32, CliError> {
        if self.steps.is_some() {
            return Err(CliError::new(
                "--steps has no meaning for --policy threshold; leave one of them out",
            ));
        }
        let threshold = self.threshold.unwrap_or(DEFAULT_THRESHOLD);
        match (0.0..=1.0).contains(&threshold) {
            true => Ok(threshold),
            false => Err(CliError::new("--threshold must lie between 0 and 1")),
        }
    }
}

/// What is printed.
#[derive(Debug, Clone, Args)]
pub struct OutputArgs {
    /// Print one JSON object and nothing else
    #[arg(long)]
    pub json: bool,
    /// One line per step, no colours, no redrawing
    #[arg(long)]
    pub plain: bool,
    /// Colours [default: if standard output is a terminal and NO_COLOR is not set]
    #[arg(long, value_enum, default_value_t = ColorChoice::Auto)]
    pub color: ColorChoice,
}

impl OutputArgs {
    /// How the canvas is shown while it is decoded.
    #[must_use]
    pub fn style(&self) -> Style {
        Style::choose(self.plain, self.json, self.color)
    }
}
