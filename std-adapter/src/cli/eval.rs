//! `demask eval`: a model's score on a task.

use super::options::{DecodeArgs, MachineArgs, ModelArgs};
use super::solve::{Answer, Solver, Unsolved};
use super::{CliError, Problem};
use crate::harness::snips::{self, Example, SnipsScore};
use crate::load::LoadedModel;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Task {
    /// Utterance to JSON frame: intent, slots, whole frame
    Snips,
}

#[derive(Debug, Args)]
pub(super) struct EvalArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Task
    #[arg(long, value_enum)]
    task: Task,
    /// JSON lines: {"intent": ..., "segments": [[slot or null, text], ...]}
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Only the first N examples
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    #[command(flatten)]
    decode: DecodeArgs,
    #[command(flatten)]
    machine: MachineArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &EvalArgs) -> Result<(), CliError> {
    let Task::Snips = args.task;
    let model = args.model.open()?;
    let mut examples = snips::load(&args.data).problem()?;
    examples.truncate(args.limit.unwrap_or(usize::MAX));
    let started = Instant::now();
    let answers = answer_all(&model, &examples, args)?;
    let seconds = started.elapsed().as_secs_f64();
    let mut texts = answers.iter().map(|a| a.text.clone());
    let score = snips::evaluate(
        &examples,
        |_| texts.next().ok_or_else(|| CliError::new("an answer is missing")),
        |_| {},
    )?;
    let forwards: u64 = answers.iter().map(|a| u64::from(a.forwards)).sum();
    print(&score, forwards as f64 / answers.len().max(1) as f64, seconds, args.json)
}

/// Answers every example, each on one thread.
fn answer_all(
    model: &LoadedModel,
    examples: &[Example],
    args: &EvalArgs,
) -> Result<Vec<Answer>, CliError> {
    let runtime = args.model.runtime(model)?;
    let solver = Solver { model, runtime: &runtime, kernels: args.machine.kernels };
    if let Some(first) = examples.first() {
        args.decode.announce(&solver.prepare(&first.render().0, &args.decode)?.1);
    }
    let style = "{bar:40} {pos}/{len} utterances, {eta} left";
    let bar = ProgressBar::new(examples.len() as u64)
        .with_style(ProgressStyle::with_template(style).problem()?);
    let pool =
        rayon::ThreadPoolBuilder::new().num_threads(args.machine.threads()).build().problem()?;
    let answers = pool.install(|| {
        examples
            .par_iter()
            .map(|example| {
                let answer = solver.solve(&example.render().0, &args.decode);
                bar.inc(1);
                answer.map_err(|unsolved| match unsolved {
                    Unsolved::Refused(reason) => CliError::new(reason),
                    Unsolved::Failed(error) => error,
                })
            })
            .collect()
    });
    bar.finish_and_clear();
    answers
}

fn print(score: &SnipsScore, forwards: f64, seconds: f64, as_json: bool) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    if as_json {
        let value = json!({
            "frame": score.frame, "intent": score.intent, "slot_f1": score.slot_f1,
            "invalid": score.invalid, "n": score.n, "forwards": forwards, "seconds": seconds,
        });
        writeln!(out, "{value}")?;
        return Ok(());
    }
    writeln!(out, "whole frame right  {:6.2} %", score.frame)?;
    writeln!(out, "intent right       {:6.2} %", score.intent)?;
    writeln!(out, "slot F1            {:6.2} %", score.slot_f1)?;
    writeln!(out, "invalid JSON       {:6.2} %", score.invalid)?;
    writeln!(out, "{} utterances, {forwards:.1} forwards each, {seconds:.1} s", score.n)?;
    Ok(())
}
