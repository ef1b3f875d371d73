//! `demask train-filter`: the network of the learn2pd policy, trained for a model.

use super::image::{refuse_same_file, sections_of, write};
use super::options::{DecodeArgs, Decoding, MachineArgs, ModelArgs};
use super::solve::Solver;
use super::table::thousands;
use super::{CliError, Problem};
use crate::harness::task::{Kind, Task};
use crate::load::LoadedModel;
use crate::runtime::{Memory, Settings};
use crate::train::{Quality, Traces, Training, trace, train};
use clap::Args;
use demask::decode::Needs;
use demask_quant::{FilterData, Quantization, Sections};
use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(super) struct TrainFilterArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Prompts to learn from: JSON lines, as for `demask sweep`; right answers play no part
    #[arg(long, value_name = "FILE")]
    task: PathBuf,
    /// Image to write: the model with the network
    #[arg(long, value_name = "IMAGE")]
    out: PathBuf,
    /// Only N prompts, spread over the file
    #[arg(long, value_name = "N", default_value_t = 1000)]
    limit: usize,
    /// Tokens to generate [default: 56, or what the context has room for]
    #[arg(long, value_name = "N")]
    gen_length: Option<usize>,
    /// Tokens per block, which the network is then made for [default: as for `demask run`]
    #[arg(long, value_name = "N")]
    block_length: Option<usize>,
    /// Hidden units of the network [default: one per token of a block]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    hidden: Option<u16>,
    /// Times that all passes are seen
    #[arg(long, value_name = "N", default_value_t = Training::default().epochs)]
    epochs: usize,
    /// Passes per step of the descent
    #[arg(long, value_name = "N", default_value_t = Training::default().batch)]
    batch: usize,
    /// Learning rate of the first step
    #[arg(long, value_name = "RATE", default_value_t = Training::default().rate)]
    rate: f32,
    /// Probability above which a proposal counts as accepted in what is reported
    #[arg(long, value_name = "P", default_value_t = Training::default().threshold)]
    threshold: f32,
    /// Seed of the first weights and of the order of the passes
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    machine: MachineArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl TrainFilterArgs {
    fn training(&self) -> Result<Training, CliError> {
        if !(self.rate > 0.0 && self.rate <= 1.0) {
            return Err(CliError::new("--rate must lie above 0 and be at most 1"));
        }
        if !(0.0..=1.0).contains(&self.threshold) {
            return Err(CliError::new("--threshold must lie between 0 and 1"));
        }
        Ok(Training {
            hidden: self.hidden.map(usize::from),
            epochs: self.epochs,
            batch: self.batch,
            rate: self.rate,
            seed: self.seed,
            threshold: self.threshold,
        })
    }
}

pub(super) fn run(args: &TrainFilterArgs) -> Result<(), CliError> {
    refuse_same_file(&args.model.model, &args.out)?;
    let training = args.training()?;
    let task = Task::load(&args.task).problem()?;
    if matches!(task.kind(), Kind::Gaps | Kind::Texts) {
        return Err(CliError::new(
            "the lines of this task have no prompts; give lines with prompts, utterances or lists",
        ));
    }
    let model = args.model.open()?;
    if !model.is_quantized() || args.model.round_to.is_some() {
        return Err(CliError::new(
            "a filter belongs to the quantized weights that it is used with; write an image with \
             `demask quantize --type q8` first, and train for that",
        ));
    }
    let traces = trace_all(&model, &task, args)?;
    let bar = progress(training.epochs as u64, "{bar:40} epoch {pos}/{len}, {eta} left  {msg}")?;
    let (filter, quality) = train(&traces, &training, |_, quality| {
        bar.set_message(format!("held-out loss {:.4}", quality.loss));
        bar.inc(1);
    });
    bar.finish_and_clear();
    if filter.view().is_err() {
        return Err(CliError::new("the descent has diverged; give a smaller --rate"));
    }
    let bytes = store(&model, &filter, args)?;
    let passes = traces.iter().map(Traces::len).sum();
    print(args, &filter, &quality, (traces.len(), passes), bytes)
}

fn progress(len: u64, style: &str) -> Result<ProgressBar, CliError> {
    Ok(ProgressBar::new(len).with_style(ProgressStyle::with_template(style).problem()?))
}

/// One trace per prompt, each made on one thread.
fn trace_all(
    model: &LoadedModel,
    task: &Task,
    args: &TrainFilterArgs,
) -> Result<Vec<Traces>, CliError> {
    let runtime = args.model.runtime(model)?;
    let solver = Solver { model, runtime: &runtime, kernels: args.machine.kernels };
    let (gen_length, block_length) = (args.gen_length, args.block_length);
    let decode = DecodeArgs { gen_length, block_length, ..DecodeArgs::default() };
    let count = task.len().min(args.limit);
    if count == 0 {
        return Err(CliError::new("--limit 0 leaves nothing to learn from; give a larger number"));
    }
    let prepare = |number: usize| {
        // Files are often sorted: the first ones may all be of one kind.
        let at = number * task.len() / count;
        let named = |problem| CliError::new(format!("prompt {} of the task: {problem}", at + 1));
        solver.prepare(&task.prompt(at), &decode).map_err(named)
    };
    // All of them before the first is decoded: who waits for minutes wants no refusal then.
    let prompts = (0..count).map(prepare).collect::<Result<Vec<_>, _>>()?;
    let block = |prompt: &(Vec<u32>, Decoding)| prompt.1.options.block_length;
    if prompts.iter().any(|prompt| block(prompt) != block(&prompts[0])) {
        return Err(CliError::new(
            "some prompts leave room for shorter blocks only; give --gen-length and --block-length",
        ));
    }
    let bar = progress(count as u64, "{bar:40} {pos}/{len} prompts, {eta} left")?;
    let threads = args.machine.threads();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().problem()?;
    let one = |(ids, decoding): &(Vec<u32>, Decoding)| {
        let settings =
            Settings { needs: Needs::BLOCK_ROWS, ..decoding.settings(1, solver.kernels) };
        let mut memory = Memory::default();
        let mut network = runtime.network(&settings, &mut memory).problem()?;
        let traces = trace(&mut *network, ids, decoding.length, decoding.options).problem();
        bar.inc(1);
        traces
    };
    let traces = pool.install(|| prompts.par_iter().map(one).collect());
    bar.finish_and_clear();
    traces
}

/// Writes the model with the network; the length of the image.
fn store(
    model: &LoadedModel,
    filter: &FilterData,
    args: &TrainFilterArgs,
) -> Result<u64, CliError> {
    let image = model.image();
    let counter = image.map_or(0, |image| image.header().security_counter);
    let layout = image.map(|image| image.layout()).unwrap_or_default();
    let sections = Sections { filter: Some(filter.clone()), ..sections_of(model, counter) };
    let threads = args.machine.threads();
    Ok(write(&model.weights(), &sections, Quantization::keep(layout), &args.out, threads)?
        .image_bytes)
}

fn print(
    args: &TrainFilterArgs,
    filter: &FilterData,
    quality: &Quality,
    (prompts, passes): (usize, usize),
    bytes: u64,
) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    let FilterData { block, hidden, numbers } = filter;
    let Quality { loss, precision, recall } = quality;
    if args.json {
        let value = json!({
            "bytes": bytes, "block": block, "hidden": hidden, "numbers": numbers.len(),
            "prompts": prompts, "passes": passes, "threshold": args.threshold,
            "held_out": { "loss": loss, "precision": precision, "recall": recall },
        });
        writeln!(out, "{value}")?;
        return Ok(());
    }
    writeln!(out, "{passes} passes over {prompts} prompts, one prompt of ten held out")?;
    writeln!(
        out,
        "network     blocks of {block}, {hidden} hidden units, {} numbers",
        numbers.len()
    )?;
    writeln!(out, "loss        {loss:.4} nats")?;
    writeln!(out, "precision   {:.2} % above {}", 100.0 * precision, args.threshold)?;
    writeln!(out, "recall      {:.2} %", 100.0 * recall)?;
    writeln!(out, "{}: {} bytes", args.out.display(), thousands(bytes))?;
    Ok(())
}
