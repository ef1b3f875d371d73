//! `demask run`, and the demo.

use super::live::{LiveView, Style};
use super::options::{DecodeArgs, Decoding, MachineArgs, ModelArgs, OutputArgs};
use super::outcome::Outcome;
use super::{CliError, Problem};
use crate::load::LoadedModel;
use crate::methods::{AnyCache, AnyEos, AnyPolicy, AnySchedule};
use crate::prompt;
use crate::runtime::{Memory, Network, Runtime};
use clap::Args;
use demask::text::Tokenizer;
use demask::{Session, SessionMemory};
use std::time::{Duration, Instant};

/// What the bundled model answers when nothing is asked.
const DEMO_PROMPT: &str = "will it be cold in denver next week";
/// Long enough to follow with the eye.
const DEMO_FRAME: Duration = Duration::from_millis(60);

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// What the model should answer
    #[arg(long, value_name = "TEXT")]
    prompt: String,
    /// Take the prompt as it is: no template, special tokens may be spelled out
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    decode: DecodeArgs,
    #[command(flatten)]
    machine: MachineArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// The vocabulary, or the reason why there is no text.
pub(super) fn tokenizer_of(model: &LoadedModel) -> Result<Tokenizer<'_>, CliError> {
    model.tokenizer().ok_or_else(|| {
        CliError::new(
            "the model has no tokenizer; write its image from a folder with tokenizer.json",
        )
    })
}

pub(super) fn run(args: &RunArgs) -> Result<(), CliError> {
    let opened = Instant::now();
    let model = args.model.open()?;
    let tokenizer = tokenizer_of(&model)?;
    let ids = match args.raw {
        true => prompt::ids_with_specials(&tokenizer, &args.prompt),
        false => prompt::encode(model.prompt(), &tokenizer, &args.prompt),
    };
    let runtime = args.model.runtime(&model)?;
    let job = Job {
        model: &model,
        runtime: &runtime,
        opened,
        prompt: ids.problem()?,
        frame: Duration::ZERO,
        machine: args.machine.clone(),
    };
    answer(&job, &args.decode, &args.output)
}

/// The demo: the bundled model on one prompt, slow enough to watch.
pub(super) fn demo(text: Option<String>, output: OutputArgs) -> Result<(), CliError> {
    let opened = Instant::now();
    let model = LoadedModel::bundled(true).problem()?;
    let tokenizer = tokenizer_of(&model)?;
    let text = text.unwrap_or_else(|| DEMO_PROMPT.into());
    let prompt = prompt::encode(model.prompt(), &tokenizer, &text).problem()?;
    let runtime = Runtime::new(&model).problem()?;
    let machine = MachineArgs::default();
    let job = Job { model: &model, runtime: &runtime, opened, prompt, frame: DEMO_FRAME, machine };
    answer(&job, &DecodeArgs::default(), &output)
}

/// One prompt to answer.
struct Job<'a> {
    model: &'a LoadedModel,
    runtime: &'a Runtime<'a>,
    opened: Instant,
    prompt: Vec<u32>,
    /// Least time that a frame of the live view stays.
    frame: Duration,
    machine: MachineArgs,
}

fn answer(job: &Job<'_>, decode: &DecodeArgs, output: &OutputArgs) -> Result<(), CliError> {
    let tokenizer = tokenizer_of(job.model)?;
    let decoding = decode.decoding(job.model, job.prompt.len())?;
    decode.announce(&decoding);
    let mut memory = Memory::default();
    let settings = decoding.settings(job.machine.threads(), job.machine.kernels);
    let mut network = job.runtime.network(&settings, &mut memory).problem()?;
    let mut outcome = Outcome::of(&*network, job.opened.elapsed(), job.prompt.len());
    with_session(&mut *network, &decoding, |session| {
        session.begin(&job.prompt, decoding.length, decoding.options).problem()?;
        let view = live_view(&tokenizer, job.model, output.style(), &decoding, job.frame);
        let gone = outcome.run(session, view)?;
        outcome.take_answer((job.model, &tokenizer), &decoding, session, &gone);
        Ok(())
    })?;
    outcome.print(output)
}

pub(super) fn live_view<'t>(
    tokenizer: &Tokenizer<'t>,
    model: &LoadedModel,
    style: Style,
    decoding: &Decoding,
    frame: Duration,
) -> LiveView<'t, std::io::Stdout> {
    let (vocabulary, steps) = (model.config().into(), decoding.steps_planned());
    let view = LiveView::new(std::io::stdout(), style, tokenizer, vocabulary, steps, frame);
    view.of_method(decoding.choice.policy.names(), decoding.choice.cache.names())
}

/// A session with everything chosen at run time.
pub(super) type AnySession<'s, 'n> = Session<
    's,
    &'s mut (dyn Network + 'n),
    AnyPolicy<'s>,
    AnySchedule<'s>,
    AnyEos<'s>,
    AnyCache<'s>,
>;

/// Builds a session around a network and lends it to `work`.
pub(super) fn with_session<'n, R>(
    network: &mut (dyn Network + 'n),
    decoding: &Decoding,
    work: impl FnOnce(&mut AnySession<'_, 'n>) -> Result<R, CliError>,
) -> Result<R, CliError> {
    let mut memory = Memory::for_session(decoding.canvas).problem()?;
    let memory = SessionMemory::carve(memory.bytes(), decoding.canvas).problem()?;
    let mut parts = decoding.memory()?;
    let mut session = Session::new(network, memory, decoding.method(&mut parts)?);
    work(&mut session)
}
