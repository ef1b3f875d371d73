//! Families with the tensor names of Hugging Face `transformers`' Llama: Dream, Fast-dLLM v2, SDAR,
//! and the causal models that they were made from.

use demask::image::{Architecture, Attention, Features, TensorRole};
use serde_json::Value;

use super::{Family, FieldNames, NEVER, Source, no_others, none};
use crate::read::config_fields::{Fields, FixedOption, limit};
use crate::read::hf_config::{ConfigError, HfConfig};

/// Names of the shape's fields in `transformers`.
pub(super) const NAMES: FieldNames = FieldNames {
    model_dim: "hidden_size",
    layers: "num_hidden_layers",
    heads: "num_attention_heads",
    kv_heads: Some("num_key_value_heads"),
    head_dim: Some(("head_dim", 0)),
    context: ("max_position_embeddings", None),
    cut_context: true,
    norm_eps: Some(("rms_norm_eps", None)),
    tied_head: Some(("tie_word_embeddings", false)),
    embedding_rows: None,
};

/// Qwen3's heads are wider than their share where the file does not say.
const QWEN3_NAMES: FieldNames = FieldNames { head_dim: Some(("head_dim", 128)), ..NAMES };

/// Options that all of these have.
pub(super) const COMMON: &[FixedOption] =
    &[("hidden_act", "\"silu\""), ("use_sliding_window", "false")];
/// All entries of a head are rotated.
const WHOLE_HEADS: &[FixedOption] = &[("partial_rotary_factor", "1")];
/// Biases of all four projections, which only Qwen2 has, and only in three.
const NO_BIAS: &[FixedOption] = &[("attention_bias", "false"), ("mlp_bias", "false")];

/// Stored by older versions of `transformers`, and recomputed from the configuration; and the head
/// beside an embedding that replaces it.
pub(super) const UNUSED: &[&str] = &["rotary_emb.inv_freq", "lm_head.weight"];

/// What the families below have in common.
const TEMPLATE: Family = Family {
    architecture: Architecture::Llama,
    classes: &["LlamaForCausalLM"],
    model_type: "llama",
    names: &NAMES,
    ffn_dim,
    fixed: &[NEVER, COMMON, WHOLE_HEADS, NO_BIAS],
    mask_id: Some,
    eos_id: none,
    features: |fields, config| features(fields, config, CAUSAL),
    source,
    others: no_others,
    unused: UNUSED,
};

/// A causal model, whose row `i` predicts token `i + 1`.
const CAUSAL: Features =
    Features { attention: Attention::CAUSAL, shifted_logits: true, ..Features::PLAIN };

pub(super) const LLAMA: Family = Family { ..TEMPLATE };

pub(super) const QWEN2: Family = Family {
    architecture: Architecture::Qwen2,
    classes: &["Qwen2ForCausalLM"],
    model_type: "qwen2",
    fixed: &[NEVER, COMMON, WHOLE_HEADS],
    features: |fields, config| features(fields, config, Features { qkv_bias: true, ..CAUSAL }),
    ..TEMPLATE
};

pub(super) const QWEN3: Family = Family {
    architecture: Architecture::Qwen3,
    classes: &["Qwen3ForCausalLM"],
    model_type: "qwen3",
    names: &QWEN3_NAMES,
    features: |fields, config| features(fields, config, Features { qk_norm: true, ..CAUSAL }),
    ..TEMPLATE
};

/// Dream, DiffuCoder, Dream-Coder: Qwen2 with bidirectional attention.
pub(super) const DREAM: Family = Family {
    architecture: Architecture::Dream,
    classes: &["DreamModel"],
    model_type: "Dream",
    mask_id: |_| Some(151_666),
    features: |fields, config| {
        let attention = Attention::Bidirectional;
        features(fields, config, Features { attention, qkv_bias: true, ..CAUSAL })
    },
    ..QWEN2
};

/// Fast-dLLM v2: Qwen2 with blocks at multiples of `bd_size`.
pub(super) const FAST_DLLM2: Family = Family {
    architecture: Architecture::FastDllm2,
    classes: &["Fast_dLLM_QwenForCausalLM"],
    model_type: "Fast_dLLM_Qwen",
    mask_id: |_| Some(151_665),
    features: |fields, config| {
        let block = fields.integer("bd_size", 1, limit::CONTEXT)?.unwrap_or(32);
        let attention = block_causal(config, block);
        config.generation.sub_block_length = Some(block.min(8));
        features(fields, config, Features { attention, qkv_bias: true, ..CAUSAL })
    },
    ..QWEN2
};

/// SDAR: Qwen3 with blocks at multiples of `block_size`. Its rows predict their own tokens.
pub(super) const SDAR: Family = Family {
    architecture: Architecture::Sdar,
    classes: &["SDARForCausalLM"],
    model_type: "sdar",
    mask_id: |_| Some(151_669),
    features: |fields, config| {
        let block = fields.integer("block_size", 1, limit::CONTEXT)?.unwrap_or(4);
        let attention = block_causal(config, block);
        features(fields, config, Features { attention, qk_norm: true, ..Features::PLAIN })
    },
    ..QWEN3
};

fn ffn_dim(fields: &Fields, _model_dim: u32) -> Result<u32, ConfigError> {
    fields.size("intermediate_size", limit::FFN)
}

/// Sets a family's features.
fn features(fields: &Fields, config: &mut HfConfig, family: Features) -> Result<(), ConfigError> {
    check_layer_types(fields)?;
    config.model.features = family;
    Ok(())
}

/// Attention within blocks, which are then also the unit of generation.
pub(super) fn block_causal(config: &mut HfConfig, block: u32) -> Attention {
    config.generation.block_length.get_or_insert(block);
    Attention::BlockCausal(block)
}

/// Every layer attends to everything that its mask allows: none slides a window.
fn check_layer_types(fields: &Fields) -> Result<(), ConfigError> {
    let full = |kind: &Value| kind.as_str() == Some("full_attention");
    match fields
        .value("layer_types")
        .map(|types| types.as_array().map(|list| list.iter().all(full)))
    {
        None | Some(Some(true)) => Ok(()),
        _ => Err(fields.unsupported("layer_types", "\"full_attention\" in every layer")),
    }
}

fn source(role: TensorRole, _config: &HfConfig) -> Source {
    Source::tensor(match role {
        TensorRole::Embedding => "model.embed_tokens.weight".into(),
        TensorRole::OutputNorm => "model.norm.weight".into(),
        TensorRole::Head => "lm_head.weight".into(),
        _ => match (role.layer(), layer_part(role)) {
            (Some(layer), Some(part)) => format!("model.layers.{layer}.{part}"),
            _ => return Source::absent(role),
        },
    })
}

/// Name of a tensor within its layer.
pub(super) const fn layer_part(role: TensorRole) -> Option<&'static str> {
    Some(match role {
        TensorRole::AttentionNorm(_) => "input_layernorm.weight",
        TensorRole::Query(_) => "self_attn.q_proj.weight",
        TensorRole::QueryBias(_) => "self_attn.q_proj.bias",
        TensorRole::QueryNorm(_) => "self_attn.q_norm.weight",
        TensorRole::Key(_) => "self_attn.k_proj.weight",
        TensorRole::KeyBias(_) => "self_attn.k_proj.bias",
        TensorRole::KeyNorm(_) => "self_attn.k_norm.weight",
        TensorRole::Value(_) => "self_attn.v_proj.weight",
        TensorRole::ValueBias(_) => "self_attn.v_proj.bias",
        TensorRole::AttentionOutput(_) => "self_attn.o_proj.weight",
        TensorRole::FfnNorm(_) => "post_attention_layernorm.weight",
        TensorRole::Gate(_) => "mlp.gate_proj.weight",
        TensorRole::Up(_) => "mlp.up_proj.weight",
        TensorRole::Down(_) => "mlp.down_proj.weight",
        _ => return None,
    })
}
