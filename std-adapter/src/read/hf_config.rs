//! `config.json` of a Hugging Face folder.
//!
//! The file is a record of the training code's options, most of which have one value in every
//! published model. Those that would change the arithmetic are checked one by one and refused by
//! name, never ignored: a model that runs but computes something else is the worst outcome.
//! Field names and defaults follow the code that was published with each family's checkpoints, see
//! `families`.

use std::path::Path;

use demask::image::ModelConfig;

use super::config_fields::Fields;
use super::families::{self, Family};
use super::generation::GenerationDefaults;
use super::read_capped;

const MAX_BYTES: u64 = 1 << 20;

/// What `config.json` says about a model.
#[derive(Debug, Clone)]
pub struct HfConfig {
    /// Shape and constants, already validated.
    pub model: ModelConfig,
    /// Rows of the stored embedding and head; those from `vocab_size` on are padding without
    /// tokens and are not used.
    pub embedding_rows: u32,
    /// How the publishers generate with the model.
    pub generation: GenerationDefaults,
    /// Width of the time conditioning that is folded into norms and projections, if there is one.
    pub(super) conditioning_dim: Option<u32>,
    /// Where the tensors are.
    pub(super) family: &'static Family,
}

/// Why a `config.json` or `generation_config.json` was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("it cannot be read: {0}; download config.json of the model again")]
    Read(std::io::Error),
    /// The file is not JSON.
    #[error("it is not a JSON object: {0}; download it again")]
    Json(serde_json::Error),
    /// Another model family.
    #[error("it describes the architecture {0}; supported are {known}", known = families::known())]
    Architecture(String),
    /// A number that has no default.
    #[error("the field {0} is missing; take it from the model's original config.json")]
    Missing(&'static str),
    /// A value of another type than expected.
    #[error("the field {field} is {found}, expected {expected}")]
    Type {
        /// Name in the file.
        field: &'static str,
        /// The value as JSON.
        found: String,
        /// What it should have been.
        expected: &'static str,
    },
    /// A number outside of what any supported model uses.
    #[error("the field {field} is {value}, supported is {range}")]
    Range {
        /// Name in the file.
        field: &'static str,
        /// The number.
        value: f64,
        /// Smallest and largest supported value.
        range: String,
    },
    /// An option that this engine does not implement.
    #[error("the option {field} is {value}; supported is {supported} only")]
    Unsupported {
        /// Name in the file.
        field: &'static str,
        /// The value as JSON.
        value: String,
        /// The one supported value as JSON.
        supported: &'static str,
    },
    /// Fields that contradict each other.
    #[error("{0}")]
    Contradiction(String),
}

impl HfConfig {
    /// Reads and checks a `config.json`.
    ///
    /// # Errors
    /// [`ConfigError`]; its text does not repeat the path.
    pub fn read(path: &Path, generation: GenerationDefaults) -> Result<Self, ConfigError> {
        Self::parse(&read_capped(path, MAX_BYTES).map_err(ConfigError::Read)?, generation)
    }

    /// Checks the content of a `config.json`. End tokens that only `generation` names come behind
    /// those of the file itself.
    ///
    /// # Errors
    /// [`ConfigError`] names the first field that is missing, malformed, out of range or not
    /// supported.
    pub fn parse(json: &[u8], generation: GenerationDefaults) -> Result<Self, ConfigError> {
        let fields = Fields::parse(json)?;
        let family = families::find(&fields)?;
        let config = family.read(&fields, generation)?;
        // The engine's own rules have the last word; the checks before only phrase them better.
        config.model.validate().map_err(|e| ConfigError::Contradiction(e.to_string()))?;
        Ok(config)
    }
}

#[cfg(test)]
#[path = "hf_config_tests.rs"]
mod tests;
