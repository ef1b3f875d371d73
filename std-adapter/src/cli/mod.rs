//! The `demask` command: what it takes, and which module does it.

mod answers;
mod bench;
mod chat;
mod compare;
mod device_check;
mod eval;
mod html;
mod image;
mod infill;
mod inspect;
mod lists;
pub mod live;
mod logits;
pub mod options;
mod outcome;
mod pack;
mod plan;
mod policies;
mod processor;
mod quantize;
mod run;
mod solve;
mod sweep;
mod table;
mod texts;
mod tokenize;
mod train_filter;

use clap::{Parser, Subcommand};
use std::fmt;
use std::io;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  demask                                            watch the bundled model fill a canvas
  demask \"book a table for two in boston\"           the same with your own words
  demask run intents --prompt \"play some jazz\" --json
  demask run intents --prompt \"play some jazz\" --threshold 0.9
  demask chat model.gguf --system \"Answer in one sentence.\"
  demask infill intents --text '<|user|> [MASK:8]<|json|>{\"intent\":\"PlayMusic\",\"artist\":\"weezer\"}'
  demask quantize path/to/hf-folder model.dmk --type q4
  demask quantize path/to/hf-folder model.dmk --type q4 --method gptq --calibrate texts.jsonl
  demask quantize model-f16.gguf model-q4_k_m.gguf --type q4_k_m
  demask pack model.gguf model.dmk
  demask pack model.dmk model-m4.dmk --for cortex-m4
  demask eval model.dmk --task valid.jsonl --budget frame>=85
  demask compare model-f32 model.dmk --task valid.jsonl --report report.html --budget kl<=0.02
  demask lists --lengths 3-8 --count 40 > lists.jsonl
  demask policies
  demask run intents --prompt \"play some jazz\" --policy threshold:p=0.8 --cache none --explain
  demask sweep intents --task valid.jsonl --policies threshold:0.9 threshold:0.7 --caches none dual
  demask train-filter intents --task train.jsonl --out intents-learn2pd.dmk
  demask tokenize intents --text \"play some jazz\"
  demask plan model.dmk --canvas 96 --tile 8
  demask device-check model.dmk --log uart.txt
";

/// Masked-diffusion language models: the same answer, bit for bit, on every target.
#[derive(Debug, Parser)]
#[command(
    name = "demask",
    version,
    after_help = EXAMPLES,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true
)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// What the bundled model should answer, if no command is given
    prompt: Option<String>,
    #[command(flatten)]
    output: options::OutputArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer a prompt, showing the canvas as it unmasks
    Run(run::RunArgs),
    /// Talk with a model
    Chat(chat::ChatArgs),
    /// Fill the gaps of a text, wherever they are
    Infill(infill::InfillArgs),
    /// Score a model on a task
    Eval(eval::EvalArgs),
    /// Measure how far a build of a model is from another one
    Compare(compare::CompareArgs),
    /// Write list tasks with known answers
    Lists(lists::ListsArgs),
    /// Compare ways of decoding on a task
    Sweep(sweep::SweepArgs),
    /// Show what is in a model
    Inspect(inspect::InspectArgs),
    /// Write an image, or another GGUF file, with weights of another type
    Quantize(quantize::QuantizeArgs),
    /// Write an image that a processor runs where it lies
    Pack(pack::PackArgs),
    /// Train the network of the learn2pd policy for a model, and write an image with it
    TrainFilter(train_filter::TrainFilterArgs),
    /// List the policies, schedules, cache plans and end rules
    Policies(policies::PoliciesArgs),
    /// Count the bytes of memory and flash that a model needs
    Plan(plan::PlanArgs),
    /// Show the tokens of a text, or the text of tokens
    Tokenize(tokenize::TokenizeArgs),
    /// Write the logits of every position to a .npy file
    Logits(logits::LogitsArgs),
    /// Time forward passes and a whole decode
    Bench(bench::BenchArgs),
    /// Compare what a device printed with the same decode here
    DeviceCheck(Box<device_check::DeviceCheckArgs>),
}

/// An error with its advice in one sentence.
#[derive(Debug)]
pub struct CliError {
    message: String,
    /// The reader of our output has gone: nothing to report.
    broken_pipe: bool,
}

impl CliError {
    /// An error of the command line itself.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), broken_pipe: false }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        let broken_pipe = error.kind() == io::ErrorKind::BrokenPipe;
        Self { message: format!("cannot write the output: {error}"), broken_pipe }
    }
}

/// Any error, as a [`CliError`].
pub trait Problem<T> {
    /// Keeps the value or the error's message.
    ///
    /// # Errors
    /// The error's message.
    fn problem(self) -> Result<T, CliError>;
}

impl<T, E: fmt::Display> Problem<T> for Result<T, E> {
    fn problem(self) -> Result<T, CliError> {
        self.map_err(|error| CliError::new(error.to_string()))
    }
}

/// Runs the command line. Returns 0, 1 for a failure, or 2 for a command line that makes no sense.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        None => run::demo(cli.prompt, cli.output),
        Some(Command::Run(args)) => run::run(&args),
        Some(Command::Chat(args)) => chat::run(&args),
        Some(Command::Infill(args)) => infill::run(&args),
        Some(Command::Eval(args)) => eval::run(&args),
        Some(Command::Compare(args)) => compare::run(&args),
        Some(Command::Lists(args)) => lists::run(&args),
        Some(Command::Sweep(args)) => sweep::run(&args),
        Some(Command::Inspect(args)) => inspect::run(&args),
        Some(Command::Quantize(args)) => quantize::run(&args),
        Some(Command::Pack(args)) => pack::run(&args),
        Some(Command::TrainFilter(args)) => train_filter::run(&args),
        Some(Command::Policies(args)) => policies::run(&args),
        Some(Command::Plan(args)) => plan::run(&args),
        Some(Command::Tokenize(args)) => tokenize::run(&args),
        Some(Command::Logits(args)) => logits::run(&args),
        Some(Command::Bench(args)) => bench::run(&args),
        Some(Command::DeviceCheck(args)) => device_check::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.broken_pipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demask: {error}");
            ExitCode::FAILURE
        }
    }
}
