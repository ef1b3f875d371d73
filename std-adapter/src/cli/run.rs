//! `demask run`, and the demo.

use super::live::LiveView;
use super::options::{
    AnyCache, AnyMethod, AnyPolicy, DecodeArgs, MachineArgs, ModelArgs, OutputArgs,
};
use super::{CliError, Problem};
use crate::load::LoadedModel;
use crate::prompt;
use crate::runtime::{Memory, Network, Runtime};
use clap::Args;
use demask::text::{Specials, Tokenizer};
use demask::{Checksum, Session, SessionMemory};
use serde::Serialize;
use std::io::Write;
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

/// What a decode came to.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    /// The answer, up to its end token.
    pub(super) text: String,
    /// Every generated token, end tokens included.
    pub(super) tokens: Vec<u32>,
    /// Forward passes.
    pub(super) forwards: u32,
    /// Checksum over all scores and commits, 16 hexadecimal digits.
    pub(super) checksum: String,
    /// Wall time of decoding.
    pub(super) seconds: f64,
    /// Tokens of the prompt, template included.
    pub(super) prompt_tokens: usize,
    /// Arithmetic that was used.
    pub(super) kernels: &'static str,
}

impl Outcome {
    /// Reads the result of a finished session.
    pub(super) fn new(
        tokenizer: &Tokenizer<'_>,
        (generated, answer): (&[u32], &[u32]),
        (forwards, checksum): (u32, Checksum),
        started: Instant,
        prompt_tokens: usize,
        kernels: &'static str,
    ) -> Self {
        Self {
            text: prompt::decode(tokenizer, answer, Specials::Skip),
            tokens: generated.to_vec(),
            forwards,
            checksum: checksum.to_string(),
            seconds: started.elapsed().as_secs_f64(),
            prompt_tokens,
            kernels,
        }
    }

    /// Prints JSON, or the text where no live view has shown it.
    pub(super) fn print(&self, output: &OutputArgs) -> Result<(), CliError> {
        let mut out = std::io::stdout().lock();
        if output.json {
            writeln!(out, "{}", serde_json::to_string(self).problem()?)?;
        } else {
            writeln!(out, "{}", self.text)?;
        }
        Ok(())
    }
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
    let model = args.model.open()?;
    let tokenizer = tokenizer_of(&model)?;
    let ids = match args.raw {
        true => prompt::ids_with_specials(&tokenizer, &args.prompt),
        false => prompt::encode(model.prompt(), &tokenizer, &args.prompt),
    };
    let job = Job { prompt: ids.problem()?, frame: Duration::ZERO, machine: args.machine.clone() };
    answer(&model, &job, &args.decode, &args.output)
}

/// The demo: the bundled model on one prompt, slow enough to watch.
pub(super) fn demo(text: Option<String>, output: OutputArgs) -> Result<(), CliError> {
    let model = LoadedModel::bundled(true).problem()?;
    let tokenizer = tokenizer_of(&model)?;
    let text = text.unwrap_or_else(|| DEMO_PROMPT.into());
    let ids = prompt::encode(model.prompt(), &tokenizer, &text).problem()?;
    let decode = DecodeArgs {
        gen_length: None,
        block_length: None,
        steps: None,
        seed: 0,
        temperature: 0.0,
        policy: None,
        threshold: None,
        cache: None,
        canvas: None,
        pin: None,
        eos: super::options::EosName::Stop,
    };
    answer(
        &model,
        &Job { prompt: ids, frame: DEMO_FRAME, machine: MachineArgs::default() },
        &decode,
        &output,
    )
}

/// One prompt to answer.
struct Job {
    prompt: Vec<u32>,
    /// Least time that a frame of the live view stays.
    frame: Duration,
    machine: MachineArgs,
}

fn answer(
    model: &LoadedModel,
    job: &Job,
    decode: &DecodeArgs,
    output: &OutputArgs,
) -> Result<(), CliError> {
    let tokenizer = tokenizer_of(model)?;
    let context = model.config().context as usize;
    let length = decode.length(job.prompt.len(), context);
    let canvas = decode.canvas(model.config(), job.prompt.len(), length)?;
    let options = decode.options(model.config(), job.prompt.len(), length);
    let method = decode.method(model.config(), &options, length)?;
    let runtime = Runtime::new(model).problem()?;
    let mut memory = Memory::default();
    let settings = job.machine.settings(canvas);
    let mut network = runtime.network(&settings, &mut memory).problem()?;
    let kernels = network.kernels();
    let outcome = with_session(&mut *network, canvas, method, |session| {
        session.begin(&job.prompt, length, options).problem()?;
        let started = Instant::now();
        let mut view =
            live_view(&tokenizer, model, output, decode.steps_planned(&options), job.frame);
        view.begin(session.canvas());
        session.run(&mut view).problem()?;
        view.finish()?;
        Ok(Outcome::new(
            &tokenizer,
            (session.generated(), session.answer()),
            (session.forwards(), session.checksum()),
            started,
            job.prompt.len(),
            kernels,
        ))
    })?;
    outcome.print(output)
}

pub(super) fn live_view<'t>(
    tokenizer: &Tokenizer<'t>,
    model: &LoadedModel,
    output: &OutputArgs,
    steps: usize,
    frame: Duration,
) -> LiveView<'t, std::io::Stdout> {
    let c = model.config();
    let vocabulary =
        demask::Vocabulary { size: c.vocab_size, mask_id: c.mask_id, eos_id: c.eos_id };
    let (out, style) = (std::io::stdout(), output.style());
    LiveView::new(out, style, tokenizer, vocabulary, steps, frame)
}

/// Length of the canvas, or advice if the model has no room for it.
pub(super) fn canvas_size(prompt: usize, length: usize, context: usize) -> Result<usize, CliError> {
    let canvas = prompt.saturating_add(length);
    if canvas > context {
        return Err(CliError::new(format!(
            "the prompt has {prompt} tokens and {length} are to be generated, but the model's \
             context is {context} tokens; shorten the prompt or lower --gen-length"
        )));
    }
    Ok(canvas.max(1))
}

/// A session with everything chosen at run time.
pub(super) type AnySession<'s, 'n> = Session<
    's,
    &'s mut (dyn Network + 'n),
    AnyPolicy,
    demask::decode::Even,
    &'static (dyn demask::decode::EosPolicy + Sync),
    AnyCache,
>;

/// Builds a session around a network and lends it to `work`.
pub(super) fn with_session<'n, R>(
    network: &mut (dyn Network + 'n),
    canvas: usize,
    method: AnyMethod,
    work: impl FnOnce(&mut AnySession<'_, 'n>) -> Result<R, CliError>,
) -> Result<R, CliError> {
    let mut memory = Memory::for_session(canvas).problem()?;
    let memory = SessionMemory::carve(memory.bytes(), canvas).problem()?;
    let mut session = Session::new(network, memory, method);
    work(&mut session)
}
