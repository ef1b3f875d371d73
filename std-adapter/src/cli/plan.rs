//! `demask plan`: bytes of RAM and flash.

use super::options::ModelArgs;
use super::processor::Processor;
use super::table::{self, thousands};
use super::{CliError, Problem};
use crate::load::Source;
use clap::Args;
use demask::packed::Layout;
use demask::{Limits, Plan};
use serde_json::json;
use std::io::Write;

#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Longest canvas in tokens, prompt included [default: the model's context]
    #[arg(long, value_name = "N")]
    canvas: Option<usize>,
    /// Rows that go through a layer together; 8 suits a microcontroller, 32 a host
    #[arg(long, value_name = "N", default_value_t = 8)]
    tile: usize,
    /// The processor that will run it [default: the one that the image is packed for]
    #[arg(long = "for", value_enum, value_name = "PROCESSOR")]
    processor: Option<Processor>,
    /// Workers, each with its own scratch memory
    #[arg(long, value_name = "N", default_value_t = 1)]
    workers: usize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &PlanArgs) -> Result<(), CliError> {
    let model = args.model.open()?;
    let config = model.config();
    let canvas = args.canvas.unwrap_or(config.context as usize);
    let packed_for = model.image().map_or_else(Layout::default, |image| image.layout());
    let layout = args.processor.map_or(packed_for, Processor::layout);
    let limits = Limits { canvas, tile: args.tile, layout, workers: args.workers };
    let plan = Plan::new(config, &limits).problem()?;
    let parts = plan.parts();
    // A folder is not what a device stores.
    let flash = match model.source() {
        Source::Folder(_) => None,
        _ => model.image().map(|image| image.as_bytes().len()),
    };
    let mut out = std::io::stdout().lock();
    if args.json {
        let value = json!({
            "ram": plan.bytes(), "flash": flash,
            "canvas": canvas, "tile": args.tile, "workers": args.workers,
            "parts": {
                "hidden": parts.hidden, "kv_ring": parts.kv_ring, "rope": parts.rope,
                "scratch": parts.scratch, "session": parts.session,
            },
        });
        writeln!(out, "{value}")?;
        return Ok(());
    }
    let row = |name: &str, bytes: usize| vec![name.to_owned(), thousands(bytes as u64)];
    let mut rows = vec![
        row("hidden rows", parts.hidden),
        row("key-value ring", parts.kv_ring),
        row("rotary tables", parts.rope),
        row("scratch", parts.scratch),
        row("session", parts.session),
        row("RAM in all", plan.bytes()),
    ];
    rows.extend(flash.map(|bytes| row("flash for the image", bytes)));
    writeln!(out, "canvas {canvas}, tile {}, workers {}\n", args.tile, args.workers)?;
    table::print(&mut out, &["memory", "bytes"], &rows)?;
    Ok(())
}
