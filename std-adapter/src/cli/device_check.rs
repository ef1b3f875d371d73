//! `demask device-check`: whether a device or an emulator has decoded as this computer does.

use super::options::{DecodeArgs, Decoding, MachineArgs, ModelArgs};
use super::run::{tokenizer_of, with_session};
use super::tokenize::shown;
use super::{CliError, Problem};
use crate::device::{Answer, DeviceLog, Difference, Finding, HostAnswer, ImageLine, Step, compare};
use crate::load::LoadedModel;
use crate::prompt;
use crate::runtime::{Memory, Runtime};
use clap::{Args, FromArgMatches};
use demask::image::ModelImage;
use demask::packed::Layout;
use demask::text::{Specials, Tokenizer};
use demask::{Progress, StepEvent};
use demask_quant::{ImageBuffer, repack};
use serde::Serialize;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Longest log that is read, in bytes.
const LONGEST_LOG: u64 = 64 << 20;

/// How an answer is decoded, as `demask run` takes it and as the line `method:` holds it.
#[derive(Debug, Clone, Args)]
struct MethodArgs {
    /// Take the prompt as it is: no template, special tokens may be spelled out
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    decode: DecodeArgs,
}

#[derive(Debug, Args)]
pub(super) struct DeviceCheckArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// What the device printed; - is standard input
    #[arg(long, value_name = "FILE", default_value = "-")]
    log: PathBuf,
    /// Prompt of the answers that have no line `prompt:`; of the others, only those to this one are compared
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// How the answers are decoded that have no line `method:`.
    #[command(flatten)]
    method: MethodArgs,
    #[command(flatten)]
    machine: MachineArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What is printed with `--json`.
#[derive(Debug, Serialize)]
struct Report {
    agree: bool,
    /// Whether the device has this image; unknown if it does not say, or the model is no image.
    same_image: Option<bool>,
    /// The answers that agree.
    answers: Vec<Agreement>,
    difference: Option<Reported>,
}

/// An answer that agrees.
#[derive(Debug, Serialize)]
struct Agreement {
    line: usize,
    prompt: String,
    method: Option<String>,
    tokens: usize,
    steps: usize,
    /// Whether the log has the steps too.
    traced: bool,
    checksum: String,
}

/// The first difference.
#[derive(Debug, Serialize)]
struct Reported {
    /// Which answer of the log, from 1.
    answer: Option<usize>,
    prompt: Option<String>,
    method: Option<String>,
    #[serde(flatten)]
    finding: Finding,
    sentence: String,
}

pub(super) fn run(args: &DeviceCheckArgs) -> Result<(), CliError> {
    let log = DeviceLog::parse(&read_log(&args.log)?);
    let model = args.model.open()?;
    let tokenizer = tokenizer_of(&model)?;
    let runtime = args.model.runtime(&model)?;
    let host = Host { args, model: &model, tokenizer: &tokenizer, runtime: &runtime };
    let mut report = Report { agree: false, same_image: None, answers: vec![], difference: None };
    report.difference = host.check(&log, &mut report)?;
    report.agree = report.difference.is_none();
    report.print(args.json)
}

fn read_log(path: &Path) -> Result<Vec<u8>, CliError> {
    let failed = |error: io::Error| {
        CliError::new(format!("cannot read the log {}: {error}", path.display()))
    };
    let source: Box<dyn Read> = match path == Path::new("-") {
        true => Box::new(io::stdin().lock()),
        false => Box::new(File::open(path).map_err(failed)?),
    };
    let mut log = Vec::new();
    source.take(LONGEST_LOG + 1).read_to_end(&mut log).map_err(failed)?;
    if log.len() as u64 > LONGEST_LOG {
        return Err(CliError::new("the log is longer than 64 MiB; give the part with the answers"));
    }
    Ok(log)
}

/// This computer, ready to decode.
struct Host<'a> {
    args: &'a DeviceCheckArgs,
    model: &'a LoadedModel,
    tokenizer: &'a Tokenizer<'a>,
    runtime: &'a Runtime<'a>,
}

impl Host<'_> {
    /// Adds to the report what agrees, and returns the first thing that does not.
    fn check(&self, log: &DeviceLog, report: &mut Report) -> Result<Option<Reported>, CliError> {
        for image in &log.images {
            if let Some(difference) = self.compare_image(image)? {
                report.same_image = Some(false);
                return Ok(Some(self.reported(None, at(difference, 0))));
            }
            report.same_image = self.model.image().map(|_| true);
        }
        let mut to_another = None;
        for (number, answer) in (1..).zip(&log.answers) {
            match (&answer.prompt, &self.args.prompt) {
                (Some(device), Some(host)) if device != host.trim() => {
                    to_another.get_or_insert(Difference::OtherPrompt {
                        device: device.clone(),
                        host: host.clone(),
                    });
                }
                _ => match self.compare_answer(answer) {
                    Ok(agreement) => report.answers.push(agreement),
                    Err(finding) => {
                        return Ok(Some(self.reported(Some((number, answer)), finding)));
                    }
                },
            }
        }
        if !report.answers.is_empty() {
            return Ok(None);
        }
        let complaint = log.complaint.clone();
        let nothing = Difference::NoAnswer { lines: log.lines, complaint };
        Ok(Some(self.reported(None, at(to_another.unwrap_or(nothing), 0))))
    }

    /// Whether this image, packed as the device's is, has the device's digest.
    fn compare_image(&self, line: &ImageLine) -> Result<Option<Difference>, CliError> {
        let layout = line.layout.clone();
        let Some(image) = self.model.image() else { return Ok(None) };
        let Some(packed) = Layout::ALL.into_iter().find(|known| known.name() == layout) else {
            return Ok(Some(Difference::Layout { layout }));
        };
        let digest = digest_packed(&image, packed)?;
        let hex = |digest: u64| format!("{digest:016x}");
        let (device, host) = (hex(line.digest), hex(digest));
        Ok((device != host).then_some(Difference::Image { layout, device, host }))
    }

    /// Decodes an answer's prompt and compares.
    fn compare_answer(&self, answer: &Answer) -> Result<Agreement, Finding> {
        let Some(prompt) = answer.prompt.as_ref().or(self.args.prompt.as_ref()) else {
            return Err(at(Difference::NoPrompt, answer.line));
        };
        let host = self
            .answer(prompt, answer.method.as_deref())
            .map_err(|error| at(Difference::Refused { reason: error.to_string() }, answer.line))?;
        compare(answer, &host).map_or(Ok(()), Err)?;
        Ok(Agreement {
            line: answer.line,
            prompt: prompt.clone(),
            method: answer.method.clone(),
            tokens: host.tokens.len(),
            steps: host.steps.len(),
            traced: !answer.steps.is_empty(),
            checksum: format!("{:016x}", host.checksum),
        })
    }

    /// The answer of this computer; an error if the log and the model do not go together.
    fn answer(&self, text: &str, method: Option<&str>) -> Result<HostAnswer, CliError> {
        let method = method.map_or_else(|| Ok(self.args.method.clone()), parse_method)?;
        let ids = match method.raw {
            true => prompt::ids_with_specials(self.tokenizer, text),
            false => prompt::encode(self.model.prompt(), self.tokenizer, text),
        }
        .problem()?;
        let decoding = method.decode.decoding(self.model, ids.len())?;
        method.decode.announce(&decoding);
        self.decode(&ids, &decoding)
    }

    fn decode(&self, ids: &[u32], decoding: &Decoding) -> Result<HostAnswer, CliError> {
        let MachineArgs { kernels, .. } = self.args.machine;
        let mut memory = Memory::default();
        let settings = decoding.settings(self.args.machine.threads(), kernels);
        let mut network = self.runtime.network(&settings, &mut memory).problem()?;
        let mask_id = self.model.config().mask_id;
        with_session(&mut *network, decoding, |session| {
            session.begin(ids, decoding.length, decoding.options).problem()?;
            let (mut steps, mut progress) = (Vec::<Step>::new(), Progress::Running);
            while progress == Progress::Running {
                let mut take = |event: &StepEvent<'_>| steps.push(Step::of(event, mask_id));
                progress = session.step(&mut take).problem()?;
                if let Some(step) = steps.last_mut() {
                    step.checksum = session.checksum().value();
                }
            }
            Ok(HostAnswer {
                prompt: ids.len(),
                steps,
                tokens: session.generated().to_vec(),
                text: prompt::decode(self.tokenizer, session.answer(), Specials::Skip),
                checksum: session.checksum().value(),
            })
        })
    }

    fn reported(&self, answer: Option<(usize, &Answer)>, finding: Finding) -> Reported {
        let known = |token: &u32| *token < self.tokenizer.vocab_len();
        let name = |token: u32| match Some(token).filter(known) {
            Some(id) => format!("{id} ({})", shown(self.tokenizer.piece(id).unwrap_or_default())),
            None => format!("{token} (not in the vocabulary)"),
        };
        let sentence = finding.sentence(&name);
        let (prompt, method) = match answer {
            Some((_, answer)) => (answer.prompt.clone(), answer.method.clone()),
            None => (None, None),
        };
        Reported { answer: answer.map(|(number, _)| number), prompt, method, finding, sentence }
    }
}

/// A difference of the log, or of an answer as a whole.
fn at(difference: Difference, line: usize) -> Finding {
    Finding { difference, in_transit: false, line }
}

/// The options that a line `method:` holds.
fn parse_method(options: &str) -> Result<MethodArgs, CliError> {
    let command = clap::Command::new("method").no_binary_name(true).disable_help_flag(true);
    let matches =
        MethodArgs::augment_args(command).try_get_matches_from(options.split_whitespace());
    matches.and_then(|matches| MethodArgs::from_arg_matches(&matches)).map_err(|error| {
        let said = error.to_string();
        let first = said.lines().next().unwrap_or_default();
        CliError::new(first.strip_prefix("error: ").unwrap_or(first))
    })
}

/// The first eight bytes of the digest that an image has when it is packed like this.
fn digest_packed(image: &ModelImage<'_>, layout: Layout) -> Result<u64, CliError> {
    let start = |image: &ModelImage<'_>| {
        let digest = image.header().manifest_digest.first_chunk().copied();
        u64::from_be_bytes(digest.unwrap_or_default())
    };
    if image.layout() == layout {
        return Ok(start(image));
    }
    let copy = ImageBuffer::copy_of(image.as_bytes());
    let mut copy = copy.ok_or_else(|| CliError::new("there is no memory to pack the image"))?;
    repack(copy.bytes_mut(), layout).problem()?;
    Ok(start(&ModelImage::parse_unverified(copy.bytes()).problem()?))
}

impl Report {
    /// Prints it; a difference is an error.
    fn print(&self, json: bool) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        if json {
            writeln!(out, "{}", serde_json::to_string(self).problem()?)?;
        } else {
            for answer in &self.answers {
                writeln!(out, "{}", answer.sentence())?;
            }
        }
        if let Some(difference) = &self.difference {
            return Err(CliError::new(difference.place() + &difference.sentence));
        }
        if !json {
            let image = match self.same_image {
                Some(_) => "so does the image",
                None => "whether it has this image was not compared",
            };
            writeln!(out, "the device agrees in {} answers; {image}", self.answers.len())?;
        }
        Ok(())
    }
}

impl Agreement {
    fn sentence(&self) -> String {
        let Self { steps, checksum, prompt, .. } = self;
        let scores = if self.traced { ", each compared" } else { "" };
        let method = self.method.as_ref().map_or(String::new(), |method| format!(" by {method}"));
        format!("ok   {steps} steps{scores}, checksum {checksum}: {prompt:?}{method}")
    }
}

impl Reported {
    /// Which answer it is about.
    fn place(&self) -> String {
        let Some(number) = self.answer else { return String::new() };
        let to = self.prompt.as_ref().map_or(String::new(), |prompt| format!(" to {prompt:?}"));
        let by = match &self.method {
            Some(method) => format!(" by {method}"),
            None => ", decoded as the command line says".into(),
        };
        format!("answer {number}{to}{by} (line {}): ", self.finding.line)
    }
}
