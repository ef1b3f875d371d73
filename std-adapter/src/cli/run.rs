//! `demask run`, and the demo.

use super::live::LiveView;
use super::options::{
    AnyCache, AnyEos, AnyPolicy, DecodeArgs, Decoding, MachineArgs, ModelArgs, OutputArgs,
};
use super::{CliError, Problem};
use crate::load::LoadedModel;
use crate::prompt;
use crate::runtime::{Memory, Network, Runtime};
use crate::usage;
use clap::Args;
use demask::text::{Specials, Tokenizer};
use demask::{Session, SessionMemory};
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
    /// Tokens that left the canvas while the text went on.
    pub(super) dropped: u64,
    /// Forward passes.
    forwards: u32,
    /// Rows that went through the network, over all passes.
    rows: u64,
    /// Checksum over all scores and commits, 16 hexadecimal digits.
    checksum: String,
    /// Wall time of opening the model and making it ready.
    load_seconds: f64,
    /// Wall time of decoding.
    seconds: f64,
    /// Most memory that the process has had, in bytes, where the system says so.
    peak_rss: Option<u64>,
    /// Tokens of the prompt, template included.
    pub(super) prompt_tokens: usize,
    /// Arithmetic that was used.
    kernels: &'static str,
}

impl Outcome {
    /// Nothing yet, on a network that took `load` to get ready.
    pub(super) fn of(network: &dyn Network, load: Duration) -> Self {
        Self {
            text: String::new(),
            tokens: Vec::new(),
            dropped: 0,
            forwards: 0,
            rows: 0,
            checksum: String::new(),
            load_seconds: load.as_secs_f64(),
            seconds: 0.0,
            peak_rss: None,
            prompt_tokens: 0,
            kernels: network.kernels(),
        }
    }

    /// Runs a session that has begun, and takes its counts.
    pub(super) fn run<W: Write>(
        &mut self,
        session: &mut AnySession<'_, '_>,
        view: &mut LiveView<'_, W>,
    ) -> Result<(), CliError> {
        let started = Instant::now();
        view.begin(session.canvas());
        session.run(view).problem()?;
        self.seconds = started.elapsed().as_secs_f64();
        self.dropped = session.dropped();
        self.forwards = session.forwards();
        self.rows = session.rows_computed();
        self.checksum = session.checksum().to_string();
        self.peak_rss = usage::peak_memory();
        Ok(())
    }

    /// Prints JSON, or the text where no live view has shown it.
    pub(super) fn print(&self, output: &OutputArgs) -> Result<(), CliError> {
        let mut out = std::io::stdout().lock();
        if output.json {
            writeln!(out, "{}", serde_json::to_string(self).problem()?)?;
            return Ok(());
        }
        writeln!(out, "{}", self.text)?;
        if self.dropped > 0 {
            eprintln!(
                "demask: the text outgrew the canvas: {} tokens were written without sight of those \
                 that had left it; see --canvas and --pin",
                self.dropped
            );
        }
        if output.stats {
            eprintln!("{}", self.stats());
        }
        Ok(())
    }

    fn stats(&self) -> String {
        let peak = self.peak_rss.map_or("unknown".into(), |bytes| {
            format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
        });
        format!(
            "ready in {:.2} s, {} forwards over {} rows in {:.2} s, kernels {}, peak memory {peak}",
            self.load_seconds, self.forwards, self.rows, self.seconds, self.kernels
        )
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
    let mut memory = Memory::default();
    let settings = job.machine.settings(decoding.canvas);
    let mut network = job.runtime.network(&settings, &mut memory).problem()?;
    let mut outcome = Outcome::of(&*network, job.opened.elapsed());
    outcome.prompt_tokens = job.prompt.len();
    with_session(&mut *network, &decoding, |session| {
        session.begin(&job.prompt, decoding.length, decoding.options).problem()?;
        let steps = decoding.steps_planned();
        let mut view = live_view(&tokenizer, job.model, output, steps, job.frame);
        outcome.run(session, &mut view)?;
        view.finish()?;
        outcome.tokens = session.generated().to_vec();
        outcome.text = prompt::decode(&tokenizer, session.answer(), Specials::Skip);
        Ok(())
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
pub(super) type AnySession<'s, 'n> =
    Session<'s, &'s mut (dyn Network + 'n), AnyPolicy, demask::decode::Even, AnyEos, AnyCache>;

/// Builds a session around a network and lends it to `work`.
pub(super) fn with_session<'n, R>(
    network: &mut (dyn Network + 'n),
    decoding: &Decoding,
    work: impl FnOnce(&mut AnySession<'_, 'n>) -> Result<R, CliError>,
) -> Result<R, CliError> {
    let mut memory = Memory::for_session(decoding.canvas).problem()?;
    let memory = SessionMemory::carve(memory.bytes(), decoding.canvas).problem()?;
    let mut session = Session::new(network, memory, decoding.method());
    work(&mut session)
}
