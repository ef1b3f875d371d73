//! MDLM and BD3-LM of the kuleshov-group checkpoints: diffusion transformers (DiT, Peebles and Xie
//! 2023) over tokens.
//!
//! Their norms are modulated by a vector that is computed from the noise level. The published models
//! set the noise level to zero (`time_conditioning: false`), and the vector becomes a constant. It is
//! folded in here: scale and shift into the norms, gates into the projections that they multiply.

use demask::image::{Architecture, Attention, Features, FeedForward, Norm, TensorRole};

use super::qwen::block_causal;
use super::{Family, FieldNames, FoldKind, NEVER, Place, Source, Stored};
use crate::read::adaln::{FREQUENCIES, LAST_VALUES, LAYER_VALUES};
use crate::read::config_fields::{Fields, FixedOption, limit};
use crate::read::hf_config::{ConfigError, HfConfig};

const NAMES: FieldNames = FieldNames {
    model_dim: "hidden_dim",
    layers: "n_blocks",
    heads: "n_heads",
    kv_heads: None,
    head_dim: None,
    context: ("model_length", None),
    cut_context: true,
    norm_eps: None,
    tied_head: None,
    embedding_rows: None,
};

/// A causal BD3-LM is its authors' autoregressive baseline.
const BD3LM_FIXED: &[FixedOption] = &[("causal", "false")];

pub(super) const MDLM: Family = Family {
    architecture: Architecture::Mdlm,
    classes: &["MDLM"],
    model_type: "mdlm",
    names: &NAMES,
    // The limits of both differ by the same factor.
    ffn_dim: |_, model_dim| Ok(4 * model_dim),
    fixed: &[NEVER],
    // Their tokenizer is GPT-2's, whose last token ends a text; the mask is appended to it.
    mask_id: |vocab_size| vocab_size.checked_sub(1),
    eos_id: |vocab_size| vocab_size.checked_sub(2),
    features: |fields, config| features(fields, config, Attention::Bidirectional, true),
    source,
    others,
    // Computed from the configuration, and the range of noise levels in training.
    unused: &["rotary_emb.inv_freq", "sampling_eps_min", "sampling_eps_max"],
};

pub(super) const BD3LM: Family = Family {
    architecture: Architecture::Bd3lm,
    classes: &["BD3LM"],
    model_type: "bd3lm",
    fixed: &[NEVER, BD3LM_FIXED],
    features: |fields, config| {
        // Without the doubled input of its training there is no mask at all.
        let attention = if fields.flag("cross_attn", true)? {
            let block = fields.size("block_size", limit::CONTEXT)?;
            block_causal(config, block)
        } else {
            Attention::Bidirectional
        };
        features(fields, config, attention, fields.flag("adaln", true)?)
    },
    ..MDLM
};

fn features(
    fields: &Fields,
    config: &mut HfConfig,
    attention: Attention,
    modulated: bool,
) -> Result<(), ConfigError> {
    config.model.features = Features {
        attention,
        norm: Norm::Layer,
        feed_forward: FeedForward::Gelu,
        head_bias: true,
        ..Features::PLAIN
    };
    if modulated {
        // It would need other norms and gates at every step.
        if fields.flag("time_conditioning", false)? {
            let supported = "false (no learned time conditioning)";
            return Err(fields.unsupported("time_conditioning", supported));
        }
        config.conditioning_dim = Some(fields.size("cond_dim", limit::DIM)?);
    }
    Ok(())
}

/// Order of a block's values: shift, scale and gate of the attention, then of the feed-forward
/// network. Those before the head are shift and scale.
fn source(role: TensorRole, config: &HfConfig) -> Source {
    let modulated = config.conditioning_dim.is_some();
    let width = config.model.model_dim as usize;
    let fold = |source: Source, kind, chunk| match modulated {
        true => source.folded(kind, role.layer(), chunk),
        false => source,
    };
    let block = |part: &str| {
        let layer = role.layer().unwrap_or(0);
        Source::tensor(format!("backbone.blocks.{layer}.{part}"))
    };
    let fused = |first: usize| match block("attn_qkv.weight").place {
        Place::Rows { tensor, .. } => Source::rows(tensor, first * width, 3 * width),
        other => other.into(),
    };
    let zeros = || Source::from(Place::Zeros);
    match role {
        TensorRole::Embedding => Source::tensor("backbone.vocab_embed.embedding"),
        TensorRole::AttentionNorm(_) => fold(block("norm1.weight"), FoldKind::Scale, 1),
        TensorRole::AttentionNormBias(_) => fold(zeros(), FoldKind::Shift, 0),
        TensorRole::Query(_) => fused(0),
        TensorRole::Key(_) => fused(1),
        TensorRole::Value(_) => fused(2),
        TensorRole::AttentionOutput(_) => fold(block("attn_out.weight"), FoldKind::GateRows, 2),
        TensorRole::FfnNorm(_) => fold(block("norm2.weight"), FoldKind::Scale, 4),
        TensorRole::FfnNormBias(_) => fold(zeros(), FoldKind::Shift, 3),
        TensorRole::Up(_) => block("mlp.0.weight"),
        TensorRole::UpBias(_) => block("mlp.0.bias"),
        TensorRole::Down(_) => fold(block("mlp.2.weight"), FoldKind::GateRows, 5),
        TensorRole::DownBias(_) => fold(block("mlp.2.bias"), FoldKind::GateColumns, 5),
        TensorRole::OutputNorm => {
            fold(Source::tensor("backbone.output_layer.norm_final.weight"), FoldKind::Scale, 1)
        }
        TensorRole::OutputNormBias => fold(zeros(), FoldKind::Shift, 0),
        TensorRole::Head => Source::tensor("backbone.output_layer.linear.weight"),
        TensorRole::HeadBias => Source::tensor("backbone.output_layer.linear.bias"),
        other => Source::absent(other),
    }
}

/// The conditioning network and the modulations.
fn others(config: &HfConfig) -> Vec<Stored> {
    let Some(cond) = config.conditioning_dim.map(|width| width as usize) else {
        return Vec::new();
    };
    let model = config.model.model_dim as usize;
    let linear = |name: String, rows, cols| {
        [(format!("{name}.weight"), (rows, cols)), (format!("{name}.bias"), (1, rows))]
    };
    let mut all = Vec::new();
    all.extend(linear("backbone.sigma_map.mlp.0".into(), cond, FREQUENCIES));
    all.extend(linear("backbone.sigma_map.mlp.2".into(), cond, cond));
    for layer in 0..config.model.layers {
        let name = format!("backbone.blocks.{layer}.adaLN_modulation");
        all.extend(linear(name, LAYER_VALUES * model, cond));
    }
    let name = "backbone.output_layer.adaLN_modulation".into();
    all.extend(linear(name, LAST_VALUES * model, cond));
    all
}
