//! `demask pack`: an image for other processors.

use super::processor::{Processor, processors};
use super::quantize::refuse_same_file;
use super::table::thousands;
use super::{CliError, Problem};
use crate::atomic::write_atomic_bytes;
use crate::load::LoadedModel;
use clap::Args;
use demask_quant::{ImageBuffer, repack};
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(super) struct PackArgs {
    /// Image with 4-bit or 8-bit weights, or `intents` for the bundled one
    image: PathBuf,
    /// Image to write
    out: PathBuf,
    /// The processor that will run it
    #[arg(long = "for", value_enum, value_name = "PROCESSOR")]
    processor: Processor,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &PackArgs) -> Result<(), CliError> {
    let model = LoadedModel::open(&args.image, true).problem()?;
    let image = model.image().filter(|image| image.tensors().any(|t| t.packed().is_some()));
    let Some(image) = image else {
        return Err(CliError::new(format!(
            "{} is not quantized; `demask quantize --for` packs while it quantizes",
            args.image.display()
        )));
    };
    refuse_same_file(&args.image, &args.out)?;
    let (from, layout) = (image.layout(), args.processor.layout());
    let mut buffer = ImageBuffer::copy_of(image.as_bytes());
    repack(buffer.bytes_mut(), layout).problem()?;
    write_atomic_bytes(&args.out, buffer.bytes()).problem()?;
    let mut out = std::io::stdout().lock();
    let bytes = buffer.bytes().len();
    if args.json {
        let value = json!({ "bytes": bytes, "from": from.name(), "layout": layout.name() });
        writeln!(out, "{value}")?;
    } else {
        let (path, bytes) = (args.out.display(), thousands(bytes as u64));
        writeln!(out, "{path}: {bytes} bytes, packed for {}", processors(layout))?;
    }
    Ok(())
}
