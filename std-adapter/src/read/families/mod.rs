//! The model families, one description each.
//!
//! A description says under which names `config.json` keeps the shape, which options have one
//! supported value, what the family changes in the plain transformer, and which stored tensor holds
//! the numbers of a [`TensorRole`]. Whoever reads a folder knows no family. Names and defaults are
//! those of the modeling code that was published beside the checkpoints.

mod llada;
mod mdlm;
mod moe;
mod qwen;
mod source;

use demask::image::{Architecture, Features, ModelConfig, RopePairs, TensorRole};
use serde_json::Value;

pub(super) use self::source::{Fold, FoldKind, Place, Source};
use super::config_fields::{Fields, FixedOption, limit};
use super::generation::GenerationDefaults;
use super::hf_config::{ConfigError, HfConfig};
use super::shortened;

/// Name, rows and columns of a stored tensor; vectors have one row.
pub(super) type Stored = (String, (usize, usize));

/// How the checkpoints of a family are laid out.
#[derive(Debug)]
pub(super) struct Family {
    /// Number in images, name on the command line.
    pub architecture: Architecture,
    /// What `architectures` in config.json may hold first.
    pub classes: &'static [&'static str],
    /// `model_type`, looked at where `architectures` is absent.
    pub model_type: &'static str,
    /// Names of the fields that give the shape.
    pub names: &'static FieldNames,
    /// Hidden width of the plain feed-forward network, for a model width.
    pub ffn_dim: fn(&Fields, u32) -> Result<u32, ConfigError>,
    /// Options with one supported value.
    pub fixed: &'static [&'static [FixedOption]],
    /// Mask token where config.json has none, for a vocabulary size.
    pub mask_id: fn(u32) -> Option<u32>,
    /// The same of the end token.
    pub eos_id: fn(u32) -> Option<u32>,
    /// Adds what the family changes in the plain transformer.
    pub features: fn(&Fields, &mut HfConfig) -> Result<(), ConfigError>,
    /// Where the numbers of a role are.
    pub source: fn(TensorRole, &HfConfig) -> Source,
    /// Tensors behind no role, from which the source of others is computed.
    pub others: fn(&HfConfig) -> Vec<Stored>,
    /// Endings of tensors that are stored although nothing depends on them.
    pub unused: &'static [&'static str],
}

/// What config.json calls the numbers of the shape. A default of `None` means that the field must
/// be there.
#[derive(Debug)]
pub(super) struct FieldNames {
    pub model_dim: &'static str,
    pub layers: &'static str,
    pub heads: &'static str,
    /// As many as query heads where it is absent.
    pub kv_heads: Option<&'static str>,
    /// The name, and the width where it is absent; 0 stands for an even share of the model's width.
    pub head_dim: Option<(&'static str, u32)>,
    /// Longest canvas, and its default. What is beyond the engine's limit may be cut down to it.
    pub context: (&'static str, Option<u32>),
    pub cut_context: bool,
    /// Added to the mean square of norms; `None` if it is always 1e-5.
    pub norm_eps: Option<(&'static str, Option<f32>)>,
    /// The head is the embedding; `None` if it never is.
    pub tied_head: Option<(&'static str, bool)>,
    /// Rows of the embedding if these may be more than tokens.
    pub embedding_rows: Option<&'static str>,
}

/// Every description, in the order of [`Architecture::ALL`]; SDAR has two.
static ALL: [&Family; 12] = [
    &llada::LLADA,
    &moe::LLADA_MOE,
    &moe::LLADA2,
    &qwen::DREAM,
    &qwen::FAST_DLLM2,
    &qwen::SDAR,
    &moe::SDAR_MOE,
    &mdlm::MDLM,
    &mdlm::BD3LM,
    &qwen::LLAMA,
    &qwen::QWEN2,
    &qwen::QWEN3,
];

/// The family that a config.json is of.
pub(super) fn find(fields: &Fields) -> Result<&'static Family, ConfigError> {
    let listed = fields.value("architectures").and_then(|v| v.get(0)).and_then(Value::as_str);
    let kind = fields.text("model_type");
    let found = ALL.into_iter().find(|family| match listed {
        Some(class) => family.classes.contains(&class),
        None => kind == Some(family.model_type),
    });
    match (found, listed.or(kind)) {
        (Some(family), _) => Ok(family),
        (None, Some(other)) => Err(ConfigError::Architecture(shortened(other))),
        (None, None) => Err(ConfigError::Missing("architectures")),
    }
}

/// The class names of all families, for messages.
pub(super) fn known() -> String {
    let first = |family: &&Family| family.classes.first().copied();
    ALL.iter().filter_map(first).collect::<Vec<_>>().join(", ")
}

impl Family {
    /// Everything that config.json says, checked field by field.
    pub(super) fn read(
        &'static self,
        fields: &Fields,
        generation: GenerationDefaults,
    ) -> Result<HfConfig, ConfigError> {
        for option in self.fixed.iter().copied().flatten() {
            fields.check_fixed(*option)?;
        }
        let mut config = self.plain(fields, generation)?;
        self.check_shape(&config)?;
        (self.features)(fields, &mut config)?;
        Ok(config)
    }

    /// The plain transformer of the family's shape.
    fn plain(
        &'static self,
        fields: &Fields,
        mut generation: GenerationDefaults,
    ) -> Result<HfConfig, ConfigError> {
        let names = self.names;
        let model_dim = fields.size(names.model_dim, limit::DIM)?;
        let heads = fields.size(names.heads, limit::HEADS)?;
        let vocab_size = fields.size("vocab_size", limit::VOCAB)?;
        let optional = |name: Option<&'static str>, max| match name {
            Some(name) => fields.integer(name, 1, max),
            None => Ok(None),
        };
        let eos_ids = end_tokens(fields, &generation, (self.eos_id)(vocab_size))?;
        let mask = fields.integer("mask_token_id", 0, limit::VOCAB)?;
        let mask_id = mask.or((self.mask_id)(vocab_size));
        let model = ModelConfig {
            architecture: self.architecture,
            vocab_size,
            model_dim,
            layers: fields.size(names.layers, limit::LAYERS)?,
            heads,
            kv_heads: optional(names.kv_heads, limit::HEADS)?.unwrap_or(heads),
            head_dim: names.head_dim(fields, model_dim, heads)?,
            ffn_dim: (self.ffn_dim)(fields, model_dim)?,
            context: names.context(fields)?,
            mask_id: mask_id.ok_or(ConfigError::Missing("mask_token_id"))?,
            eos_id: *eos_ids.first().ok_or(ConfigError::Missing("eos_token_id"))?,
            rope_theta: fields.rope_theta()?,
            norm_eps: names.norm_eps(fields)?,
            rope_pairs: RopePairs::HalfSplit,
            tied_head: match names.tied_head {
                Some((name, default)) => fields.flag(name, default)?,
                None => false,
            },
            features: Features::PLAIN,
        };
        generation.eos_ids = eos_ids;
        Ok(HfConfig {
            model,
            embedding_rows: optional(names.embedding_rows, 2 * limit::VOCAB)?.unwrap_or(vocab_size),
            generation,
            conditioning_dim: None,
            family: self,
        })
    }

    /// What must hold between the fields of the shape, in the words of the file.
    fn check_shape(&self, config: &HfConfig) -> Result<(), ConfigError> {
        let (m, names) = (&config.model, self.names);
        let (heads, kv_heads, vocab) = (m.heads, m.kv_heads, m.vocab_size);
        let rule = format!("a multiple of {}", names.kv_heads.unwrap_or(names.heads));
        require(heads.is_multiple_of(kv_heads), names.heads, heads, rule, kv_heads)?;
        let rows = config.embedding_rows;
        require(rows >= vocab, "embedding_size", rows, "at least vocab_size".into(), vocab)?;
        // A causal model has no mask: the id behind the last one stands for it.
        let last_mask = if (self.mask_id)(vocab) == Some(vocab) { vocab } else { vocab - 1 };
        let below = || "below vocab_size".to_owned();
        require(m.mask_id <= last_mask, "mask_token_id", m.mask_id, below(), vocab)?;
        for &eos in &config.generation.eos_ids {
            require(eos < vocab, "eos_token_id", eos, below(), vocab)?;
            let rule = "another token than mask_token_id".into();
            require(eos != m.mask_id, "eos_token_id", eos, rule, m.mask_id)?;
        }
        Ok(())
    }
}

/// What must hold between a field and another number, in the words of the file.
fn require(
    holds: bool,
    field: &str,
    value: u32,
    rule: String,
    other: u32,
) -> Result<(), ConfigError> {
    let text = || format!("the field {field} ({value}) must be {rule} ({other})");
    if holds { Ok(()) } else { Err(ConfigError::Contradiction(text())) }
}

impl FieldNames {
    /// Width of a head: given, a constant of the family, or an even share of the model's width.
    fn head_dim(&self, fields: &Fields, dim: u32, heads: u32) -> Result<u32, ConfigError> {
        if let Some((name, default)) = self.head_dim {
            let given = fields.integer(name, 1, limit::HEAD_DIM)?.unwrap_or(default);
            if given != 0 {
                return Ok(given);
            }
        }
        let (share, whole) = (dim / heads, dim.is_multiple_of(heads));
        require(whole, self.model_dim, dim, format!("a multiple of {}", self.heads), heads)?;
        let rule = format!("an even multiple of {}", self.heads);
        require(share.is_multiple_of(2), self.model_dim, dim, rule, heads)?;
        Ok(share)
    }

    fn context(&self, fields: &Fields) -> Result<u32, ConfigError> {
        let (name, default) = self.context;
        let max = if self.cut_context { i32::MAX.cast_unsigned() } else { limit::CONTEXT };
        let context =
            fields.integer(name, 1, max)?.or(default).ok_or(ConfigError::Missing(name))?;
        Ok(context.min(limit::CONTEXT))
    }

    fn norm_eps(&self, fields: &Fields) -> Result<f32, ConfigError> {
        let Some((name, default)) = self.norm_eps else { return Ok(1e-5) };
        fields.number(name, 1e-12, 1.0)?.or(default).ok_or(ConfigError::Missing(name))
    }
}

/// All tokens that end a text: those of config.json, then others that the publishers generate
/// with, or else what the published code has as a constant.
fn end_tokens(
    fields: &Fields,
    generation: &GenerationDefaults,
    default: Option<u32>,
) -> Result<Vec<u32>, ConfigError> {
    let mut ids = fields.tokens("eos_token_id")?;
    for &id in &generation.eos_ids {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    if ids.is_empty() {
        ids.extend(default);
    }
    Ok(ids)
}

/// Options that no family supports in another way.
const NEVER: &[FixedOption] = &[("quantization_config", "null")];

/// For families without a default.
const fn none(_vocab_size: u32) -> Option<u32> {
    None
}

/// For families whose tensors all belong to a role.
const fn no_others(_config: &HfConfig) -> Vec<Stored> {
    Vec::new()
}

#[cfg(test)]
mod tests;
