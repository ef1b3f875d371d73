//! Options that several commands share, spelled the same everywhere.

mod decode;
mod decoding;

pub use decode::DecodeArgs;
pub use decoding::Decoding;

use super::live::{ColorChoice, Style};
use super::{CliError, Problem};
use crate::detect::Choice;
use crate::load::{LoadOptions, LoadedModel};
use crate::mmap::Access;
use crate::read::gguf::GgufOptions;
use crate::runtime::{Held, Runtime, Settings};
use clap::{Args, ValueEnum};
use demask::decode::Needs;
use demask::image::Architecture;
use demask::packed::Format;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::{Path, PathBuf};

/// Formats that weights can be rounded to while a model is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RoundTo {
    /// 4.5 bits per weight, embedding and head in Q8
    Q4,
    /// 4.6 bits per weight with minima, embedding and head in Q8
    Q4k,
    /// 8.5 bits per weight
    Q8,
}

/// Which model, and how it is opened.
#[derive(Debug, Clone, Args)]
pub struct ModelArgs {
    /// Image (.dmk), GGUF file, Hugging Face folder, or `intents` for the bundled model
    pub model: PathBuf,
    /// Round the weights to this type while loading [default: as they are stored; f32, f16 and bf16
    /// run in the float reference, which is slow]
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    pub round_to: Option<RoundTo>,
    /// Skip the digests of a very large image
    #[arg(long)]
    pub no_verify: bool,
    /// How its files are read.
    #[command(flatten)]
    pub source: SourceArgs,
}

/// How the files of a model are read.
#[derive(Debug, Clone, Default, Args)]
pub struct SourceArgs {
    /// Copy files into memory instead of mapping them: safe where they may change or shrink meanwhile
    #[arg(long)]
    pub no_mmap: bool,
    /// Family of a GGUF file that does not tell: fast-dllm-v2, sdar, dream, ...
    #[arg(long, value_name = "NAME", value_parser = family)]
    pub family: Option<Architecture>,
    /// Tokens per block of the attention of a block-causal model in a GGUF file
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub attention_block: Option<u32>,
}

fn family(name: &str) -> Result<Architecture, String> {
    let found = Architecture::ALL.into_iter().find(|family| family.name() == name);
    found.ok_or_else(|| {
        format!("there are {}", Architecture::ALL.map(Architecture::name).join(", "))
    })
}

impl SourceArgs {
    /// Opens a model.
    ///
    /// # Errors
    /// [`LoadError`](crate::load::LoadError) as a [`CliError`].
    pub fn open(&self, path: &Path, verify: bool) -> Result<LoadedModel, CliError> {
        let access = if self.no_mmap { Access::Copied } else { Access::Mapped };
        let gguf = GgufOptions { family: self.family, block_length: self.attention_block };
        LoadedModel::open_as(path, &LoadOptions { verify, access, gguf }).problem()
    }
}

impl ModelArgs {
    /// Opens the model.
    ///
    /// # Errors
    /// [`LoadError`](crate::load::LoadError) as a [`CliError`].
    pub fn open(&self) -> Result<LoadedModel, CliError> {
        let model = self.source.open(&self.model, !self.no_verify)?;
        let packed = model.image().is_some_and(|_| model.is_quantized());
        if packed && self.round_to.is_some() {
            return Err(CliError::new(format!(
                "{} is quantized already, and rounding it again would lose more than rounding its \
                 source; leave --type out, or give the model that it was made from",
                self.model.display()
            )));
        }
        Ok(model)
    }

    /// How its weights are held.
    #[must_use]
    pub fn held(&self) -> Held {
        match self.round_to {
            None => Held::AsStored,
            Some(RoundTo::Q4) => Held::Rounded(Format::Q4),
            Some(RoundTo::Q4k) => Held::Rounded(Format::Q4K),
            Some(RoundTo::Q8) => Held::Rounded(Format::Q8),
        }
    }

    /// The model made ready. Packing shows a progress bar, if standard error is a terminal.
    ///
    /// # Errors
    /// [`RuntimeError`](crate::runtime::RuntimeError) as a [`CliError`].
    pub fn runtime<'m>(&self, model: &'m LoadedModel) -> Result<Runtime<'m>, CliError> {
        let style = "packing {bar:40} {bytes}/{total_bytes}, {eta} left";
        let style = ProgressStyle::with_template(style).problem()?;
        let bar = ProgressBar::new(0).with_style(style);
        let progress = move |done, all| {
            bar.set_length(all);
            bar.set_position(done);
            if done == all {
                bar.finish_and_clear();
            }
        };
        Runtime::held(model, self.held(), Box::new(progress)).problem()
    }
}

/// What of the machine is used. The result depends on none of it.
#[derive(Debug, Clone, Default, Args)]
pub struct MachineArgs {
    /// Threads [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: Option<u16>,
    /// Instruction set: auto, scalar, avx2, avx-vnni, avx512-vnni, amx, neon, dotprod, i8mm
    #[arg(long, value_name = "NAME", default_value_t)]
    pub kernels: Choice,
}

impl MachineArgs {
    /// Settings for canvases of up to `canvas` tokens and policies that need nothing.
    #[must_use]
    pub fn settings(&self, canvas: usize) -> Settings {
        Settings { canvas, threads: self.threads(), kernels: self.kernels, needs: Needs::NONE }
    }

    /// The number of threads asked for, or the number of cores.
    #[must_use]
    pub fn threads(&self) -> usize {
        match self.threads {
            Some(n) => usize::from(n),
            None => std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// What is printed.
#[derive(Debug, Clone, Args)]
pub struct OutputArgs {
    /// Print one JSON object and nothing else
    #[arg(long)]
    pub json: bool,
    /// Print times and memory to standard error
    #[arg(long)]
    pub stats: bool,
    /// One line per step, no colours, no redrawing
    #[arg(long)]
    pub plain: bool,
    /// Colours [default: if standard output is a terminal and NO_COLOR is not set]
    #[arg(long, value_enum, default_value_t = ColorChoice::Auto)]
    pub color: ColorChoice,
}

impl OutputArgs {
    /// How the canvas is shown while it is decoded.
    #[must_use]
    pub fn style(&self) -> Style {
        Style::choose(self.plain, self.json, self.color)
    }
}
