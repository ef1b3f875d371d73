//! `demask quantize`: any model to an image, or a GGUF file to another.

use super::image::{label, refuse_same_file, sections_of, write};
use super::options::SourceArgs;
use super::processor::{Processor, five_bits_for, layout_for};
use super::table::{self, thousands};
use super::{CliError, Problem};
use crate::load::LoadedModel;
use crate::mmap::Access;
use crate::read::gguf::GgufFile;
use crate::write::gguf::NewTensor;
use crate::write::requantize::{FileType, requantize};
use clap::{Args, ValueEnum};
use demask::packed::Format;
use demask_quant::{Quantization, Report};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Types of an image's matrices as the command line spells them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TypeName {
    /// Each in the packed format that holds it as it is, or else in Q8
    Keep,
    /// 4.5 bits per weight
    Q4,
    /// 4.6 bits per weight, with minima, as ggml's Q4_K
    Q4k,
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
            Self::Q4k => Format::Q4K,
            Self::Keep | Self::Q8 => Format::Q8,
            Self::F16 => Format::F16,
            Self::F32 => Format::F32,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct QuantizeArgs {
    /// GGUF file, Hugging Face folder, or image
    source: PathBuf,
    /// Image to write; GGUF if the name ends in .gguf
    out: PathBuf,
    /// Type of the matrices: keep, q4, q4k, q8, f16, f32; in a GGUF file q4_0, q4_1, q5_0, q5_1, q8_0,
    /// q4_k_s, q4_k_m, q5_k_s, q5_k_m, q6_k, mxfp4, f16, bf16, f32
    #[arg(long = "type", value_name = "TYPE", default_value = "keep")]
    stored_as: String,
    /// Type of the embedding and the head of an image [default: q8 for q4 and q4k, else as --type]
    #[arg(long = "embedding-type", value_enum, value_name = "TYPE")]
    embedding: Option<TypeName>,
    /// The processor that will run it [default: this one]
    #[arg(long = "for", value_enum, value_name = "PROCESSOR")]
    processor: Option<Processor>,
    /// Anti-rollback counter stored in the image
    #[arg(long, default_value_t = 0, value_name = "N")]
    security_counter: u32,
    /// Threads [default: all cores]; the result does not depend on them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    #[command(flatten)]
    reading: SourceArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &QuantizeArgs) -> Result<(), CliError> {
    refuse_same_file(&args.source, &args.out)?;
    if args.out.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf")) {
        return to_gguf(args);
    }
    let stored_as = TypeName::from_str(&args.stored_as, false).map_err(|_| {
        CliError::new(format!(
            "{:?} is not a type of images; there are keep, q4, q4k, q8, f16 and f32 (types of GGUF \
             files need an output that ends in .gguf)",
            args.stored_as
        ))
    })?;
    let model = args.reading.open(&args.source, true)?;
    let keep = stored_as == TypeName::Keep;
    if !keep {
        refuse_quantized_image(&model, &args.source)?;
    }
    let default = match stored_as {
        TypeName::Q4 | TypeName::Q4k => TypeName::Q8,
        other => other,
    };
    let quantization = Quantization {
        layers: stored_as.format(),
        embedding: args.embedding.unwrap_or(default).format(),
        keep,
        five_bits: five_bits_for(args.processor),
        layout: layout_for(args.processor),
    };
    let sections = sections_of(&model, args.security_counter);
    let threads = args.threads.map_or_else(all_cores, usize::from);
    let report = write(&model, &sections, quantization, &args.out, threads)?;
    print_report(&model, &report, args)
}

fn all_cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn to_gguf(args: &QuantizeArgs) -> Result<(), CliError> {
    if args.embedding.is_some() || args.processor.is_some() || args.security_counter != 0 {
        return Err(CliError::new(
            "--embedding-type, --for and --security-counter are for images; leave them out, or give \
             an output that ends in .dmk",
        ));
    }
    let file_type: FileType = args.stored_as.parse().map_err(CliError::new)?;
    let access = if args.reading.no_mmap { Access::Copied } else { Access::Mapped };
    let file = GgufFile::open(&args.source, access).map_err(|error| {
        CliError::new(format!("a GGUF file is written from another GGUF file: {error}"))
    })?;
    let values = file.tensors().map(|tensor| tensor.dimensions().iter().product::<u64>()).sum();
    let bar = ProgressBar::new(values)
        .with_style(ProgressStyle::with_template("{bar:40} {percent} %, {eta} left").problem()?);
    let tensors = requantize(&file, &args.out, file_type, &mut |values| bar.inc(values));
    bar.finish_and_clear();
    print_gguf(&file, &tensors.problem()?, args)
}

fn refuse_quantized_image(model: &LoadedModel, path: &Path) -> Result<(), CliError> {
    match model.image().is_some() && model.is_quantized() {
        true => Err(CliError::new(format!(
            "{} is quantized already; rounding it again would lose more than rounding its source: \
             give the file or folder that it was made from, or --type keep",
            path.display()
        ))),
        false => Ok(()),
    }
}

fn print_report(model: &LoadedModel, report: &Report, args: &QuantizeArgs) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    if args.json {
        let tensors: Vec<_> = report
            .tensors
            .iter()
            .map(|t| {
                json!({
                    "name": label(t.role), "source": model.stored_as(t.role),
                    "format": t.format.name(), "exact": t.is_exact(), "rows": t.rows,
                    "cols": t.cols, "bytes": t.bytes, "rms": t.rms, "rms_error": t.rms_error,
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
            let error = match t.is_exact() {
                true => ["exact".to_owned(), "0".to_owned()],
                false => {
                    [format!("{:.3}", 100.0 * t.relative_error()), format!("{:.5}", t.max_error)]
                }
            };
            let [relative, largest] = error;
            vec![
                label(t.role),
                model.stored_as(t.role).unwrap_or_default().to_owned(),
                t.format.name().to_owned(),
                t.rows.to_string(),
                t.cols.to_string(),
                thousands(t.bytes),
                relative,
                largest,
            ]
        })
        .collect();
    let header = ["tensor", "from", "type", "rows", "cols", "bytes", "error %", "largest error"];
    table::print(&mut out, &header, &rows)?;
    writeln!(out, "\n{}: {} bytes", args.out.display(), thousands(report.image_bytes))?;
    Ok(())
}

fn print_gguf(file: &GgufFile, new: &[NewTensor], args: &QuantizeArgs) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    let bytes = std::fs::metadata(&args.out).problem()?.len();
    let from = |tensor: &NewTensor| file.tensor(&tensor.name).map(|t| t.stored_as().name());
    if args.json {
        let tensors: Vec<_> = new
            .iter()
            .map(|t| {
                json!({
                    "name": t.name, "source": from(t), "type": t.stored_as.name(),
                    "dimensions": t.dimensions, "bytes": t.length(),
                })
            })
            .collect();
        writeln!(out, "{}", json!({ "bytes": bytes, "tensors": tensors }))?;
        return Ok(());
    }
    let rows: Vec<Vec<String>> = new
        .iter()
        .map(|t| {
            vec![
                t.name.clone(),
                from(t).unwrap_or_default().to_owned(),
                t.stored_as.name().to_owned(),
                thousands(t.length().unwrap_or_default()),
            ]
        })
        .collect();
    table::print(&mut out, &["tensor", "from", "type", "bytes"], &rows)?;
    writeln!(out, "\n{}: {} bytes", args.out.display(), thousands(bytes))?;
    Ok(())
}
