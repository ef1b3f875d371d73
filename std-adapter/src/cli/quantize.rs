//! `demask quantize`: float weights to an image.

use super::processor::Processor;
use super::table::{self, thousands};
use super::{CliError, Problem};
use crate::atomic::write_atomic;
use crate::load::LoadedModel;
use clap::{Args, ValueEnum};
use demask::image::TensorRole;
use demask::packed::Format;
use demask_quant::{Quantization, Report, Sections, TensorReport, write_image};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Storage formats as the command line spells them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TypeName {
    /// 4.5 bits per weight
    Q4,
    /// 8.5 bits per weight
    Q8,
    /// For reference runs on a host
    F16,
    /// For reference runs on a host
    F32,
}

impl TypeName {
    fn format(self) -> Format {
        match self {
            Self::Q4 => Format::Q4,
            Self::Q8 => Format::Q8,
            Self::F16 => Format::F16,
            Self::F32 => Format::F32,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct QuantizeArgs {
    /// Hugging Face folder, or an image with f32 or f16 weights
    source: PathBuf,
    /// Image to write
    out: PathBuf,
    /// Format of the matrices
    #[arg(long = "type", value_enum)]
    format: TypeName,
    /// Format of the embedding and the head [default: q8 for q4, else as --type]
    #[arg(long = "embedding-type", value_enum)]
    embedding: Option<TypeName>,
    /// The processor that will run it
    #[arg(long = "for", value_enum, value_name = "PROCESSOR", default_value_t = Processor::X86)]
    processor: Processor,
    /// Anti-rollback counter stored in the image
    #[arg(long, default_value_t = 0, value_name = "N")]
    security_counter: u32,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &QuantizeArgs) -> Result<(), CliError> {
    let model = LoadedModel::open(&args.source, true).problem()?;
    refuse_quantized(&model, &args.source)?;
    refuse_same_file(&args.source, &args.out)?;
    let default = match args.format {
        TypeName::Q4 => TypeName::Q8,
        other => other,
    };
    let quantization = Quantization {
        layers: args.format.format(),
        embedding: args.embedding.unwrap_or(default).format(),
        keep: false,
        layout: args.processor.layout(),
    };
    let sections = Sections {
        config: *model.config(),
        tokenizer: model.tokenizer_section().map(<[u8]>::to_vec),
        prompt: (*model.prompt() != Default::default()).then(|| model.prompt().clone()),
        security_counter: args.security_counter,
    };
    let report = write(&model, &sections, quantization, &args.out)?;
    print(&report, args)
}

fn write(
    model: &LoadedModel,
    sections: &Sections,
    quantization: Quantization,
    path: &Path,
) -> Result<Report, CliError> {
    let count = TensorRole::all(&sections.config).count() as u64;
    let bar = ProgressBar::new(count)
        .with_style(ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}").problem()?);
    let mut progress = |tensor: &TensorReport| {
        bar.set_message(label(tensor));
        bar.inc(1);
    };
    let mut report = None;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let weights = model.weights();
    write_atomic(path, |file| {
        let written = write_image(sections, quantization, &weights, file, threads, &mut progress);
        report = Some(written.map_err(|error| match error {
            // Keep the system's own kind, so that a full disk is called a full disk.
            demask_quant::WriteError::Output(error) => error,
            other => io::Error::other(other.to_string()),
        })?);
        Ok(())
    })
    .problem()?;
    bar.finish_and_clear();
    report.ok_or_else(|| CliError::new("nothing was written"))
}

fn refuse_quantized(model: &LoadedModel, path: &Path) -> Result<(), CliError> {
    let packed = model.image().is_some_and(|i| i.tensors().any(|t| t.packed().is_some()));
    match packed {
        true => Err(CliError::new(format!(
            "{} is quantized already; rounding it again would lose more than rounding its source: \
             give the folder it was made from",
            path.display()
        ))),
        false => Ok(()),
    }
}

pub(super) fn refuse_same_file(source: &Path, out: &Path) -> Result<(), CliError> {
    let same = match (source.canonicalize(), out.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    };
    match same {
        true => Err(CliError::new("source and output are the same file; give another output name")),
        false => Ok(()),
    }
}

fn label(tensor: &TensorReport) -> String {
    match tensor.role.layer() {
        Some(layer) => format!("{layer}.{}", tensor.role.name()),
        None => tensor.role.name().to_owned(),
    }
}

fn print(report: &Report, args: &QuantizeArgs) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    if args.json {
        let tensors: Vec<_> = report
            .tensors
            .iter()
            .map(|t| {
                json!({
                    "name": label(t), "format": t.format.name(), "rows": t.rows, "cols": t.cols,
                    "bytes": t.bytes, "rms": t.rms, "rms_error": t.rms_error,
                    "relative_error": t.relative_error(), "max_error": t.max_error,
                })
            })
            .collect();
        writeln!(out, "{}", json!({ "bytes": report.image_bytes, "tensors": tensors }))?;
        return Ok(());
    }
    let rows: Vec<Vec<String>> = report
        .tensors
        .iter()
        .filter(|t| !t.role.stays_f32())
        .map(|t| {
            vec![
                label(t),
                t.format.name().to_owned(),
                t.rows.to_string(),
                t.cols.to_string(),
                thousands(t.bytes),
                format!("{:.3}", 100.0 * t.relative_error()),
                format!("{:.5}", t.max_error),
            ]
        })
        .collect();
    let header = ["tensor", "type", "rows", "cols", "bytes", "error %", "largest error"];
    table::print(&mut out, &header, &rows)?;
    writeln!(out, "\n{}: {} bytes", args.out.display(), thousands(report.image_bytes))?;
    Ok(())
}
