//! `demask pack`: an image that a processor runs where it lies.

use super::CliError;
use super::image::{refuse_same_file, sections_of, write};
use super::options::SourceArgs;
use super::processor::{Processor, five_bits_for, layout_for, processors};
use super::table::thousands;
use clap::Args;
use demask_quant::Quantization;
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(super) struct PackArgs {
    /// Image or GGUF file with quantized weights, or `intents` for the bundled image
    source: PathBuf,
    /// Image to write
    out: PathBuf,
    /// The processor that will run it [default: this one]
    #[arg(long = "for", value_enum, value_name = "PROCESSOR")]
    processor: Option<Processor>,
    #[command(flatten)]
    reading: SourceArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &PackArgs) -> Result<(), CliError> {
    refuse_same_file(&args.source, &args.out)?;
    let model = args.reading.open(&args.source, true)?;
    if !model.is_quantized() {
        return Err(CliError::new(format!(
            "{} is not quantized; `demask quantize --type q8 --for` rounds and packs it",
            args.source.display()
        )));
    }
    let layout = layout_for(args.processor);
    let (from, counter) = match model.image() {
        Some(image) => (image.layout().name(), image.header().security_counter),
        None => ("gguf", 0),
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let sections = sections_of(&model, counter);
    let five_bits = five_bits_for(args.processor);
    let quantization = Quantization { five_bits, ..Quantization::keep(layout) };
    let report = write(&model.weights(), &sections, quantization, &args.out, threads)?;
    let rounded = report.tensors.iter().filter(|t| !t.is_exact()).count();
    let mut out = std::io::stdout().lock();
    let bytes = report.image_bytes;
    if args.json {
        let value = json!({
            "bytes": bytes, "from": from, "layout": layout.name(), "rounded_tensors": rounded,
        });
        writeln!(out, "{value}")?;
        return Ok(());
    }
    let (path, bytes) = (args.out.display(), thousands(bytes));
    writeln!(out, "{path}: {bytes} bytes, packed for {}", processors(layout))?;
    if rounded > 0 {
        writeln!(
            out,
            "{rounded} of {} tensors were rounded to q8, of whose type the engine has no format \
             (`demask inspect` lists them)",
            report.tensors.len()
        )?;
    }
    Ok(())
}
