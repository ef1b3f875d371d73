//! `demask compare`: how far a build of a model is from another one, on the same masks.
//!
//! | module | what it does |
//! |---|---|
//! | `measure` | distributions, likelihoods and decodes of both |
//! | `report` | all of it in numbers and sentences |
//! | `page` | all of it as one HTML page |

mod measure;
mod page;
mod report;

use super::image::refuse_same_file;
use super::options::{DecodeArgs, MachineArgs, ModelArgs, RoundTo, SourceArgs};
use super::texts::BoundArgs;
use super::{CliError, Problem};
use crate::atomic::{check_place, write_atomic_bytes};
use crate::harness::budget::Budget;
use crate::harness::task::{Kind, Task};
use crate::load::LoadedModel;
use clap::Args;
use measure::{Build, Comparer};
use report::{About, Named, Report};
use std::io::Write;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub(super) struct CompareArgs {
    /// What to compare with, such as the f32 folder: image, GGUF file, folder, or `intents`
    a: PathBuf,
    /// What is compared, such as a quantized image of the same model
    b: PathBuf,
    /// JSON lines: utterances with frames, prompts with answers, lists, texts with gaps, or texts
    #[arg(long, value_name = "FILE")]
    task: PathBuf,
    /// Only the first N items
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Round the weights of the first model to this type while loading
    #[arg(long, value_enum, value_name = "TYPE")]
    type_a: Option<RoundTo>,
    /// Round the weights of the second model to this type while loading
    #[arg(long, value_enum, value_name = "TYPE")]
    type_b: Option<RoundTo>,
    /// Leave out decoding, and with it scores and trajectories
    #[arg(long)]
    no_decode: bool,
    #[command(flatten)]
    bound: BoundArgs,
    /// Fail if a number is beyond a limit, such as kl<=0.02 or same_top>=97; may be given several times
    #[arg(long = "budget", value_name = "NAME<=NUMBER")]
    budgets: Vec<Budget>,
    /// Write all numbers to this file as JSON; - prints them
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write one HTML page that needs nothing from elsewhere
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Skip the digests of very large images
    #[arg(long)]
    no_verify: bool,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    decode: DecodeArgs,
    #[command(flatten)]
    machine: MachineArgs,
}

impl CompareArgs {
    /// The file that numbers go to, unless they are printed.
    fn json_file(&self) -> Option<&Path> {
        self.json.as_deref().filter(|path| *path != Path::new("-"))
    }

    /// All files to write.
    fn files(&self) -> impl Iterator<Item = &Path> {
        self.json_file().into_iter().chain(self.report.as_deref())
    }

    fn model(&self, path: &Path, round_to: Option<RoundTo>) -> ModelArgs {
        let (no_verify, source) = (self.no_verify, self.source.clone());
        ModelArgs { model: path.to_owned(), round_to, no_verify, source }
    }
}

pub(super) fn run(args: &CompareArgs) -> Result<(), CliError> {
    let task = Task::load(&args.task).problem()?.first(args.limit.unwrap_or(usize::MAX));
    if task.is_empty() {
        return Err(CliError::new("--limit 0 leaves nothing to measure; give a larger number"));
    }
    let decodes = !args.no_decode && task.kind() != Kind::Texts;
    Budget::check_names(&args.budgets, &report::names(&task, decodes)).map_err(CliError::new)?;
    for path in args.files() {
        refuse_same_file(&args.task, path)?;
        check_place(path).problem()?;
    }
    let [a, b] = [(&args.a, args.type_a), (&args.b, args.type_b)]
        .map(|(path, round_to)| args.model(path, round_to));
    let (model_a, model_b) = (a.open()?, b.open()?);
    refuse_strangers(&model_a, &model_b)?;
    let (runtime_a, runtime_b) = (a.runtime(&model_a)?, b.runtime(&model_b)?);
    let threads = args.machine.threads();
    let comparer = Comparer {
        builds: [
            Build { model: &model_a, runtime: &runtime_a },
            Build { model: &model_b, runtime: &runtime_b },
        ],
        task: &task,
        bound: &args.bound,
        decode: &args.decode,
        kernels: args.machine.kernels,
        pool: rayon::ThreadPoolBuilder::new().num_threads(threads).build().problem()?,
    };
    let about = About {
        a: Named::of(&a, name(&args.a, &args.b), &model_a)?,
        b: Named::of(&b, name(&args.b, &args.a), &model_b)?,
        task: file_name(&args.task),
        kind: task.kind(),
        items: task.len(),
        draws: args.bound.draws,
        seed: args.decode.seed,
        method: match decodes {
            true => Some(comparer.method()?),
            false => None,
        },
    };
    let texts = comparer.distributions()?;
    let decoded = match decodes {
        true => Some(comparer.decodes()?),
        false => None,
    };
    let report = Report { about, texts, decoded };
    publish(args, &report)?;
    let missed = Budget::missed(&args.budgets, &report.numbers());
    missed.map_or(Ok(()), |missed| Err(CliError::new(missed)))
}

/// Two models can only be told apart on the same tokens.
fn refuse_strangers(a: &LoadedModel, b: &LoadedModel) -> Result<(), CliError> {
    let of = |model: &LoadedModel| {
        let config = model.config();
        (
            config.vocab_size,
            config.mask_id,
            config.eos_id,
            model.tokenizer_section().map(<[u8]>::to_vec),
        )
    };
    let reason = if of(a) != of(b) {
        "vocabularies"
    } else if a.config().features.attention != b.config().features.attention {
        "attention masks"
    } else if a.config().features.shifted_logits != b.config().features.shifted_logits {
        "ways to read logits"
    } else {
        return Ok(());
    };
    Err(CliError::new(format!(
        "the two models have different {reason}, so that their rows are not about the same thing; give two \
         builds of one model, or score each with `demask eval`"
    )))
}

/// A file that cannot be written takes nothing else with it: what was measured may have taken hours.
fn publish(args: &CompareArgs, report: &Report) -> Result<(), CliError> {
    let json = format!("{}\n", report.json().problem()?);
    let write = |path: &Path, text: &str| write_atomic_bytes(path, text.as_bytes()).problem();
    let written = [
        args.json_file().map(|path| write(path, &json)),
        args.report.as_deref().map(|path| write(path, &page::write(report))),
    ];
    let mut out = std::io::stdout().lock();
    match args.json.is_some() && args.json_file().is_none() {
        true => out.write_all(json.as_bytes())?,
        false => report.print(&mut out)?,
    }
    written.into_iter().flatten().collect()
}

/// The name of a file, or its whole path if the other one has the same name.
fn name(path: &Path, other: &Path) -> String {
    let short = file_name(path);
    if short == file_name(other) && path != other { path.display().to_string() } else { short }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).display().to_string()
}
