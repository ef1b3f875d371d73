//! `demask plan`: bytes of RAM and flash.

use super::options::ModelArgs;
use super::processor::{Processor, layout_for};
use super::table::{self, thousands};
use super::{CliError, Problem};
use crate::load::LoadedModel;
use clap::Args;
use demask::decode::Needs;
use demask::{Limits, Plan};
use serde_json::{Value, json};
use std::io::Write;

/// Limits that memory is counted for.
#[derive(Debug, Args)]
pub(super) struct LimitArgs {
    /// Longest canvas in tokens, prompt included [default: the model's context]
    #[arg(long, value_name = "N")]
    pub(super) canvas: Option<usize>,
    /// Rows that go through a layer together; 8 suits a microcontroller, 32 a host
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub(super) tile: usize,
    /// The processor that will run it [default: the one that the image is packed for]
    #[arg(long = "for", value_enum, value_name = "PROCESSOR")]
    pub(super) processor: Option<Processor>,
    /// Threads, each with its own scratch memory
    #[arg(long, value_name = "N", default_value_t = 1, alias = "workers")]
    pub(super) threads: usize,
}

impl LimitArgs {
    pub(super) fn plan(&self, model: &LoadedModel) -> Result<Plan, CliError> {
        let canvas = self.canvas.unwrap_or(model.config().context as usize);
        let layout = match (self.processor, model.image()) {
            (None, Some(image)) => image.layout(),
            (processor, _) => layout_for(processor),
        };
        let limits =
            Limits { canvas, tile: self.tile, layout, workers: self.threads, needs: Needs::NONE };
        Plan::new(model.config(), &limits).problem()
    }
}

/// Parts of a plan for machines.
pub(super) fn parts_json(plan: &Plan) -> Value {
    let parts = plan.parts();
    json!({
        "hidden": parts.hidden, "kv_ring": parts.kv_ring, "rope": parts.rope,
        "scratch": parts.scratch, "session": parts.session,
    })
}

/// Parts of a plan for people.
pub(super) fn parts_rows(plan: &Plan) -> Vec<Vec<String>> {
    let parts = plan.parts();
    vec![
        row("hidden rows", parts.hidden as u64),
        row("key-value ring", parts.kv_ring as u64),
        row("rotary tables", parts.rope as u64),
        row("scratch", parts.scratch as u64),
        row("session", parts.session as u64),
        row("RAM in all", plan.bytes() as u64),
    ]
}

pub(super) fn row(name: &str, bytes: u64) -> Vec<String> {
    vec![name.to_owned(), thousands(bytes)]
}

#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    limits: LimitArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &PlanArgs) -> Result<(), CliError> {
    let model = args.model.open()?;
    let plan = args.limits.plan(&model)?;
    // A folder or a GGUF file is not what a device stores.
    let flash = model.image().map(|image| image.as_bytes().len());
    let limits = plan.limits();
    let mut out = std::io::stdout().lock();
    if args.json {
        let value = json!({
            "ram": plan.bytes(), "flash": flash, "canvas": limits.canvas, "tile": limits.tile,
            "workers": limits.workers, "parts": parts_json(&plan),
        });
        writeln!(out, "{value}")?;
        return Ok(());
    }
    let mut rows = parts_rows(&plan);
    rows.extend(flash.map(|bytes| row("flash for the image", bytes as u64)));
    let (canvas, tile, threads) = (limits.canvas, limits.tile, limits.workers);
    writeln!(out, "canvas {canvas}, tile {tile}, threads {threads}\n")?;
    table::print(&mut out, &["memory", "bytes"], &rows)?;
    Ok(())
}
