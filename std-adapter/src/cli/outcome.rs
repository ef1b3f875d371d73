//! What a decode came to, for people and for machines.

use super::live::LiveView;
use super::options::{Decoding, OutputArgs};
use super::run::AnySession;
use super::{CliError, Problem};
use crate::load::LoadedModel;
use crate::prompt;
use crate::runtime::Network;
use crate::usage;
use demask::image::Attention;
use demask::text::{Specials, Tokenizer};
use demask::{StepEvent, Trace};
use serde::Serialize;
use std::io::Write;
use std::time::{Duration, Instant};

/// What a decode came to.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    /// The answer, up to its end token.
    pub(super) text: String,
    /// Every generated token, end tokens included.
    pub(super) tokens: Vec<u32>,
    /// Tokens that left the canvas while the text went on.
    dropped: u64,
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
    prompt_tokens: usize,
    /// Arithmetic that was used.
    kernels: &'static str,
}

impl Outcome {
    /// Nothing yet, on a network that took `load` to get ready.
    pub(super) fn of(network: &dyn Network, load: Duration, prompt_tokens: usize) -> Self {
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
            prompt_tokens,
            kernels: network.kernels(),
        }
    }

    /// Runs a session that has begun, takes its counts, and returns the tokens that left the canvas.
    pub(super) fn run<W: Write>(
        &mut self,
        session: &mut AnySession<'_, '_>,
        mut view: LiveView<'_, W>,
    ) -> Result<Vec<u32>, CliError> {
        let started = Instant::now();
        view.begin(session.canvas());
        let mut trace = Recorder { view, gone: Vec::new() };
        session.run(&mut trace).problem()?;
        self.seconds = started.elapsed().as_secs_f64();
        self.dropped = session.dropped();
        self.forwards = session.forwards();
        self.rows = session.rows_computed();
        self.checksum = session.checksum().to_string();
        self.peak_rss = usage::peak_memory();
        trace.view.finish()?;
        Ok(trace.gone)
    }

    /// Takes the answer from a finished session: what is on its canvas, and before it what has `gone`.
    pub(super) fn take_answer(
        &mut self,
        (model, tokenizer): (&LoadedModel, &Tokenizer<'_>),
        decoding: &Decoding,
        session: &AnySession<'_, '_>,
        gone: &[u32],
    ) {
        let block = match model.config().features.attention {
            Attention::BlockCausal(block) => block as usize,
            Attention::Bidirectional => 1,
        };
        // What leaves the canvas stood behind the pinned blocks, which may end within the prompt or
        // within the answer.
        let pinned = decoding.options.pinned.next_multiple_of(block.max(1));
        let on_canvas = session.generated();
        let in_front = pinned.saturating_sub(self.prompt_tokens).min(on_canvas.len());
        let of_prompt = self.prompt_tokens.saturating_sub(pinned).min(gone.len());
        let (before, behind) = match gone.is_empty() {
            true => (on_canvas, &[][..]),
            false => on_canvas.split_at(in_front),
        };
        self.tokens = [before, &gone[of_prompt..], behind].concat();
        let ends = |id: &u32| *id == model.config().eos_id || model.stop_ids().contains(id);
        let end = self.tokens.iter().position(ends).unwrap_or(self.tokens.len());
        self.text = prompt::decode(tokenizer, &self.tokens[..end], Specials::Skip);
    }

    /// Prints JSON, or the text and what there is to say about it.
    pub(super) fn print(&self, output: &OutputArgs) -> Result<(), CliError> {
        let mut out = std::io::stdout().lock();
        if output.json {
            writeln!(out, "{}", serde_json::to_string(self).problem()?)?;
            return Ok(());
        }
        writeln!(out, "{}", self.text)?;
        if self.dropped > 0 {
            eprintln!(
                "demask: the text outgrew the canvas; {} of its tokens had left it at the end, and \
                 what was written then did not see them (--canvas, --pin)",
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
            "ready in {:.2} s; {} forwards over {} rows in {:.2} s; kernels {}; peak memory {peak}",
            self.load_seconds, self.forwards, self.rows, self.seconds, self.kernels
        )
    }
}

/// Passes everything on to a view, and keeps what leaves the canvas.
struct Recorder<'t, W: Write> {
    view: LiveView<'t, W>,
    gone: Vec<u32>,
}

impl<W: Write> Trace for Recorder<'_, W> {
    fn step(&mut self, event: &StepEvent<'_>) {
        self.view.step(event);
    }

    fn dropped(&mut self, tokens: &[u32]) {
        self.gone.extend(tokens);
        self.view.dropped(tokens);
    }
}
