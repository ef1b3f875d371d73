//! One item of a task answered, and what that took: for scores over many items.

use super::options::{DecodeArgs, Decoding};
use super::run::{tokenizer_of, with_session};
use super::{CliError, Problem};
use crate::detect::Choice;
use crate::harness::task::gaps::{GapTokens, Gaps};
use crate::harness::task::{Kind, Reply, Task};
use crate::harness::trajectory::Placed;
use crate::load::LoadedModel;
use crate::prompt;
use crate::runtime::{Memory, Runtime};
use crate::usage;
use demask::StepEvent;
use demask::image::section_digest;
use demask::text::Specials;
use indicatif::ProgressBar;
use rayon::ThreadPool;
use rayon::prelude::*;
use std::time::Instant;

/// An answer and what it took.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    pub(super) reply: Reply,
    /// Tokens that each step placed, by ascending position.
    pub(super) steps: Vec<Vec<Placed>>,
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

impl From<Unsolved> for CliError {
    fn from(unsolved: Unsolved) -> Self {
        match unsolved {
            Unsolved::Refused(reason) => Self::new(reason),
            Unsolved::Failed(error) => error,
        }
    }
}

/// What a session is to begin with.
struct Ready {
    ids: Vec<u32>,
    decoding: Decoding,
    /// The ids are a canvas with gaps, and this is how it should be filled.
    gaps: Option<GapTokens>,
}

/// Everything but the item and the method.
#[derive(Clone, Copy)]
pub(super) struct Solver<'a> {
    pub(super) model: &'a LoadedModel,
    pub(super) runtime: &'a Runtime<'a>,
    pub(super) kernels: Choice,
}

/// Refuses a task whose items ask nothing.
pub(super) fn refuse_texts(task: &Task) -> Result<(), CliError> {
    match task.kind() {
        Kind::Texts => Err(CliError::new(
            "the lines of this task are texts, which ask nothing; measure their likelihood with \
             `demask eval`, or give lines with prompts and answers",
        )),
        _ => Ok(()),
    }
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

    /// How item `at` is decoded.
    pub(super) fn decoding(
        &self,
        task: &Task,
        at: usize,
        decode: &DecodeArgs,
    ) -> Result<Decoding, CliError> {
        Ok(self.ready(task, at, decode)?.decoding)
    }

    fn ready(&self, task: &Task, at: usize, decode: &DecodeArgs) -> Result<Ready, CliError> {
        match task.gaps(at) {
            Some(gaps) => self.ready_gaps(gaps, decode),
            None => {
                let (ids, decoding) = self.prepare(&task.prompt(at), decode)?;
                Ok(Ready { ids, decoding, gaps: None })
            }
        }
    }

    fn ready_gaps(&self, gaps: &Gaps, decode: &DecodeArgs) -> Result<Ready, CliError> {
        if decode.gen_length.is_some() {
            return Err(CliError::new(
                "gaps are as long as what stood there; leave --gen-length out",
            ));
        }
        let gaps = gaps.tokens(&tokenizer_of(self.model)?).problem()?;
        let ids = gaps.masked(self.model.config().mask_id);
        let decoding = decode.infilling(self.model, ids.len(), gaps.hidden().len())?;
        Ok(Ready { ids, decoding, gaps: Some(gaps) })
    }

    /// Answers on the calling thread: small models gain more from answering several items at a time than
    /// from splitting rows, and the answers are the same.
    pub(super) fn solve(
        &self,
        task: &Task,
        at: usize,
        decode: &DecodeArgs,
    ) -> Result<Answer, Unsolved> {
        let refused = |error: CliError| Unsolved::Refused(error.to_string());
        let tokenizer = tokenizer_of(self.model).map_err(Unsolved::Failed)?;
        let Ready { ids, decoding, gaps } = self.ready(task, at, decode).map_err(refused)?;
        let mut memory = Memory::default();
        let settings = decoding.settings(1, self.kernels);
        let network = self.runtime.network(&settings, &mut memory);
        let mut network = network.problem().map_err(Unsolved::Failed)?;
        // The float reference works on a thread of its own.
        let here = network.kernels() != "f32";
        let answer = with_session(&mut *network, &decoding, |session| {
            let before = here.then(usage::thread_time).flatten();
            let started = Instant::now();
            match gaps {
                Some(_) => session.begin_infill(&ids, decoding.options).problem()?,
                None => session.begin(&ids, decoding.length, decoding.options).problem()?,
            }
            let (mut revisions, mut steps) = (0, Vec::new());
            let mut trace = |step: &StepEvent<'_>| {
                revisions += step.revisions.len() as u64;
                let placed = step.commits.iter().chain(step.revisions);
                let mut placed: Vec<Placed> = placed.map(|c| (c.position, c.token)).collect();
                placed.sort_unstable();
                steps.push(placed);
            };
            session.run(&mut trace).problem()?;
            let wall = started.elapsed();
            let cpu = before.and_then(|before| usage::thread_time()?.checked_sub(before));
            let reply = match gaps {
                Some(gaps) => {
                    Reply { text: String::new(), filled: Some((gaps, session.canvas().to_vec())) }
                }
                None => Reply {
                    text: prompt::decode(&tokenizer, session.answer(), Specials::Skip),
                    filled: None,
                },
            };
            Ok(Answer {
                reply,
                steps,
                forwards: session.forwards(),
                rows: session.rows_computed(),
                revisions,
                seconds: cpu.unwrap_or(wall).as_secs_f64(),
                cpu_time: cpu.is_some(),
            })
        });
        answer.map_err(refused)
    }

    /// Answers every item, each on one thread of the pool.
    pub(super) fn solve_all(
        &self,
        task: &Task,
        decode: &DecodeArgs,
        (pool, bar): (&ThreadPool, &ProgressBar),
    ) -> Result<Vec<Answer>, CliError> {
        let one = |at: usize| {
            let answer = self.solve(task, at, decode);
            bar.inc(1);
            answer.map_err(|unsolved| {
                let CliError { message, broken_pipe } = unsolved.into();
                CliError { message: format!("item {}: {message}", at + 1), broken_pipe }
            })
        };
        pool.install(|| (0..task.len()).into_par_iter().map(one).collect())
    }

    /// Checksum of the first pass over the first item, in which all layers and the head take part, and the
    /// trained filter: another model has another one.
    pub(super) fn fingerprint(&self, task: &Task, decode: &DecodeArgs) -> Result<String, CliError> {
        let Ready { ids, decoding, gaps } = self.ready(task, 0, decode)?;
        let mut memory = Memory::default();
        let settings = decoding.settings(1, self.kernels);
        let mut network = self.runtime.network(&settings, &mut memory).problem()?;
        with_session(&mut *network, &decoding, |session| {
            match gaps {
                Some(_) => session.begin_infill(&ids, decoding.options).problem()?,
                None => session.begin(&ids, decoding.length, decoding.options).problem()?,
            }
            session.step(&mut ()).problem()?;
            let filter =
                self.model.filter().map(|f| section_digest(bytemuck::cast_slice(f.numbers())));
            Ok(format!("{} {:?} {filter:02x?}", session.checksum(), self.model.config()))
        })
    }
}
