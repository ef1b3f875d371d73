//! `demask quantize`: any model to an image, or a GGUF file to another.

mod budget;
mod calibrated;
mod options;
mod report;

use super::image::{refuse_same_file, sections_of, write};
use super::options::SourceArgs;
use super::processor::{Processor, five_bits_for, layout_for};
use super::{CliError, Problem};
use crate::load::LoadedModel;
use crate::mmap::Access;
use crate::read::gguf::GgufFile;
use crate::write::requantize::{FileType, requantize};
use clap::{Args, ValueEnum};
use demask::packed::Format;
use demask_quant::Quantization;
use indicatif::{ProgressBar, ProgressStyle};
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

    /// The embedding's type when none is asked for.
    fn of_embedding(self) -> Self {
        match self {
            Self::Q4 | Self::Q4k => Self::Q8,
            other => other,
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
    calibration: options::CalibrationArgs,
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
    args.calibration.check()?;
    let model = args.reading.open(&args.source, true)?;
    if args.calibration.is_used() {
        refuse_quantized_image(&model, &args.source)?;
        return calibrated::run(args, &model, stored_as);
    }
    let keep = stored_as == TypeName::Keep;
    if !keep {
        refuse_quantized_image(&model, &args.source)?;
    }
    let quantization = Quantization {
        layers: stored_as.format(),
        embedding: args.embedding.unwrap_or(stored_as.of_embedding()).format(),
        keep,
        five_bits: five_bits_for(args.processor),
        layout: layout_for(args.processor),
    };
    let sections = sections_of(&model, args.security_counter);
    let threads = args.threads.map_or_else(all_cores, usize::from);
    let report = write(&model.weights(), &sections, quantization, &args.out, threads)?;
    report::print(&model, &report, &Default::default(), args)
}

fn all_cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn to_gguf(args: &QuantizeArgs) -> Result<(), CliError> {
    if args.calibration.is_used() {
        return Err(CliError::new(
            "calibration, rotation and budgets are for images; leave them out, or give an output that \
             ends in .dmk",
        ));
    }
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
    report::print_gguf(&file, &tensors.problem()?, args)
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
