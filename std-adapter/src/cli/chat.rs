//! `demask chat`: turn by turn, with what was said before.

use super::live::Style;
use super::options::{DecodeArgs, Decoding, MachineArgs, ModelArgs, OutputArgs};
use super::outcome::Outcome;
use super::run::{live_view, tokenizer_of, with_session};
use super::{CliError, Problem};
use crate::chat::{ChatTemplate, Message, Role};
use crate::load::LoadedModel;
use crate::prompt;
use crate::runtime::{Memory, Runtime};
use clap::Args;
use demask::image::Attention;
use demask::text::Tokenizer;
use serde::Serialize;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Tokens of an answer when nobody says how many.
const ANSWER: usize = 128;
/// Longest message in bytes.
const MAX_MESSAGE: u64 = 1 << 20;
/// Longest template in bytes.
const MAX_TEMPLATE: u64 = 1 << 20;

const HELP: &str = "/reset forgets what was said, /system TEXT says how to answer, /quit ends";

#[derive(Debug, Args)]
pub(super) struct ChatArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// What the model is told before the first message
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Chat template in Jinja, in place of the model's own
    #[arg(long, value_name = "FILE")]
    template: Option<PathBuf>,
    #[command(flatten)]
    decode: DecodeArgs,
    #[command(flatten)]
    machine: MachineArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// A conversation and what carries it on.
struct Chat<'a> {
    args: &'a ChatArgs,
    model: &'a LoadedModel,
    tokenizer: Tokenizer<'a>,
    runtime: Runtime<'a>,
    template: Option<&'a ChatTemplate>,
    system: Option<String>,
    /// Messages and answers in turn.
    history: Vec<Message>,
    memory: Memory,
}

/// One answer, as a line for machines.
#[derive(Serialize)]
struct Turn<'a> {
    #[serde(flatten)]
    outcome: &'a Outcome,
    /// Old messages that were left out because the context is full.
    forgotten: usize,
}

pub(super) fn run(args: &ChatArgs) -> Result<(), CliError> {
    let opened = Instant::now();
    let model = args.model.open()?;
    let given = args.template.as_deref().map(read_template).transpose()?;
    let template = match &given {
        Some(template) => Some(template),
        None => model.chat_template().problem()?,
    };
    let terminal = io::stdin().is_terminal() && !args.output.json;
    if terminal {
        match template {
            Some(_) => eprintln!("{HELP}"),
            None => eprintln!(
                "the model has no chat template, so every message stands alone (--template FILE); \
                 {HELP}"
            ),
        }
    }
    let mut chat = Chat {
        args,
        model: &model,
        tokenizer: tokenizer_of(&model)?,
        runtime: args.model.runtime(&model)?,
        template,
        system: args.system.clone(),
        history: Vec::new(),
        memory: Memory::default(),
    };
    let mut input = io::stdin().lock();
    let mut load = opened.elapsed();
    loop {
        if terminal {
            eprint!("> ");
        }
        let Some(line) = next_line(&mut input)? else { return Ok(()) };
        match line.split_once(' ').map_or((line.as_str(), ""), |(word, rest)| (word, rest.trim())) {
            ("", _) => {}
            ("/quit", _) => return Ok(()),
            ("/reset", _) => chat.history.clear(),
            ("/system", text) => chat.system = Some(text.to_owned()).filter(|t| !t.is_empty()),
            ("/help", _) => eprintln!("{HELP}"),
            (word, _) if word.starts_with('/') && terminal => {
                eprintln!("there is no command {word}; {HELP}");
            }
            // At a terminal one impossible message is no reason to lose the others.
            _ => match chat.answer(line, std::mem::take(&mut load)) {
                Err(error) if terminal && !error.broken_pipe => eprintln!("demask: {error}"),
                result => result?,
            },
        }
    }
}

fn read_template(path: &std::path::Path) -> Result<ChatTemplate, CliError> {
    let bytes = crate::read::read_capped(path, MAX_TEMPLATE);
    let bytes = bytes.map_err(|e| CliError::new(format!("cannot read {}: {e}", path.display())))?;
    let text = String::from_utf8(bytes);
    let text = text.map_err(|_| CliError::new(format!("{} is not UTF-8", path.display())))?;
    ChatTemplate::parse(&text, std::iter::empty::<(String, String)>()).problem()
}

/// The next line without its end, or `None` at the end of the input.
fn next_line(input: &mut impl BufRead) -> Result<Option<String>, CliError> {
    let mut line = String::new();
    let read = io::Read::take(&mut *input, MAX_MESSAGE).read_line(&mut line).problem()?;
    if read as u64 == MAX_MESSAGE && !line.ends_with('\n') {
        return Err(CliError::new("a message is longer than 1 MiB; split it"));
    }
    Ok((read > 0).then(|| line.trim().to_owned()))
}

impl Chat<'_> {
    /// Answers a message and remembers both.
    fn answer(&mut self, message: String, load: Duration) -> Result<(), CliError> {
        let started = Instant::now();
        self.history.push(Message::new(Role::User, message));
        let fitted = self.fit();
        let (ids, decoding, forgotten) = match fitted {
            Ok(fitted) => fitted,
            Err(error) => {
                self.history.pop();
                return Err(error);
            }
        };
        self.args.decode.announce(&decoding);
        let settings = decoding.settings(self.args.machine.threads(), self.args.machine.kernels);
        let mut network = self.runtime.network(&settings, &mut self.memory).problem()?;
        let mut outcome = Outcome::of(&*network, load + started.elapsed(), ids.len());
        with_session(&mut *network, &decoding, |session| {
            session.begin(&ids, decoding.length, decoding.options).problem()?;
            let style = self.args.style();
            let view = live_view(&self.tokenizer, self.model, style, &decoding, Duration::ZERO);
            let gone = outcome.run(session, view.answer_only())?;
            outcome.take_answer((self.model, &self.tokenizer), &decoding, session, &gone);
            Ok(())
        })?;
        drop(network);
        self.history.push(Message::new(Role::Assistant, outcome.text.trim()));
        if self.args.output.json {
            let turn = Turn { outcome: &outcome, forgotten };
            let mut out = io::stdout().lock();
            writeln!(out, "{}", serde_json::to_string(&turn).problem()?)?;
            return Ok(out.flush()?);
        }
        if forgotten > 0 {
            eprintln!("(the context is full: the oldest {forgotten} messages were left out)");
        }
        outcome.print(&self.args.output)
    }

    /// The ids of the conversation, without its oldest turns if it has grown too long. Those are
    /// forgotten for good.
    fn fit(&mut self) -> Result<(Vec<u32>, Decoding, usize), CliError> {
        let mut forgotten = 0;
        loop {
            let ids = self.ids(&self.history)?;
            let decode = self.decode(ids.len());
            match decode.decoding(self.model, ids.len()) {
                Ok(decoding) if self.has_room(&decoding, ids.len()) => {
                    return Ok((ids, decoding, forgotten));
                }
                // A message and its answer; the last message stays.
                _ if self.history.len() > 2 => {
                    self.history.drain(..2);
                    forgotten += 2;
                }
                Ok(_) => {
                    return Err(CliError::new(format!(
                        "the message takes {} tokens, which leave no room for an answer; shorten it",
                        ids.len()
                    )));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// What is asked for, with a length for answers.
    fn decode(&self, prompt: usize) -> DecodeArgs {
        let context = self.model.config().context as usize;
        let room = context.saturating_sub(prompt).min(context / 2);
        let length = self.args.decode.gen_length.unwrap_or(match ANSWER.min(room) {
            // Whole blocks, so that long answers are written block by block.
            length if length >= 32 => length / 32 * 32,
            length => length,
        });
        DecodeArgs { gen_length: Some(length.max(1)), ..self.args.decode.clone() }
    }

    /// A block-causal model needs room for the prompt and two blocks, wherever the text ends.
    fn has_room(&self, decoding: &Decoding, prompt: usize) -> bool {
        match self.model.config().features.attention {
            Attention::Bidirectional => true,
            Attention::BlockCausal(block) => {
                let block = block as usize;
                let needed = prompt.next_multiple_of(block.max(1)) + 2 * block;
                needed <= decoding.canvas || prompt + decoding.length <= decoding.canvas
            }
        }
    }

    /// The ids of messages as the template has them.
    fn ids(&self, history: &[Message]) -> Result<Vec<u32>, CliError> {
        let Some(template) = self.template else {
            let last = history.last().map_or("", |message| message.content.as_str());
            return prompt::encode(self.model.prompt(), &self.tokenizer, last).problem();
        };
        let system = self.system.iter().map(|text| Message::new(Role::System, text.as_str()));
        let messages: Vec<Message> = system.chain(history.iter().cloned()).collect();
        let text = template.render(&messages, true).problem()?;
        prompt::ids_with_specials(&self.tokenizer, &text).problem()
    }
}

impl ChatArgs {
    /// A pipe gets answers and nothing else, unless it asks for lines.
    fn style(&self) -> Style {
        match self.output.style() {
            Style::Plain { .. } if !self.output.plain => Style::Silent,
            style => style,
        }
    }
}
