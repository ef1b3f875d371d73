//! Distributions, likelihoods and decodes of two builds.

use super::super::eval::progress;
use super::super::options::DecodeArgs;
use super::super::solve::{Answer, Solver};
use super::super::texts::{BoundArgs, PieceScorer, TextPiece};
use super::super::{CliError, Problem};
use super::report::{Decoded, PairedScore};
use crate::detect::Choice;
use crate::harness::comparison::{Comparison, Distance, PiecePair};
use crate::harness::masks::Key;
use crate::harness::statistics::{mean, ratio};
use crate::harness::task::{Mark, Task};
use crate::harness::trajectory::agreement;
use crate::load::LoadedModel;
use crate::runtime::{Memory, Runtime, Settings};
use demask::decode::Needs;
use rayon::ThreadPool;
use rayon::prelude::*;

/// One of the two.
#[derive(Clone, Copy)]
pub(super) struct Build<'a> {
    pub(super) model: &'a LoadedModel,
    pub(super) runtime: &'a Runtime<'a>,
}

/// Everything that both are measured with.
pub(super) struct Comparer<'a> {
    pub(super) builds: [Build<'a>; 2],
    pub(super) task: &'a Task,
    pub(super) bound: &'a BoundArgs,
    pub(super) decode: &'a DecodeArgs,
    pub(super) kernels: Choice,
    pub(super) pool: ThreadPool,
}

impl Comparer<'_> {
    /// Both on the same masks, each piece of text on one thread.
    pub(super) fn distributions(&self) -> Result<Comparison, CliError> {
        let pieces = self.bound.pieces(self.task, self.builds[0].model, self.decode)?;
        let bar = progress(pieces.len(), "pieces of text")?;
        let one = |(number, text): (usize, &TextPiece)| {
            let pair = self.pair(number as u64, text);
            bar.inc(1);
            pair
        };
        let pairs: Result<Vec<PiecePair>, CliError> =
            self.pool.install(|| pieces.par_iter().enumerate().map(one).collect());
        bar.finish_and_clear();
        Ok(Comparison::of(&pairs?))
    }

    fn pair(&self, number: u64, text: &TextPiece) -> Result<PiecePair, CliError> {
        let piece = &text.piece;
        let settings = Settings {
            canvas: piece.canvas.len(),
            threads: 1,
            kernels: self.kernels,
            needs: Needs::NONE,
        };
        let mut memory = [Memory::default(), Memory::default()];
        let [memory_a, memory_b] = &mut memory;
        let scorer = |build: usize, memory| {
            let network = self.builds[build].runtime.network(&settings, memory).problem()?;
            Ok::<_, CliError>(PieceScorer::new(network, piece))
        };
        let (mut a, mut b) = (scorer(0, memory_a)?, scorer(1, memory_b)?);
        let mask = self.builds[0].model.config().mask_id;
        let key = Key { seed: self.decode.seed, piece: number };
        let mut pair =
            PiecePair::measure(piece, self.bound.draws as usize, key, mask, |canvas, places| {
                let (a, b) = (a.rows(canvas)?, b.rows(canvas)?);
                let distance = |at: &usize| {
                    let truth = piece.canvas.get(*at).copied().unwrap_or(mask);
                    Distance::of(a.row(*at), b.row(*at), mask, truth)
                };
                Ok::<_, CliError>(places.iter().map(distance).collect())
            })?;
        pair.set_text(text.chars, text.bytes);
        Ok(pair)
    }

    fn solver(&self, build: usize) -> Solver<'_> {
        let Build { model, runtime } = self.builds[build];
        Solver { model, runtime, kernels: self.kernels }
    }

    /// How items are decoded, in words.
    pub(super) fn method(&self) -> Result<String, CliError> {
        let decoding = self.solver(0).decoding(self.task, 0, self.decode)?;
        self.decode.announce(&decoding);
        Ok(decoding.to_string())
    }

    /// Both answer every item.
    pub(super) fn decodes(&self) -> Result<Decoded, CliError> {
        let bar = progress(2 * self.task.len(), "answers")?;
        let answers =
            |build| self.solver(build).solve_all(self.task, self.decode, (&self.pool, &bar));
        let (a, b) = (answers(0)?, answers(1)?);
        bar.finish_and_clear();
        Ok(self.decoded(&a, &b))
    }

    fn decoded(&self, a: &[Answer], b: &[Answer]) -> Decoded {
        let pairs = || a.iter().zip(b);
        let paths: Vec<(f64, f64)> = pairs()
            .map(|(a, b)| agreement(&a.steps, &b.steps))
            .map(|(alike, all)| (alike as f64, all as f64))
            .collect();
        let (alike, all): (Vec<f64>, Vec<f64>) =
            paths.iter().map(|(alike, all)| (100.0 * alike, *all)).unzip();
        let share = |flags: Vec<bool>| {
            mean(&flags.iter().map(|flag| if *flag { 100.0 } else { 0.0 }).collect::<Vec<_>>())
        };
        let [marks_a, marks_b] = [a, b].map(|answers| self.marks(answers));
        let group = |name: Option<&'static str>| {
            let own = |marks: &[Vec<Mark>]| {
                let own = marks.iter().enumerate();
                let own = own.filter(|(at, _)| name.is_none() || self.task.group(*at) == name);
                own.map(|(_, marks)| marks.clone()).collect::<Vec<_>>()
            };
            PairedScore::all(self.task, &own(&marks_a), &own(&marks_b))
        };
        let forwards = |answers: &[Answer]| {
            mean(&answers.iter().map(|answer| f64::from(answer.forwards)).collect::<Vec<_>>())
        };
        Decoded {
            trajectory: ratio(&alike, &all).unwrap_or_default(),
            same_path: share(pairs().map(|(a, b)| a.steps == b.steps).collect()),
            same_answers: share(pairs().map(|(a, b)| a.reply == b.reply).collect()),
            until_divergence: paths.iter().map(|(alike, all)| alike / all.max(1.0)).collect(),
            forwards: [forwards(a), forwards(b)],
            scores: group(None),
            groups: self.task.groups().into_iter().map(|name| (name, group(Some(name)))).collect(),
        }
    }

    fn marks(&self, answers: &[Answer]) -> Vec<Vec<Mark>> {
        let answers = answers.iter().enumerate();
        answers.map(|(at, answer)| self.task.marks(at, &answer.reply)).collect()
    }
}
