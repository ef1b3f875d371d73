//! One prompt answered, and what that took: for scores over many prompts.

use super::options::{DecodeArgs, Decoding};
use super::run::{tokenizer_of, with_session};
use super::{CliError, Problem};
use crate::detect::Choice;
use crate::load::LoadedModel;
use crate::prompt;
use crate::runtime::{Memory, Runtime};
use crate::usage;
use demask::StepEvent;
use demask::image::section_digest;
use demask::text::Specials;
use std::time::Instant;

/// An answer and what it took.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    pub(super) text: String,
    pub(super) forwards: u32,
    pub(super) rows: u64,
    /// Tokens that were replaced or taken back.
    pub(super) revisions: u64,
    pub(super) seconds: f64,
    /// Seconds are processor time; otherwise they are of the clock on the wall.
    pub(super) cpu_time: bool,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Unsolved {
    /// The model or its session does not go together with the method.
    Refused(String),
    /// Something else has failed.
    Failed(CliError),
}

/// Everything but the prompt and the method.
#[derive(Clone, Copy)]
pub(super) struct Solver<'a> {
    pub(super) model: &'a LoadedModel,
    pub(super) runtime: &'a Runtime<'a>,
    pub(super) kernels: Choice,
}

impl Solver<'_> {
    /// The ids of a prompt and how its answer is decoded.
    pub(super) fn prepare(
        &self,
        text: &str,
        decode: &DecodeArgs,
    ) -> Result<(Vec<u32>, Decoding), CliError> {
        let tokenizer = tokenizer_of(self.model)?;
        let ids = prompt::encode(self.model.prompt(), &tokenizer, text).problem()?;
        let decoding = decode.decoding(self.model, ids.len())?;
        Ok((ids, decoding))
    }

    /// Answers on the calling thread: small models gain more from answering several prompts at a time
    /// than from splitting rows, and the answers are the same.
    pub(super) fn solve(&self, text: &str, decode: &DecodeArgs) -> Result<Answer, Unsolved> {
        let refused = |error: CliError| Unsolved::Refused(error.to_string());
        let tokenizer = tokenizer_of(self.model).map_err(Unsolved::Failed)?;
        let (ids, decoding) = self.prepare(text, decode).map_err(refused)?;
        let mut memory = Memory::default();
        let settings = decoding.settings(1, self.kernels);
        let network = self.runtime.network(&settings, &mut memory);
        let mut network = network.problem().map_err(Unsolved::Failed)?;
        // The float reference works on a thread of its own.
        let here = network.kernels() != "f32";
        let answer = with_session(&mut *network, &decoding, |session| {
            let before = here.then(usage::thread_time).flatten();
            let started = Instant::now();
            session.begin(&ids, decoding.length, decoding.options).problem()?;
            let mut revisions = 0;
            session
                .run(&mut |step: &StepEvent<'_>| revisions += step.revisions.len() as u64)
                .problem()?;
            let wall = started.elapsed();
            let cpu = before.and_then(|before| usage::thread_time()?.checked_sub(before));
            Ok(Answer {
                text: prompt::decode(&tokenizer, session.answer(), Specials::Skip),
                forwards: session.forwards(),
                rows: session.rows_computed(),
                revisions,
                seconds: cpu.unwrap_or(wall).as_secs_f64(),
                cpu_time: cpu.is_some(),
            })
        });
        answer.map_err(refused)
    }

    /// Checksum of the first pass over a prompt, in which all layers and the head take part, and the trained
    /// filter: another model has another one.
    pub(super) fn fingerprint(&self, text: &str, decode: &DecodeArgs) -> Result<String, CliError> {
        let (ids, decoding) = self.prepare(text, decode)?;
        let mut memory = Memory::default();
        let settings = decoding.settings(1, self.kernels);
        let mut network = self.runtime.network(&settings, &mut memory).problem()?;
        with_session(&mut *network, &decoding, |session| {
            session.begin(&ids, decoding.length, decoding.options).problem()?;
            session.step(&mut ()).problem()?;
            let filter =
                self.model.filter().map(|f| section_digest(bytemuck::cast_slice(f.numbers())));
            Ok(format!("{} {:?} {filter:02x?}", session.checksum(), self.model.config()))
        })
    }
}
