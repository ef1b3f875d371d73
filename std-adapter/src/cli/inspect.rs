//! `demask inspect`: what is in a model, how it is held, and the memory that it takes.

use super::CliError;
use super::image::label;
use super::options::ModelArgs;
use super::plan::{LimitArgs, parts_json, parts_rows, row};
use super::processor::processors;
use super::table::{self, thousands};
use crate::load::{LoadedModel, Source};
use clap::Args;
use demask::image::{Attention, FeedForward, ModelConfig, Norm, RopePairs, TensorRole};
use demask::packed::Format;
use demask_quant::{TensorPlan, plan_tensors};
use serde_json::{Value, json};
use std::io::Write;

#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    limits: LimitArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// A tensor in its file and in memory.
struct Held {
    role: TensorRole,
    stored_as: &'static str,
    format: Format,
    /// How the one becomes the other.
    how: &'static str,
    rows: usize,
    cols: usize,
    bytes: u64,
}

pub(super) fn run(args: &InspectArgs) -> Result<(), CliError> {
    let model = args.model.open()?;
    let tensors = held(&model, args);
    match args.json {
        true => {
            writeln!(std::io::stdout().lock(), "{}", as_json(&model, &tensors, args)?)?;
            Ok(())
        }
        false => print(&model, &tensors, args),
    }
}

/// Every tensor as it would be held, if the model ran now.
fn held(model: &LoadedModel, args: &InspectArgs) -> Vec<Held> {
    let config = model.config();
    let stored_as = |role| model.stored_as(role).unwrap_or("none");
    let Some(quantization) = args.model.held().quantization(model) else {
        let float = |role: TensorRole| {
            let (rows, cols) = role.shape(config);
            let wide = role.stays_f32() || ["F32", "f32"].contains(&stored_as(role));
            let (format, size) = if wide { (Format::F32, 4) } else { (Format::F16, 2) };
            let bytes = (rows * cols * size) as u64;
            Held { role, stored_as: stored_as(role), format, how: "exact", rows, cols, bytes }
        };
        return TensorRole::all(config).map(float).collect();
    };
    let plan = plan_tensors(config, quantization, &model.weights());
    plan.into_iter()
        .map(|TensorPlan { role, format, rows, cols, bytes, exact, .. }| {
            let how = if exact || role.stays_f32() { "exact" } else { "rounded" };
            Held { role, stored_as: stored_as(role), format, how, rows, cols, bytes }
        })
        .collect()
}

fn print(model: &LoadedModel, tensors: &[Held], args: &InspectArgs) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    let checked = match (model.image(), args.model.no_verify) {
        (None, _) => "",
        (_, true) => ", digests not checked",
        (_, false) => ", digests right",
    };
    writeln!(out, "{}{checked}\n", kind(model, args))?;
    table::print(&mut out, &["field", "value"], &config_rows(model.config()))?;
    writeln!(out)?;
    table::print(&mut out, &["text", "value"], &text_rows(model))?;
    if let Some(image) = model.image() {
        writeln!(out, "\nsecurity counter {}", image.header().security_counter)?;
        if model.is_quantized() {
            writeln!(out, "packed for {}", processors(image.layout()))?;
        }
        let rows: Vec<_> = image
            .header()
            .sections(image.as_bytes())
            .map(|s| {
                let digest: String = s.digest.iter().take(8).map(|b| format!("{b:02x}")).collect();
                let name = s.kind.map_or("unknown", |k| k.name()).to_owned();
                vec![name, thousands(s.bytes.len() as u64), format!("sha256 {digest}...")]
            })
            .collect();
        table::print(&mut out, &["section", "bytes", "digest"], &rows)?;
    }
    let rows: Vec<Vec<String>> = tensors
        .iter()
        .map(|t| {
            let (stored, held) = (t.stored_as.to_owned(), t.format.name().to_owned());
            let shape = [t.rows, t.cols].map(|n| n.to_string());
            let [rows, cols] = shape;
            vec![label(t.role), stored, held, t.how.to_owned(), rows, cols, thousands(t.bytes)]
        })
        .collect();
    writeln!(out)?;
    let header = ["tensor", "stored", "held", "how", "rows", "cols", "bytes held"];
    table::print(&mut out, &header, &rows)?;
    let plan = args.limits.plan(model)?;
    let limits = plan.limits();
    let (canvas, tile, threads) = (limits.canvas, limits.tile, limits.workers);
    writeln!(out, "\nmemory for a canvas of {canvas}, tile {tile}, threads {threads}")?;
    let mut rows = parts_rows(&plan);
    rows.push(row("weights", weights_bytes(tensors)));
    table::print(&mut out, &["memory", "bytes"], &rows)?;
    Ok(())
}

fn kind(model: &LoadedModel, args: &InspectArgs) -> String {
    match model.source() {
        Source::File(file) => format!("image {}", file.path().display()),
        Source::Bundled => "the bundled image".to_owned(),
        Source::Folder(_) => format!("Hugging Face folder {}", args.model.model.display()),
        Source::Gguf(gguf) => {
            let files = gguf.file().paths().count();
            let more = if files > 1 { format!(" and {} more", files - 1) } else { String::new() };
            format!("GGUF file {}{more}", args.model.model.display())
        }
    }
}

fn weights_bytes(tensors: &[Held]) -> u64 {
    tensors.iter().map(|tensor| tensor.bytes).sum()
}

fn config_rows(c: &ModelConfig) -> Vec<Vec<String>> {
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let mut rows = vec![
        row("family", c.architecture.name().into()),
        row("attention", attention(c)),
        row("features", features(c).join(", ")),
        row("vocabulary", c.vocab_size.to_string()),
        row("model width", c.model_dim.to_string()),
        row("layers", c.layers.to_string()),
        row("heads", format!("{} (key-value {})", c.heads, c.kv_heads)),
        row("head width", c.head_dim.to_string()),
        row("feed-forward width", c.ffn_dim.to_string()),
    ];
    if let Some(e) = c.features.experts {
        let chosen = format!("{} of width {}, {} per token", e.count, e.ffn_dim, e.per_token);
        rows.push(row("experts", chosen));
    }
    rows.extend([
        row("context", c.context.to_string()),
        row("mask, end token", format!("{}, {}", c.mask_id, c.eos_id)),
        row("rotary base", c.rope_theta.to_string()),
        row("norm epsilon", c.norm_eps.to_string()),
        row("head", if c.tied_head { "tied to the embedding" } else { "own weights" }.into()),
        row("parameters", thousands(parameters(c))),
    ]);
    rows
}

fn attention(c: &ModelConfig) -> String {
    match c.features.attention {
        Attention::Bidirectional => "bidirectional".into(),
        Attention::CAUSAL => "causal".into(),
        Attention::BlockCausal(block) => format!("block-causal, blocks of {block}"),
    }
}

/// What differs from the plain transformer.
fn features(c: &ModelConfig) -> Vec<&'static str> {
    let f = &c.features;
    let all = [
        (f.shifted_logits, "shifted logits"),
        (f.qkv_bias, "query-key-value biases"),
        (f.qk_norm, "query-key norms"),
        (f.rope_dim > 0, "partly rotated heads"),
        (f.norm == Norm::Layer, "LayerNorm"),
        (f.feed_forward == FeedForward::Gelu, "GELU"),
        (f.head_bias, "head bias"),
        (f.experts.is_some(), "experts"),
    ];
    let has: Vec<_> = all.into_iter().filter(|(has, _)| *has).map(|(_, name)| name).collect();
    if has.is_empty() { vec!["none beyond the plain transformer"] } else { has }
}

fn text_rows(model: &LoadedModel) -> Vec<Vec<String>> {
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let tokenizer = match model.tokenizer() {
        Some(tokenizer) => format!("byte-level BPE, {} tokens", tokenizer.vocab_len()),
        None => "none".into(),
    };
    let template = match model.chat_template() {
        Ok(Some(_)) => "yes".to_owned(),
        Ok(None) => "none".to_owned(),
        Err(error) => format!("unusable: {error}"),
    };
    let prompt = model.prompt();
    vec![
        row("tokenizer", tokenizer),
        row("around a prompt", format!("{:?} text {:?}", prompt.prefix, prompt.suffix)),
        row("chat template", template),
        row("other end tokens", format!("{:?}", model.stop_ids())),
        row("filter", filter(model)),
    ]
}

/// The network that tells final proposals, in words.
fn filter(model: &LoadedModel) -> String {
    model.filter().map_or("none".to_owned(), |filter| {
        format!("for blocks of {}, {} hidden units", filter.block(), filter.hidden())
    })
}

fn parameters(c: &ModelConfig) -> u64 {
    TensorRole::all(c).map(|role| role.shape(c)).map(|(r, k)| r as u64 * k as u64).sum()
}

fn as_json(model: &LoadedModel, tensors: &[Held], args: &InspectArgs) -> Result<Value, CliError> {
    let c = model.config();
    let pairs = match c.rope_pairs {
        RopePairs::HalfSplit => "half-split",
        RopePairs::Adjacent => "adjacent",
    };
    let tensors_json: Vec<Value> = tensors
        .iter()
        .map(|t| {
            json!({
                "name": label(t.role), "type": t.stored_as, "held": t.format.name(), "how": t.how,
                "rows": t.rows, "cols": t.cols, "bytes": t.bytes,
            })
        })
        .collect();
    let plan = args.limits.plan(model)?;
    let limits = plan.limits();
    let image = model.image();
    Ok(json!({
        "architecture": c.architecture.name(), "attention": attention(c), "features": features(c),
        "vocab_size": c.vocab_size, "model_dim": c.model_dim, "layers": c.layers, "heads": c.heads,
        "kv_heads": c.kv_heads, "head_dim": c.head_dim, "ffn_dim": c.ffn_dim,
        "experts": c.features.experts.map(|e| e.count), "context": c.context,
        "mask_id": c.mask_id, "eos_id": c.eos_id, "stop_ids": model.stop_ids(),
        "rope_theta": c.rope_theta, "norm_eps": c.norm_eps, "rope_pairs": pairs,
        "tied_head": c.tied_head, "parameters": parameters(c),
        "filter": model.filter().map(|f| json!({ "block": f.block(), "hidden": f.hidden() })),
        "tokenizer": model.tokenizer().map(|t| t.vocab_len()),
        "chat_template": matches!(model.chat_template(), Ok(Some(_))),
        "bytes": image.map(|i| i.as_bytes().len()),
        "security_counter": image.map(|i| i.header().security_counter),
        "layout": image.map(|i| i.layout().name()),
        "plan": {
            "canvas": limits.canvas, "tile": limits.tile, "threads": limits.workers,
            "ram": plan.bytes(), "weights": weights_bytes(tensors), "parts": parts_json(&plan),
        },
        "tensors": tensors_json,
    }))
}
