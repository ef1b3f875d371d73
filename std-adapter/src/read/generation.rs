//! How a model's publishers generate with it: `generation_config.json`, and what `config.json`
//! tells about blocks.
//!
//! The command takes end tokens, threshold and sub-blocks as its defaults; the rest is there for users
//! of the library. All of it changes which tokens are chosen, never the arithmetic of the network, so a
//! field that is not known is passed over.

use std::path::Path;

use super::config_fields::{Fields, limit};
use super::hf_config::ConfigError;
use super::read_capped;

const MAX_BYTES: u64 = 1 << 20;

/// Published settings; `None` where nothing was published.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GenerationDefaults {
    /// Tokens that end a text, the first being the model's `eos_id`. Chat models end a turn and a
    /// document with different tokens.
    pub eos_ids: Vec<u32>,
    /// Softmax temperature; 0 where the publishers choose the most probable token.
    pub temperature: Option<f32>,
    /// Probability mass of the tokens that are drawn from, in 0 to 1.
    pub top_p: Option<f32>,
    /// Number of tokens that are drawn from.
    pub top_k: Option<u32>,
    /// Length of an answer in tokens.
    pub max_new_tokens: Option<u32>,
    /// Tokens of a block.
    pub block_length: Option<u32>,
    /// Tokens of a part of a block that is decoded at a time (Fast-dLLM v2).
    pub sub_block_length: Option<u32>,
    /// Denoising steps.
    pub steps: Option<u32>,
    /// Probability from which on a token is committed.
    pub threshold: Option<f32>,
}

impl GenerationDefaults {
    /// Reads a `generation_config.json`.
    ///
    /// # Errors
    /// [`ConfigError`]; its text does not repeat the path.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        Self::parse(&read_capped(path, MAX_BYTES).map_err(ConfigError::Read)?)
    }

    /// Takes what is known from the content of a `generation_config.json`.
    ///
    /// # Errors
    /// [`ConfigError`] names the first known field that is malformed or out of range.
    pub fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        let fields = Fields::parse(json)?;
        // A temperature beside `do_sample: false` is a leftover that the publishers never use.
        let greedy = !fields.flag("do_sample", true)?;
        let temperature = fields.number("temperature", 0.0, 100.0)?;
        let count = |field| fields.integer(field, 1, limit::CONTEXT);
        Ok(Self {
            eos_ids: fields.tokens("eos_token_id")?,
            temperature: if greedy { Some(0.0) } else { temperature },
            top_p: fields.number("top_p", 0.0, 1.0)?,
            top_k: fields.integer("top_k", 0, limit::VOCAB)?.filter(|k| *k > 0),
            max_new_tokens: fields.integer("max_new_tokens", 1, u32::MAX)?,
            block_length: count("block_length")?,
            sub_block_length: None,
            steps: count("steps")?,
            threshold: fields.number("threshold", 0.0, 1.0)?,
        })
    }
}
