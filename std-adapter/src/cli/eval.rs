//! `demask eval`: a model's scores on a task, and the likelihood that it gives to what is right.

use super::options::{DecodeArgs, MachineArgs, ModelArgs};
use super::solve::{Answer, Solver};
use super::texts::{BoundArgs, PieceScorer};
use super::{CliError, Problem, answers, table};
use crate::harness::budget::Budget;
use crate::harness::likelihood::{Bound, PieceNats, bound, log_probabilities};
use crate::harness::masks::Key;
use crate::harness::statistics::{Estimate, mean};
use crate::harness::task::{Kind, Mark, Score, Task};
use crate::load::LoadedModel;
use crate::runtime::{Memory, Runtime};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use rayon::ThreadPool;
use rayon::prelude::*;
use serde_json::{Map, Value, json};
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

#[derive(Debug, Args)]
pub(super) struct EvalArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// JSON lines: utterances with frames, prompts with answers, lists, texts with gaps, or texts
    #[arg(long, value_name = "FILE")]
    task: PathBuf,
    /// Only the first N items
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Measure the likelihood of the right answers as well, as a bound; of texts that is all there is
    #[arg(long)]
    nll: bool,
    #[command(flatten)]
    bound: BoundArgs,
    /// Fail if a number is beyond a limit, such as frame>=85 or nll<=0.2; may be given several times
    #[arg(long = "budget", value_name = "NAME>=NUMBER")]
    budgets: Vec<Budget>,
    #[command(flatten)]
    decode: DecodeArgs,
    #[command(flatten)]
    machine: MachineArgs,
    /// Write every answer, with its prompt and what was expected, to this file as JSON lines
    #[arg(long, value_name = "FILE")]
    answers: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Everything that was measured.
struct Measured {
    kind: Kind,
    items: usize,
    seed: u64,
    digest: String,
    scores: Vec<Score>,
    /// Items of one kind by themselves: name, number of items, scores.
    groups: Vec<(&'static str, usize, Vec<Score>)>,
    forwards: Option<Estimate>,
    bound: Option<Bound>,
    seconds: f64,
}

pub(super) fn run(args: &EvalArgs) -> Result<(), CliError> {
    let task = Task::load(&args.task).problem()?.first(args.limit.unwrap_or(usize::MAX));
    if task.is_empty() {
        return Err(CliError::new("--limit 0 leaves nothing to measure; give a larger number"));
    }
    let wants_bound = args.nll || task.kind() == Kind::Texts;
    Budget::check_names(&args.budgets, &names(&task, wants_bound)).map_err(CliError::new)?;
    if let Some(path) = &args.answers {
        answers::check(path, &task, &args.task)?;
    }
    let model = args.model.open()?;
    let runtime = args.model.runtime(&model)?;
    let started = Instant::now();
    let threads = args.machine.threads();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().problem()?;
    let bound = match wants_bound {
        true => Some(measure_bound(args, &task, (&model, &runtime), &pool)?),
        false => None,
    };
    let solved = match task.kind() {
        Kind::Texts => Vec::new(),
        _ => answer_all(args, &task, (&model, &runtime), &pool)?,
    };
    let seconds = started.elapsed().as_secs_f64();
    let written = match &args.answers {
        Some(path) => answers::write(path, &task, &model, &solved),
        None => Ok(()),
    };
    let measured = Measured {
        bound,
        seconds,
        digest: model.digest().problem()?,
        seed: args.decode.seed,
        ..Measured::of_answers(&task, &solved)
    };
    let mut out = std::io::stdout().lock();
    match args.json {
        true => writeln!(out, "{}", measured.json())?,
        false => measured.print(&mut out)?,
    }
    written?;
    Budget::missed(&args.budgets, &measured.numbers())
        .map_or(Ok(()), |missed| Err(CliError::new(missed)))
}

/// Names of everything that budgets can be about.
fn names(task: &Task, wants_bound: bool) -> Vec<String> {
    let mut names: Vec<String> =
        task.kind().scores().iter().map(|name| (*name).to_owned()).collect();
    names.extend(task.groups().into_iter().map(String::from));
    if task.kind() != Kind::Texts {
        names.push("forwards".into());
    }
    if wants_bound {
        names.extend(["nll", "nll_char", "nll_byte"].map(String::from));
    }
    names
}

/// A bar that shows how many of `what` are done.
pub(super) fn progress(count: usize, what: &str) -> Result<ProgressBar, CliError> {
    let style =
        ProgressStyle::with_template(&format!("{{bar:40}} {{pos}}/{{len}} {what}, {{eta}} left"));
    Ok(ProgressBar::new(count as u64).with_style(style.problem()?))
}

fn answer_all(
    args: &EvalArgs,
    task: &Task,
    (model, runtime): (&LoadedModel, &Runtime<'_>),
    pool: &ThreadPool,
) -> Result<Vec<Answer>, CliError> {
    let solver = Solver { model, runtime, kernels: args.machine.kernels };
    args.decode.announce(&solver.decoding(task, 0, &args.decode)?);
    let bar = progress(task.len(), "answers")?;
    let answers = solver.solve_all(task, &args.decode, (pool, &bar));
    bar.finish_and_clear();
    answers
}

/// The bound over all pieces of text, each on one thread.
fn measure_bound(
    args: &EvalArgs,
    task: &Task,
    (model, runtime): (&LoadedModel, &Runtime<'_>),
    pool: &ThreadPool,
) -> Result<Bound, CliError> {
    let pieces = args.bound.pieces(task, model, &args.decode)?;
    let mask = model.config().mask_id;
    let bar = progress(pieces.len(), "pieces of text")?;
    let one = |(number, text): (usize, &super::texts::TextPiece)| {
        let mut memory = Memory::default();
        let settings = MachineArgs { threads: Some(1), ..args.machine.clone() }
            .settings(text.piece.canvas.len());
        let network = runtime.network(&settings, &mut memory).problem()?;
        let mut scorer = PieceScorer::new(network, &text.piece);
        let key = Key { seed: args.decode.seed, piece: number as u64 };
        let found = bound(&text.piece, args.bound.draws as usize, key, mask, |canvas, places| {
            let rows = scorer.rows(canvas)?;
            let log = |at: &usize| {
                let truth = text.piece.canvas.get(*at).copied().unwrap_or(mask) as usize;
                let row = log_probabilities(rows.row(*at), mask);
                row.get(truth).copied().unwrap_or(f64::NEG_INFINITY)
            };
            Ok::<_, CliError>(places.iter().map(log).collect())
        })?;
        bar.inc(1);
        Ok(PieceNats { chars: text.chars as f64, bytes: text.bytes as f64, ..found })
    };
    let all: Result<Vec<PieceNats>, CliError> =
        pool.install(|| pieces.par_iter().enumerate().map(one).collect());
    bar.finish_and_clear();
    Ok(Bound::of(&all?))
}

impl Measured {
    fn of_answers(task: &Task, answers: &[Answer]) -> Self {
        let marks: Vec<Vec<Mark>> =
            answers.iter().enumerate().map(|(at, answer)| task.marks(at, &answer.reply)).collect();
        let group = |name: &'static str| {
            let own = marks.iter().enumerate().filter(|(at, _)| task.group(*at) == Some(name));
            let own: Vec<&[Mark]> = own.map(|(_, marks)| marks.as_slice()).collect();
            (name, own.len(), task.scores(&own))
        };
        let all: Vec<&[Mark]> = marks.iter().map(Vec::as_slice).collect();
        let forwards: Vec<f64> = answers.iter().map(|a| f64::from(a.forwards)).collect();
        Self {
            kind: task.kind(),
            items: task.len(),
            seed: 0,
            digest: String::new(),
            scores: task.scores(&all),
            groups: task.groups().into_iter().map(group).collect(),
            forwards: (!forwards.is_empty()).then(|| mean(&forwards)),
            bound: None,
            seconds: 0.0,
        }
    }

    /// All numbers that budgets can be about.
    fn numbers(&self) -> Vec<(String, f64)> {
        let mut numbers: Vec<(String, f64)> =
            self.scores.iter().map(|score| (score.name.to_owned(), score.percent.value)).collect();
        let first = |(name, _, scores): &(&str, usize, Vec<Score>)| {
            Some(((*name).to_owned(), scores.first()?.percent.value))
        };
        numbers.extend(self.groups.iter().filter_map(first));
        numbers.extend(self.forwards.map(|forwards| ("forwards".to_owned(), forwards.value)));
        if let Some(bound) = &self.bound {
            let units = [bound.per_token, bound.per_character, bound.per_byte];
            let named = ["nll", "nll_char", "nll_byte"].map(String::from).into_iter().zip(units);
            numbers.extend(named.map(|(name, estimate)| (name, estimate.value)));
        }
        numbers
    }

    fn json(&self) -> Value {
        let mut json = Map::new();
        let mut errors = Map::new();
        let mut put = |name: &str, estimate: Estimate| {
            json.insert(name.to_owned(), estimate.value.into());
            errors.insert(name.to_owned(), estimate.error.into());
        };
        self.scores.iter().for_each(|score| put(score.name, score.percent));
        if let Some(forwards) = self.forwards {
            put("forwards", forwards);
        }
        if let Some(bound) = &self.bound {
            put("nll", bound.per_token);
            put("nll_char", bound.per_character);
            put("nll_byte", bound.per_byte);
        }
        json.insert("errors".into(), errors.into());
        if !self.groups.is_empty() {
            let group = |(name, n, scores): &(&str, usize, Vec<Score>)| json!({ "name": name, "n": n, "scores": scores });
            json.insert("groups".into(), self.groups.iter().map(group).collect());
        }
        if let Some(bound) = &self.bound {
            json.insert("bound".into(), json!(bound));
        }
        let rest = json!({
            "kind": self.kind, "n": self.items, "seed": self.seed, "model": self.digest,
            "seconds": self.seconds,
        });
        json.extend(rest.as_object().cloned().unwrap_or_default());
        json.into()
    }

    fn print(&self, out: &mut impl Write) -> Result<(), CliError> {
        for score in &self.scores {
            let Estimate { value, error } = score.percent;
            writeln!(out, "{:<19}{value:6.2} ± {error:.2} %", title(score.name))?;
        }
        if !self.groups.is_empty() {
            let cell =
                |score: &Score| format!("{:.1} ± {:.1}", score.percent.value, score.percent.error);
            let row = |(name, n, scores): &(&str, usize, Vec<Score>)| {
                let mut row = vec![(*name).to_owned(), n.to_string()];
                row.extend(scores.iter().map(cell));
                row
            };
            let rows: Vec<Vec<String>> = self.groups.iter().map(row).collect();
            writeln!(out)?;
            let header: Vec<&str> =
                ["task", "n"].into_iter().chain(self.kind.scores().iter().copied()).collect();
            table::print(out, &header, &rows)?;
            writeln!(out)?;
        }
        if let Some(bound) = &self.bound {
            print_bound(out, bound)?;
        }
        let forwards =
            self.forwards.map_or(String::new(), |f| format!(", {:.1} forwards each", f.value));
        writeln!(out, "{} items{forwards}, {:.1} s", self.items, self.seconds)?;
        writeln!(out, "model {}", self.digest.get(..16).unwrap_or_default())?;
        Ok(())
    }
}

fn print_bound(out: &mut impl Write, bound: &Bound) -> Result<(), CliError> {
    let units =
        [("token", bound.per_token), ("character", bound.per_character), ("byte", bound.per_byte)];
    for (unit, Estimate { value, error }) in units {
        writeln!(out, "nats per {unit:<10}{value:6.4} ± {error:.4}, at most")?;
    }
    let (tokens, pieces) = (bound.tokens, bound.pieces);
    writeln!(out, "{tokens} tokens in {pieces} pieces; by share of tokens hidden:\n")?;
    let rows: Vec<Vec<String>> = bound
        .deciles
        .iter()
        .filter_map(|decile| {
            let nats = decile.nats?;
            let ratio = format!("{:.1} - {:.1}", decile.above, decile.up_to);
            Some(vec![
                ratio,
                format!("{:.4}", nats.value),
                format!("{:.4}", nats.error),
                decile.tokens.to_string(),
            ])
        })
        .collect();
    table::print(out, &["hidden", "nats", "error", "tokens"], &rows)?;
    writeln!(out)?;
    Ok(())
}

/// What a score is called in a table for people.
pub(super) fn title(score: &str) -> &str {
    match score {
        "frame" => "whole frame right",
        "intent" => "intent right",
        "slot_f1" => "slot F1",
        "invalid" => "no frame",
        "json" => "valid JSON",
        "right" => "answer right",
        "lenient" => "read leniently",
        "exact" => "gap right",
        "tokens" => "token right",
        other => other,
    }
}
