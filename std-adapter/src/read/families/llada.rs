//! LLaDA 1 and 1.5: `LLaDAModelLM` of the GSAI-ML/LLaDA-8B checkpoints.
//!
//! An absent option means what those checkpoints set.

use demask::image::{Architecture, TensorRole};

use super::{Family, FieldNames, NEVER, Source, no_others, none};
use crate::read::config_fields::{Fields, FixedOption, limit};
use crate::read::hf_config::{ConfigError, HfConfig};

const FIXED: &[FixedOption] = &[
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

const NAMES: FieldNames = FieldNames {
    model_dim: "d_model",
    layers: "n_layers",
    heads: "n_heads",
    kv_heads: Some("n_kv_heads"),
    head_dim: None,
    context: ("max_sequence_length", Some(1024)),
    cut_context: false,
    norm_eps: Some(("rms_norm_eps", Some(1e-5))),
    tied_head: Some(("weight_tying", true)),
    embedding_rows: Some("embedding_size"),
};

pub(super) const LLADA: Family = Family {
    architecture: Architecture::Llada,
    classes: &["LLaDAModelLM"],
    model_type: "llada",
    names: &NAMES,
    ffn_dim,
    fixed: &[NEVER, FIXED],
    mask_id: none,
    eos_id: none,
    features: |_, _| Ok(()),
    source,
    others: no_others,
    unused: &[],
};

/// Hidden width of the feed-forward network: given, or a multiple of the model's width.
fn ffn_dim(fields: &Fields, model_dim: u32) -> Result<u32, ConfigError> {
    if let Some(width) = fields.integer("mlp_hidden_size", 1, limit::FFN)? {
        return Ok(width);
    }
    let ratio = fields.integer("mlp_ratio", 1, 64)?.unwrap_or(4);
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

/// The training code calls the gate `ff_proj`, the down projection `ff_out`, and the head `ff_out`
/// as well, outside of the blocks.
fn source(role: TensorRole, config: &HfConfig) -> Source {
    let padded = config.embedding_rows as usize;
    let (layer, name) = match role {
        TensorRole::Embedding => return Source::rows("model.transformer.wte.weight", 0, padded),
        TensorRole::OutputNorm => return Source::tensor("model.transformer.ln_f.weight"),
        TensorRole::Head => return Source::rows("model.transformer.ff_out.weight", 0, padded),
        TensorRole::AttentionNorm(layer) => (layer, "attn_norm"),
        TensorRole::Query(layer) => (layer, "q_proj"),
        TensorRole::Key(layer) => (layer, "k_proj"),
        TensorRole::Value(layer) => (layer, "v_proj"),
        TensorRole::AttentionOutput(layer) => (layer, "attn_out"),
        TensorRole::FfnNorm(layer) => (layer, "ff_norm"),
        TensorRole::Gate(layer) => (layer, "ff_proj"),
        TensorRole::Up(layer) => (layer, "up_proj"),
        TensorRole::Down(layer) => (layer, "ff_out"),
        other => return Source::absent(other),
    };
    Source::tensor(format!("model.transformer.blocks.{layer}.{name}.weight"))
}
