//! Published settings per model family.
//!
//! *Faithful* is how the authors of a family decode for their own tables, *balanced* is what costs
//! little quality, *fast* is as quick as their publications go. A preset never changes how many tokens
//! are written, and whatever is said on the command line goes before it.

use clap::ValueEnum;
use demask::decode::Filter;
use demask::image::Architecture::{self, *};

/// Which of a family's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Level {
    /// As quick as the family's publications go
    Fast,
    /// Several tokens per pass at little cost in quality
    Balanced,
    /// As the authors decode for their own tables
    Faithful,
}

impl Level {
    /// Every level.
    pub const ALL: [Self; 3] = [Self::Fast, Self::Balanced, Self::Faithful];

    /// As the command line spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Balanced => "balanced",
            Self::Faithful => "faithful",
        }
    }
}

/// Tokens per block that a preset asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    /// The whole answer is one block.
    Whole,
    /// So many tokens if that divides the answer (or the model's own blocks), else what the command
    /// does without a preset.
    Tokens(usize),
    /// What the command does without a preset: the model's own blocks.
    Own,
}

/// Settings of a family.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Preset {
    /// Families that it is for.
    pub families: &'static [Architecture],
    /// Which of their settings.
    pub level: Level,
    /// Commit policy.
    pub policy: &'static str,
    /// Schedule.
    pub schedule: &'static str,
    /// Cache plan.
    pub cache: &'static str,
    /// End rule.
    pub end: &'static str,
    /// Tokens per block.
    pub block: Block,
    /// Temperature of proposals.
    pub temperature: f32,
    /// What remains of a distribution before a proposal is drawn.
    pub filter: Filter,
    /// Where the settings are from.
    pub source: &'static str,
}

/// Greedy, several blocks of 32: what most of them have in common.
const COMMON: Preset = Preset {
    families: &[],
    level: Level::Balanced,
    policy: "threshold:p=0.9",
    schedule: "even",
    cache: "none",
    end: "stop",
    block: Block::Tokens(32),
    temperature: 0.0,
    filter: Filter::NONE,
    source: "",
};

const LLADA: &[Architecture] = &[Llada, LladaMoe];

/// Every preset.
pub static ALL: &[Preset] = &[
    Preset {
        families: LLADA,
        level: Level::Faithful,
        policy: "low-confidence",
        end: "fill",
        block: Block::Whole,
        source: "LLaDA's generate.py: one token per step, no early end",
        ..COMMON
    },
    Preset {
        families: LLADA,
        level: Level::Balanced,
        cache: "prefix",
        source: "Fast-dLLM v1: threshold 0.9, blocks of 32, prefix cache",
        ..COMMON
    },
    Preset {
        families: LLADA,
        level: Level::Fast,
        cache: "dual",
        source: "Fast-dLLM v1: threshold 0.9, blocks of 32, dual cache",
        ..COMMON
    },
    Preset {
        families: &[Dream],
        level: Level::Faithful,
        policy: "entropy",
        schedule: "dream",
        end: "fill",
        block: Block::Whole,
        temperature: 0.1,
        filter: Filter { tempered: true, top_k: 0, top_p: 0.9 },
        source: "Dream's evaluation: entropy, temperature 0.1, top-p 0.9, one step per token",
        ..COMMON
    },
    Preset {
        families: &[Dream],
        level: Level::Balanced,
        policy: "threshold:p=0.95",
        cache: "prefix",
        source: "Fast-dLLM v1 on Dream, with the stricter threshold that shifted models want",
        ..COMMON
    },
    Preset {
        families: &[Dream],
        level: Level::Fast,
        cache: "dual",
        source: "Fast-dLLM v1 on Dream: threshold 0.9, blocks of 32, dual cache",
        ..COMMON
    },
    Preset {
        families: &[Sdar],
        level: Level::Faithful,
        policy: "low-confidence",
        cache: "block",
        block: Block::Own,
        source: "SDAR's static rule, as many steps as tokens in a block",
        ..COMMON
    },
    Preset {
        families: &[Sdar],
        level: Level::Balanced,
        cache: "block",
        policy: "dynamic:p=0.9,least=1",
        block: Block::Own,
        source: "SDAR's dynamic rule at 0.9, one token per pass at least",
        ..COMMON
    },
    Preset {
        families: &[Sdar],
        level: Level::Fast,
        policy: "dynamic:p=0.85,least=1",
        cache: "block",
        block: Block::Own,
        source: "SDAR's dynamic rule at 0.85, one token per pass at least",
        ..COMMON
    },
    Preset {
        families: &[FastDllm2],
        level: Level::Faithful,
        policy: "dynamic:p=1,least=1",
        cache: "block",
        block: Block::Tokens(8),
        source: "Fast-dLLM v2: threshold 1, which is one token per step, sub-blocks of 8",
        ..COMMON
    },
    Preset {
        families: &[FastDllm2],
        level: Level::Balanced,
        policy: "dynamic:p=0.95,least=1",
        cache: "block",
        block: Block::Tokens(8),
        source: "Fast-dLLM v2's sampler: threshold 0.95, sub-blocks of 8",
        ..COMMON
    },
    Preset {
        families: &[FastDllm2],
        level: Level::Fast,
        policy: "dynamic:p=0.9,least=1",
        cache: "block",
        block: Block::Tokens(32),
        source: "Fast-dLLM v2's demo: threshold 0.9, sub-blocks of 32",
        ..COMMON
    },
    Preset {
        families: &[Llada2],
        level: Level::Faithful,
        policy: "dynamic:p=0.95,least=1",
        cache: "block",
        source: "LLaDA2.0: threshold 0.95, blocks of 32",
        ..COMMON
    },
    Preset {
        families: &[Llada2],
        level: Level::Balanced,
        policy: "dynamic:p=0.9,least=1",
        cache: "block",
        source: "LLaDA2.0 between its two published thresholds: 0.9, blocks of 32",
        ..COMMON
    },
    Preset {
        families: &[Llada2],
        level: Level::Fast,
        policy: "dynamic:p=0.85,least=1",
        cache: "block",
        source: "LLaDA2.0's ablation: threshold 0.85, blocks of 32",
        ..COMMON
    },
];

/// The preset of a family.
#[must_use]
pub fn find(family: Architecture, level: Level) -> Option<&'static Preset> {
    ALL.iter().find(|preset| preset.level == level && preset.families.contains(&family))
}

/// Names of the families that have presets.
#[must_use]
pub fn families() -> String {
    let has = |family: &Architecture| find(*family, Level::Balanced).is_some();
    let names = Architecture::ALL.into_iter().filter(has).map(Architecture::name);
    names.collect::<Vec<_>>().join(", ")
}
