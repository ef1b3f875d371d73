//! A mixture of experts, one tensor per expert and projection: LLaDA-MoE (`LLaDAMoEModelLM`) and
//! LLaDA2 (`LLaDA2MoeModelLM`) of inclusionAI, and the large SDAR (`SDARMoeForCausalLM`).

use demask::image::{Architecture, Experts, Features, TensorRole};
use serde_json::Value;

use super::qwen::{self, COMMON, UNUSED, block_causal, layer_part};
use super::{Family, FieldNames, NEVER, Source, no_others, none};
use crate::read::config_fields::{Fields, FixedOption, limit};
use crate::read::hf_config::{ConfigError, HfConfig};

/// The mask of the tokenizer that both families share; it is in no config.json.
const MASK_ID: u32 = 156_895;

// ---- LLaDA-MoE ----

const LLADA_MOE_FIXED: &[FixedOption] = &[
    ("attention_bias", "false"),
    ("clip_qkv", "null"),
    ("moe_router_score_function", "\"softmax\""),
    // Added to the weights, too: not the bias of the choice that this engine knows.
    ("moe_router_enable_expert_bias", "false"),
    ("norm_topk_prob", "false"),
    ("routed_scaling_factor", "1"),
    ("router_num_group", "null"),
    ("router_topk_group", "null"),
];

const LLADA_MOE_NAMES: FieldNames = FieldNames { head_dim: None, ..qwen::NAMES };

pub(super) const LLADA_MOE: Family = Family {
    architecture: Architecture::LladaMoe,
    classes: &["LLaDAMoEModelLM", "LLaDAMoEModel"],
    model_type: "lladamoe",
    names: &LLADA_MOE_NAMES,
    ffn_dim: |fields, _| {
        // Layers without experts need not exist.
        let dense = fields.integer("dense_intermediate_size", 1, limit::FFN)?;
        dense.map_or_else(|| fields.size("expert_intermediate_size", limit::FFN), Ok)
    },
    fixed: &[NEVER, COMMON, LLADA_MOE_FIXED],
    mask_id: |_| Some(MASK_ID),
    eos_id: none,
    features: llada_moe_features,
    source: llada_moe_source,
    others: no_others,
    unused: UNUSED,
};

fn llada_moe_features(fields: &Fields, config: &mut HfConfig) -> Result<(), ConfigError> {
    let shared = fields.integer("shared_expert_intermediate_size", 1, limit::FFN)?;
    config.model.features = Features {
        qk_norm: fields.flag("qk_layernorm", false)?,
        rope_dim: rope_dim(fields, 1.0, config.model.head_dim)?,
        experts: Some(Experts {
            shared_ffn_dim: shared.unwrap_or(0),
            dense_layers: dense_layers(fields, config.model.layers)?,
            ..plain(fields, "expert_intermediate_size")?
        }),
        ..Features::PLAIN
    };
    Ok(())
}

/// Layers before the first one with experts. `moe_layer_freq` has one entry per layer, 0 or 1; the
/// engine wants those with experts last.
fn dense_layers(fields: &Fields, layers: u32) -> Result<u32, ConfigError> {
    let entries = match fields.value("moe_layer_freq") {
        None => return Err(ConfigError::Missing("moe_layer_freq")),
        Some(Value::Array(list)) if list.len() == layers as usize => list,
        Some(_) => {
            return Err(fields.unsupported("moe_layer_freq", "a list of num_hidden_layers entries"));
        }
    };
    let dense = entries.iter().take_while(|entry| entry.as_u64() == Some(0)).count();
    if entries.iter().skip(dense).any(|entry| entry.as_u64() != Some(1)) {
        return Err(fields.unsupported("moe_layer_freq", "zeros followed by ones"));
    }
    Ok(dense as u32)
}

fn llada_moe_source(role: TensorRole, config: &HfConfig) -> Source {
    let shared = |part: &str| format!("shared_expert.{part}.weight");
    match role {
        TensorRole::Embedding => Source::tensor("model.embed_tokens.weight"),
        _ => layer_source(role, config, shared, layer_part),
    }
}

// ---- LLaDA2 ----

const LLADA2_FIXED: &[FixedOption] = &[
    ("use_bias", "false"),
    ("use_qkv_bias", "false"),
    ("use_rmsnorm", "true"),
    ("norm_head", "false"),
    ("norm_softmax", "false"),
    ("norm_topk_prob", "true"),
    ("score_function", "\"sigmoid\""),
    ("moe_router_enable_expert_bias", "true"),
    ("using_split_qkv_in_self_attention", "false"),
];

pub(super) const LLADA2: Family = Family {
    architecture: Architecture::Llada2,
    classes: &["LLaDA2MoeModelLM"],
    model_type: "llada2_moe",
    names: &qwen::NAMES,
    ffn_dim: |fields, _| fields.size("intermediate_size", limit::FFN),
    fixed: &[NEVER, COMMON, LLADA2_FIXED],
    mask_id: |_| Some(MASK_ID),
    // A constant of the published generation code as well.
    eos_id: |_| Some(156_892),
    features: llada2_features,
    source: llada2_source,
    others: no_others,
    unused: UNUSED,
};

fn llada2_features(fields: &Fields, config: &mut HfConfig) -> Result<(), ConfigError> {
    let block = fields.integer("block_size", 1, limit::CONTEXT)?.unwrap_or(32);
    let plain = plain(fields, "moe_intermediate_size")?;
    let shared = fields.integer("num_shared_experts", 0, 64)?.unwrap_or(0);
    config.model.features = Features {
        attention: block_causal(config, block),
        qk_norm: fields.flag("use_qk_norm", true)?,
        rope_dim: rope_dim(fields, 0.5, config.model.head_dim)?,
        experts: Some(Experts {
            // Several shared experts are one of their common width.
            shared_ffn_dim: shared * plain.ffn_dim,
            dense_layers: fields.integer("first_k_dense_replace", 0, limit::LAYERS)?.unwrap_or(0),
            groups: fields.size("n_group", limit::EXPERTS)?,
            groups_per_token: fields.size("topk_group", limit::EXPERTS)?,
            sigmoid: true,
            choice_bias: true,
            // A single expert keeps its score.
            normalize: plain.per_token > 1,
            scale: fields.number("routed_scaling_factor", 1e-6, 1e6)?.unwrap_or(2.5),
            ..plain
        }),
        ..Features::PLAIN
    };
    Ok(())
}

fn llada2_source(role: TensorRole, config: &HfConfig) -> Source {
    let m = &config.model;
    let fused = |layer: u32, first: usize| {
        let name = format!("model.layers.{layer}.attention.query_key_value.weight");
        Source::rows(name, first, m.query_dim() + 2 * m.kv_dim())
    };
    let shared = |part: &str| format!("mlp.shared_experts.{part}.weight");
    match role {
        TensorRole::Embedding => Source::tensor("model.word_embeddings.weight"),
        TensorRole::Query(layer) => fused(layer, 0),
        TensorRole::Key(layer) => fused(layer, m.query_dim()),
        TensorRole::Value(layer) => fused(layer, m.query_dim() + m.kv_dim()),
        _ => layer_source(role, config, shared, |role| match role {
            TensorRole::QueryNorm(_) => Some("attention.query_layernorm.weight"),
            TensorRole::KeyNorm(_) => Some("attention.key_layernorm.weight"),
            TensorRole::AttentionOutput(_) => Some("attention.dense.weight"),
            TensorRole::RouterBias(_) => Some("mlp.gate.expert_bias"),
            _ => layer_part(role),
        }),
    }
}

// ---- SDAR with experts ----

const SDAR_MOE_FIXED: &[FixedOption] = &[
    ("attention_bias", "false"),
    ("partial_rotary_factor", "1"),
    // Experts in every layer.
    ("decoder_sparse_step", "1"),
    ("mlp_only_layers", "[]"),
];

/// SDAR's large model: Qwen3 MoE in blocks.
pub(super) const SDAR_MOE: Family = Family {
    classes: &["SDARMoeForCausalLM"],
    model_type: "sdar_moe",
    ffn_dim: |fields, _| fields.size("moe_intermediate_size", limit::FFN),
    fixed: &[NEVER, COMMON, SDAR_MOE_FIXED],
    features: sdar_moe_features,
    source: |role, config| match role {
        TensorRole::Embedding => Source::tensor("model.embed_tokens.weight"),
        _ => layer_source(role, config, |_| String::new(), layer_part),
    },
    ..qwen::SDAR
};

fn sdar_moe_features(fields: &Fields, config: &mut HfConfig) -> Result<(), ConfigError> {
    (qwen::SDAR.features)(fields, config)?;
    config.model.features.experts = Some(Experts {
        normalize: fields.flag("norm_topk_prob", false)?,
        ..plain(fields, "moe_intermediate_size")?
    });
    Ok(())
}

// ---- All of them ----

/// The experts by their numbers; `width` names the field of their hidden width.
fn plain(fields: &Fields, width: &'static str) -> Result<Experts, ConfigError> {
    Ok(Experts::plain(
        fields.size("num_experts", limit::EXPERTS)?,
        fields.size("num_experts_per_tok", limit::EXPERTS)?,
        fields.size(width, limit::FFN)?,
    ))
}

/// Entries of a head that are rotated; 0 stands for all.
fn rope_dim(fields: &Fields, default: f32, head_dim: u32) -> Result<u32, ConfigError> {
    let factor = fields.rotary_factor()?.unwrap_or(default);
    let rotated = (head_dim as f32 * factor) as u32;
    if rotated < 2 {
        let field = "partial_rotary_factor";
        return Err(fields.unsupported(field, "a part of a head of at least two entries"));
    }
    Ok(if rotated == head_dim { 0 } else { rotated })
}

/// The source of a role outside of the attention.
fn layer_source(
    role: TensorRole,
    config: &HfConfig,
    shared: impl Fn(&str) -> String,
    part: impl Fn(TensorRole) -> Option<&'static str>,
) -> Source {
    let layer = match (role, role.layer()) {
        (TensorRole::OutputNorm, _) => return Source::tensor("model.norm.weight"),
        (TensorRole::Head, _) => return Source::tensor("lm_head.weight"),
        (_, Some(layer)) => layer,
        _ => return Source::absent(role),
    };
    let experts = config.model.features.experts_of(layer);
    let stacked = |part| {
        let prefix = format!("model.layers.{layer}.mlp.experts.");
        Source::experts(prefix, part, experts.map_or(1, |e| e.count as usize))
    };
    let name = match role {
        TensorRole::ExpertGates(_) => return stacked("gate_proj.weight"),
        TensorRole::ExpertUps(_) => return stacked("up_proj.weight"),
        TensorRole::ExpertDowns(_) => return stacked("down_proj.weight"),
        TensorRole::Router(_) => "mlp.gate.weight".into(),
        TensorRole::Gate(_) if experts.is_some() => shared("gate_proj"),
        TensorRole::Up(_) if experts.is_some() => shared("up_proj"),
        TensorRole::Down(_) if experts.is_some() => shared("down_proj"),
        _ => match part(role) {
            Some(part) => part.into(),
            None => return Source::absent(role),
        },
    };
    Source::tensor(format!("model.layers.{layer}.{name}"))
}
