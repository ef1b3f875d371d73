//! `demask inspect`: what is in a model.

use super::CliError;
use super::options::ModelArgs;
use super::processor::processors;
use super::table::{self, thousands};
use crate::load::{LoadedModel, Source};
use clap::Args;
use demask::image::{ModelConfig, RopePairs, TensorRole};
use demask::packed::Layout;
use demask::{Limits, Plan};
use serde_json::{Value, json};
use std::io::Write;

#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &InspectArgs) -> Result<(), CliError> {
    let model = args.model.open()?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", as_json(&model))?;
        return Ok(());
    }
    let kind = match model.source() {
        Source::File(file) => format!("image {}", file.path().display()),
        Source::Bundled => "the bundled image".to_owned(),
        Source::Folder(_) => format!("Hugging Face folder {}", args.model.model.display()),
    };
    let checked = match (model.source(), args.model.no_verify) {
        (Source::Folder(_), _) => "",
        (_, true) => ", digests not checked",
        (_, false) => ", digests right",
    };
    writeln!(out, "{kind}{checked}\n")?;
    table::print(&mut out, &["field", "value"], &config_rows(model.config()))?;
    if let Some(tokenizer) = model.tokenizer() {
        let prompt = model.prompt();
        writeln!(
            out,
            "\ntokenizer: byte-level BPE, {} tokens; prompt: {:?} text {:?}",
            tokenizer.vocab_len(),
            prompt.prefix,
            prompt.suffix
        )?;
    }
    if let Some(image) = model.image() {
        writeln!(out, "\nsecurity counter {}", image.header().security_counter)?;
        if image.tensors().any(|tensor| tensor.packed().is_some()) {
            writeln!(out, "packed for {}", processors(image.layout()))?;
        }
        let rows: Vec<_> = image
            .header()
            .sections(image.as_bytes())
            .map(|s| {
                let digest: String = s.digest.iter().take(8).map(|b| format!("{b:02x}")).collect();
                let name = s.kind.map_or("unknown", |k| k.name());
                vec![
                    name.to_owned(),
                    thousands(s.bytes.len() as u64),
                    format!("sha256 {digest}..."),
                ]
            })
            .collect();
        table::print(&mut out, &["section", "bytes", "digest"], &rows)?;
    }
    writeln!(out)?;
    table::print(&mut out, &["tensor", "type", "rows", "cols", "bytes"], &tensor_rows(&model))?;
    let limits = Limits {
        canvas: model.config().context as usize,
        tile: 8,
        layout: model.image().map_or_else(Layout::default, |image| image.layout()),
        workers: 1,
    };
    if let Ok(plan) = Plan::new(model.config(), &limits) {
        let ram = thousands(plan.bytes() as u64);
        writeln!(out, "\nRAM for the whole context, tile 8: {ram} bytes (see `demask plan`)")?;
    }
    Ok(())
}

fn config_rows(c: &ModelConfig) -> Vec<Vec<String>> {
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    vec![
        row("architecture", "llada".into()),
        row("vocabulary", c.vocab_size.to_string()),
        row("model width", c.model_dim.to_string()),
        row("layers", c.layers.to_string()),
        row("heads", format!("{} (key-value {})", c.heads, c.kv_heads)),
        row("head width", c.head_dim.to_string()),
        row("feed-forward width", c.ffn_dim.to_string()),
        row("context", c.context.to_string()),
        row("mask, end token", format!("{}, {}", c.mask_id, c.eos_id)),
        row("rotary base", c.rope_theta.to_string()),
        row("norm epsilon", c.norm_eps.to_string()),
        row("head", if c.tied_head { "tied to the embedding" } else { "own weights" }.into()),
        row("parameters", thousands(parameters(c))),
    ]
}

fn parameters(c: &ModelConfig) -> u64 {
    TensorRole::all(c).map(|role| role.shape(c)).map(|(r, k)| r as u64 * k as u64).sum()
}

/// Role, stored type, shape and bytes of every tensor; a folder's as `source`.
fn tensor_rows(model: &LoadedModel) -> Vec<Vec<String>> {
    let config = model.config();
    let image = model.image();
    TensorRole::all(config)
        .map(|role| {
            let tensor = image.and_then(|image| image.tensor(role));
            let (rows, cols) = role.shape(config);
            let name = match role.layer() {
                Some(layer) => format!("{layer}.{}", role.name()),
                None => role.name().to_owned(),
            };
            vec![
                name,
                tensor.map_or("source", |t| t.format.name()).to_owned(),
                rows.to_string(),
                cols.to_string(),
                tensor.map(|t| thousands(t.bytes.len() as u64)).unwrap_or_default(),
            ]
        })
        .collect()
}

fn as_json(model: &LoadedModel) -> Value {
    let c = model.config();
    let pairs = match c.rope_pairs {
        RopePairs::HalfSplit => "half-split",
        RopePairs::Adjacent => "adjacent",
    };
    let tensors: Vec<Value> = tensor_rows(model)
        .into_iter()
        .map(|row| json!({ "name": row[0], "type": row[1], "rows": row[2].parse::<u64>().ok(), "cols": row[3].parse::<u64>().ok() }))
        .collect();
    json!({
        "architecture": "llada", "vocab_size": c.vocab_size, "model_dim": c.model_dim,
        "layers": c.layers, "heads": c.heads, "kv_heads": c.kv_heads, "head_dim": c.head_dim,
        "ffn_dim": c.ffn_dim, "context": c.context, "mask_id": c.mask_id, "eos_id": c.eos_id,
        "rope_theta": c.rope_theta, "norm_eps": c.norm_eps, "rope_pairs": pairs,
        "tied_head": c.tied_head, "parameters": parameters(c),
        "bytes": model.image().map(|i| i.as_bytes().len()),
        "security_counter": model.image().map(|i| i.header().security_counter),
        "layout": model.image().map(|i| i.layout().name()),
        "tensors": tensors,
    })
}
