//! `config.json` of a Hugging Face LLaDA folder.
//!
//! The file is a record of the training code's options, most of which have one value in every
//! published model. Those that would change the arithmetic are checked one by one and refused by
//! name, never ignored: a model that runs but computes something else is the worst outcome.
//! Field names and defaults follow `configuration_llada.py` of the GSAI-ML/LLaDA-8B checkpoints;
//! an absent option means what those checkpoints set.

use std::path::Path;

use demask::image::{Architecture, Features, ModelConfig, RopePairs};
use serde_json::{Map, Value};

use super::{read_capped, shortened};

const MAX_BYTES: u64 = 1 << 20;

/// What `config.json` says about a model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HfConfig {
    /// Shape and constants, already validated.
    pub model: ModelConfig,
    /// Rows of the stored embedding and head; those from `vocab_size` on are padding without
    /// tokens and are not used.
    pub embedding_rows: u32,
    /// Token that pads a batch; the end token where none is given.
    pub pad_id: u32,
}

/// Why a `config.json` was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("it cannot be read: {0}; download config.json of the model again")]
    Read(std::io::Error),
    /// The file is not JSON.
    #[error("it is not a JSON object: {0}; download it again")]
    Json(serde_json::Error),
    /// Another model family.
    #[error(
        "it describes the architecture {0}; supported is LLaDAModelLM (dense LLaDA, model_type \
         \"llada\")"
    )]
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

/// Options with one supported value, as JSON. `null` always means the default, which is this value.
const FIXED: [(&str, &str); 16] = [
    ("activation_type", "\"silu\""),
    ("block_type", "\"llama\""),
    ("layer_norm_type", "\"rms\""),
    ("rope", "true"),
    ("alibi", "false"),
    ("include_bias", "false"),
    ("include_qkv_bias", "false"),
    ("bias_for_layer_norm", "false"),
    ("layer_norm_with_affine", "true"),
    ("attention_layer_norm", "false"),
    ("multi_query_attention", "false"),
    ("input_emb_norm", "false"),
    ("scale_logits", "false"),
    ("block_group_size", "1"),
    ("clip_qkv", "null"),
    ("rope_scaling", "null"),
];

impl HfConfig {
    /// Reads and checks a `config.json`.
    ///
    /// # Errors
    /// [`ConfigError`]; its text does not repeat the path.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        Self::parse(&read_capped(path, MAX_BYTES).map_err(ConfigError::Read)?)
    }

    /// Checks the content of a `config.json`.
    ///
    /// # Errors
    /// [`ConfigError`] names the first field that is missing, malformed, out of range or not
    /// supported.
    pub fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        let fields = Fields(serde_json::from_slice(json).map_err(ConfigError::Json)?);
        fields.check_architecture()?;
        for (field, supported) in FIXED {
            fields.check_fixed(field, supported)?;
        }
        let config = fields.to_config()?;
        check_consistency(&config)?;
        // The engine's own rules have the last word; the checks above only phrase them better.
        config.model.validate().map_err(|e| ConfigError::Contradiction(e.to_string()))?;
        Ok(config)
    }
}

/// The JSON object with typed, bounded access.
struct Fields(Map<String, Value>);

impl Fields {
    /// The value of a field, `None` when it is absent or `null`.
    fn value(&self, field: &str) -> Option<&Value> {
        self.0.get(field).filter(|v| !v.is_null())
    }

    fn check_architecture(&self) -> Result<(), ConfigError> {
        let listed = self.value("architectures").and_then(|v| v.get(0)).and_then(Value::as_str);
        let kind = self.value("model_type").and_then(Value::as_str);
        match (listed, kind) {
            (Some("LLaDAModelLM"), _) | (None, Some("llada")) => Ok(()),
            (Some(other), _) | (None, Some(other)) => {
                Err(ConfigError::Architecture(shortened(other)))
            }
            (None, None) => Err(ConfigError::Missing("architectures")),
        }
    }

    fn check_fixed(&self, field: &'static str, supported: &'static str) -> Result<(), ConfigError> {
        match self.value(field).map(Value::to_string) {
            Some(value) if value != supported => {
                Err(ConfigError::Unsupported { field, value: shortened(&value), supported })
            }
            _ => Ok(()),
        }
    }

    /// A whole number in `1..=max` (or `0..=max` for token ids), if the field is there.
    fn integer(&self, field: &'static str, min: u32, max: u32) -> Result<Option<u32>, ConfigError> {
        let Some(value) = self.value(field) else { return Ok(None) };
        let number = value.as_i64().ok_or_else(|| ConfigError::Type {
            field,
            found: shortened(&value.to_string()),
            expected: "a whole number",
        })?;
        match u32::try_from(number) {
            Ok(n) if (min..=max).contains(&n) => Ok(Some(n)),
            _ => Err(ConfigError::Range {
                field,
                value: number as f64,
                range: format!("{min} to {max}"),
            }),
        }
    }

    fn size(&self, field: &'static str, max: u32) -> Result<u32, ConfigError> {
        self.integer(field, 1, max)?.ok_or(ConfigError::Missing(field))
    }

    fn float(
        &self,
        field: &'static str,
        default: f64,
        min: f64,
        max: f64,
    ) -> Result<f32, ConfigError> {
        let Some(value) = self.value(field) else { return Ok(default as f32) };
        let number = value.as_f64().ok_or_else(|| ConfigError::Type {
            field,
            found: shortened(&value.to_string()),
            expected: "a number",
        })?;
        if (min..=max).contains(&number) {
            Ok(number as f32)
        } else {
            Err(ConfigError::Range { field, value: number, range: format!("{min:e} to {max:e}") })
        }
    }

    fn flag(&self, field: &'static str, default: bool) -> Result<bool, ConfigError> {
        let Some(value) = self.value(field) else { return Ok(default) };
        value.as_bool().ok_or_else(|| ConfigError::Type {
            field,
            found: shortened(&value.to_string()),
            expected: "true or false",
        })
    }

    /// Hidden width of the feed-forward network: given, or a multiple of the model's width.
    fn ffn_dim(&self, model_dim: u32) -> Result<u32, ConfigError> {
        if let Some(width) = self.integer("mlp_hidden_size", 1, limit::FFN)? {
            return Ok(width);
        }
        let ratio = self.integer("mlp_ratio", 1, 64)?.unwrap_or(4);
        // At most 64 * 65536.
        let width = ratio * model_dim;
        if width > limit::FFN {
            return Err(ConfigError::Range {
                field: "mlp_ratio",
                value: f64::from(ratio),
                range: format!("1 to {} at d_model {model_dim}", limit::FFN / model_dim),
            });
        }
        Ok(width)
    }

    fn to_config(&self) -> Result<HfConfig, ConfigError> {
        let model_dim = self.size("d_model", limit::DIM)?;
        let heads = self.size("n_heads", limit::HEADS)?;
        let vocab_size = self.size("vocab_size", limit::VOCAB)?;
        let eos = "eos_token_id";
        let eos_id = self.integer(eos, 0, limit::VOCAB)?.ok_or(ConfigError::Missing(eos))?;
        let mask = "mask_token_id";
        Ok(HfConfig {
            model: ModelConfig {
                architecture: Architecture::Llada,
                vocab_size,
                model_dim,
                layers: self.size("n_layers", limit::LAYERS)?,
                heads,
                kv_heads: self.integer("n_kv_heads", 1, limit::HEADS)?.unwrap_or(heads),
                head_dim: model_dim / heads,
                ffn_dim: self.ffn_dim(model_dim)?,
                context: self.integer("max_sequence_length", 1, limit::CONTEXT)?.unwrap_or(1024),
                mask_id: self.integer(mask, 0, limit::VOCAB)?.ok_or(ConfigError::Missing(mask))?,
                eos_id,
                rope_theta: self.float("rope_theta", 10_000.0, 1.0, 1e12)?,
                norm_eps: self.float("rms_norm_eps", 1e-5, 1e-12, 1.0)?,
                rope_pairs: RopePairs::HalfSplit,
                tied_head: self.flag("weight_tying", true)?,
                features: Features::PLAIN,
            },
            embedding_rows: self
                .integer("embedding_size", 1, 2 * limit::VOCAB)?
                .unwrap_or(vocab_size),
            pad_id: self.integer("pad_token_id", 0, limit::VOCAB)?.unwrap_or(eos_id),
        })
    }
}

/// The engine's limits, see `demask::image::ModelConfig::validate`.
mod limit {
    pub(super) const VOCAB: u32 = 1 << 20;
    pub(super) const DIM: u32 = 1 << 16;
    pub(super) const LAYERS: u32 = 1 << 10;
    pub(super) const HEADS: u32 = 1 << 10;
    pub(super) const FFN: u32 = 1 << 18;
    pub(super) const CONTEXT: u32 = 1 << 16;
}

/// What must hold between fields, in the words of the file.
fn check_consistency(config: &HfConfig) -> Result<(), ConfigError> {
    let m = &config.model;
    let require = |holds: bool, field: &str, value: u32, rule: &str, other: u32| {
        let text = || format!("the field {field} ({value}) must be {rule} ({other})");
        if holds { Ok(()) } else { Err(ConfigError::Contradiction(text())) }
    };
    let (dim, heads, kv_heads, vocab) = (m.model_dim, m.heads, m.kv_heads, m.vocab_size);
    require(dim.is_multiple_of(heads), "d_model", dim, "a multiple of n_heads", heads)?;
    require(m.head_dim.is_multiple_of(2), "d_model", dim, "an even multiple of n_heads", heads)?;
    require(
        heads.is_multiple_of(kv_heads),
        "n_heads",
        heads,
        "a multiple of n_kv_heads",
        kv_heads,
    )?;
    let rows = config.embedding_rows;
    require(rows >= vocab, "embedding_size", rows, "at least vocab_size", vocab)?;
    for (field, id) in
        [("mask_token_id", m.mask_id), ("eos_token_id", m.eos_id), ("pad_token_id", config.pad_id)]
    {
        require(id < vocab, field, id, "below vocab_size", vocab)?;
    }
    let (eos, mask) = (m.eos_id, m.mask_id);
    require(eos != mask, "eos_token_id", eos, "another token than mask_token_id", mask)
}

#[cfg(test)]
#[path = "hf_config_tests.rs"]
mod tests;
