//! Where in a file the tensors of the network are.

use std::collections::{BTreeMap, BTreeSet};

use demask::image::{ModelConfig, TensorRole};

use super::error::GgufError;
use super::{GgufFile, GgufTensor, config};

/// Name of a fused query, key and value projection.
const FUSED: &str = "attn_qkv";
/// Longest vector that is looked into to see whether it has an effect.
const MAX_VECTOR: usize = 1 << 20;

/// A tensor, and the value in it that is the first of the role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) tensor: String,
    pub(super) first: usize,
}

/// Finds every tensor of the configuration, and makes sure that the file has no others.
pub(super) fn find(
    file: &GgufFile,
    config: &ModelConfig,
) -> Result<BTreeMap<TensorRole, Place>, GgufError> {
    let mut places = BTreeMap::new();
    let mut missing = Vec::new();
    for role in TensorRole::all(config) {
        match find_one(file, config, role)? {
            Some(place) => {
                places.insert(role, place);
            }
            None => missing.push(tensor_name(config, role)),
        }
    }
    if let [first, others @ ..] = missing.as_slice() {
        return Err(GgufError::MissingTensor { tensor: first.clone(), others: others.len() });
    }
    check_surplus(file, config, &places)?;
    Ok(places)
}

fn find_one(
    file: &GgufFile,
    config: &ModelConfig,
    role: TensorRole,
) -> Result<Option<Place>, GgufError> {
    let name = tensor_name(config, role);
    let (tensor, first, expected) = match file.tensor(&name) {
        Some(tensor) => (tensor, 0, role.shape(config)),
        None => match fused(config, role).and_then(|(n, f, e)| Some((file.tensor(&n)?, f, e))) {
            Some(found) => found,
            None => return Ok(None),
        },
    };
    if tensor.shape() != expected {
        let (tensor, found) = (tensor.name().to_owned(), tensor.shape());
        return Err(GgufError::TensorShape { tensor, found, expected });
    }
    Ok(Some(Place { tensor: tensor.name().to_owned(), first }))
}

/// The fused tensor that may hold a role: its name, the first value in it, and its shape.
fn fused(config: &ModelConfig, role: TensorRole) -> Option<(String, usize, (usize, usize))> {
    let (query, kv) = (config.query_dim(), config.kv_dim());
    let (layer, suffix, before) = match role {
        TensorRole::Query(layer) => (layer, "weight", 0),
        TensorRole::Key(layer) => (layer, "weight", query),
        TensorRole::Value(layer) => (layer, "weight", query + kv),
        TensorRole::QueryBias(layer) => (layer, "bias", 0),
        TensorRole::KeyBias(layer) => (layer, "bias", query),
        TensorRole::ValueBias(layer) => (layer, "bias", query + kv),
        _ => return None,
    };
    let (all, name) = (query + 2 * kv, format!("blk.{layer}.{FUSED}.{suffix}"));
    Some(match suffix {
        "bias" => (name, before, (1, all)),
        _ => (name, before * config.model_dim as usize, (all, config.model_dim as usize)),
    })
}

/// Name of a tensor as llama.cpp's converters write it.
#[must_use]
pub(super) fn tensor_name(config: &ModelConfig, role: TensorRole) -> String {
    let shared = role.layer().is_some_and(|layer| config.features.experts_of(layer).is_some());
    let (layer, name) = match role {
        TensorRole::Embedding => return "token_embd.weight".into(),
        TensorRole::OutputNorm => return "output_norm.weight".into(),
        TensorRole::OutputNormBias => return "output_norm.bias".into(),
        TensorRole::Head => return "output.weight".into(),
        TensorRole::HeadBias => return "output.bias".into(),
        TensorRole::AttentionNorm(layer) => (layer, "attn_norm.weight"),
        TensorRole::AttentionNormBias(layer) => (layer, "attn_norm.bias"),
        TensorRole::Query(layer) => (layer, "attn_q.weight"),
        TensorRole::QueryBias(layer) => (layer, "attn_q.bias"),
        TensorRole::Key(layer) => (layer, "attn_k.weight"),
        TensorRole::KeyBias(layer) => (layer, "attn_k.bias"),
        TensorRole::Value(layer) => (layer, "attn_v.weight"),
        TensorRole::ValueBias(layer) => (layer, "attn_v.bias"),
        TensorRole::QueryNorm(layer) => (layer, "attn_q_norm.weight"),
        TensorRole::KeyNorm(layer) => (layer, "attn_k_norm.weight"),
        TensorRole::AttentionOutput(layer) => (layer, "attn_output.weight"),
        TensorRole::FfnNorm(layer) => (layer, "ffn_norm.weight"),
        TensorRole::FfnNormBias(layer) => (layer, "ffn_norm.bias"),
        TensorRole::Router(layer) => (layer, "ffn_gate_inp.weight"),
        TensorRole::RouterBias(layer) => (layer, "exp_probs_b.bias"),
        TensorRole::ExpertGates(layer) => (layer, "ffn_gate_exps.weight"),
        TensorRole::ExpertUps(layer) => (layer, "ffn_up_exps.weight"),
        TensorRole::ExpertDowns(layer) => (layer, "ffn_down_exps.weight"),
        TensorRole::Gate(layer) if shared => (layer, "ffn_gate_shexp.weight"),
        TensorRole::Up(layer) if shared => (layer, "ffn_up_shexp.weight"),
        TensorRole::Down(layer) if shared => (layer, "ffn_down_shexp.weight"),
        TensorRole::Gate(layer) => (layer, "ffn_gate.weight"),
        TensorRole::Up(layer) => (layer, "ffn_up.weight"),
        TensorRole::UpBias(layer) => (layer, "ffn_up.bias"),
        TensorRole::Down(layer) => (layer, "ffn_down.weight"),
        TensorRole::DownBias(layer) => (layer, "ffn_down.bias"),
    };
    format!("blk.{layer}.{name}")
}

fn check_surplus(
    file: &GgufFile,
    config: &ModelConfig,
    places: &BTreeMap<TensorRole, Place>,
) -> Result<(), GgufError> {
    let used: BTreeSet<&str> = places.values().map(|place| place.tensor.as_str()).collect();
    let unused_layers = config::unused_layers(file)?;
    let mut surplus = Vec::new();
    for tensor in file.tensors().filter(|tensor| !used.contains(tensor.name())) {
        let layer = layer_of(tensor.name());
        let skipped =
            layer.is_some_and(|l| l >= config.layers && l - config.layers < unused_layers);
        if !skipped && !has_no_effect(tensor)? {
            surplus.push(super::shortened(tensor.name()));
        }
    }
    match surplus.as_slice() {
        [] => Ok(()),
        [first, others @ ..] => {
            Err(GgufError::SurplusTensor { tensor: first.clone(), others: others.len() })
        }
    }
}

fn layer_of(name: &str) -> Option<u32> {
    name.strip_prefix("blk.")?.split('.').next()?.parse().ok()
}

/// Factors of one for the rotary frequencies, and biases of zero, change nothing.
fn has_no_effect(tensor: GgufTensor<'_>) -> Result<bool, GgufError> {
    let neutral = match tensor.name() {
        "rope_freqs.weight" => 1.0,
        name if name.ends_with(".bias") => 0.0,
        _ => return Ok(false),
    };
    let (rows, cols) = tensor.shape();
    if rows != 1 || cols > MAX_VECTOR {
        return Ok(false);
    }
    let mut values = vec![f32::NAN; cols];
    Ok(tensor.read(0, &mut values)? && values.iter().all(|value| *value == neutral))
}
