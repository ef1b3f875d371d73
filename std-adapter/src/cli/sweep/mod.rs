//! `demask sweep`: quality against forward passes, rows and time, for many ways of decoding.
//!
//! | module | what it does |
//! |---|---|
//! | `grid` | which combinations, in which order |
//! | `measure` | a combination on a task |
//! | `record` | results on disk, so that a sweep can be broken off and go on |
//! | `statistics` | means, gains, errors, fronts |
//! | `report` | all of it for machines: JSON, CSV |
//! | `page`, `plot` | all of it for people: one HTML page |

mod grid;
mod measure;
mod page;
mod plot;
mod record;
mod report;
mod statistics;

use super::options::{DecodeArgs, MachineArgs, ModelArgs};
use super::solve::{Solver, refuse_texts};
use super::{CliError, Problem};
use crate::atomic::write_atomic_bytes;
use crate::harness::task::Task;
use clap::Args;
use grid::{Cell, Grid};
use indicatif::{ProgressBar, ProgressStyle};
use measure::Bench;
use record::{Record, Results, key};
use report::Report;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// Names of the files that are written.
const RESULTS: &str = "results.jsonl";
const JSON: &str = "sweep.json";
const CSV: &str = "sweep.csv";
const PAGE: &str = "index.html";

#[derive(Debug, Args)]
pub(super) struct SweepArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// JSON lines with prompts and answers, utterances and frames, lists, or texts with gaps
    #[arg(long, value_name = "FILE")]
    task: PathBuf,
    /// Only the first N items
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Folder for the results; a sweep that was broken off goes on from what is there
    #[arg(long, value_name = "FOLDER", default_value = "sweep")]
    out: PathBuf,
    /// JSON object of lists, in place of the lists below; `cells` adds single combinations
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["policies", "schedules", "caches", "eos", "block_lengths", "steps"]
    )]
    grid: Option<PathBuf>,
    /// Policies [default: with no list at all, every method against the baseline]
    #[arg(long, value_name = "POLICY", num_args = 1..)]
    policies: Vec<String>,
    /// Schedules
    #[arg(long, value_name = "SCHEDULE", num_args = 1..)]
    schedules: Vec<String>,
    /// Cache plans
    #[arg(long, value_name = "PLAN", num_args = 1..)]
    caches: Vec<String>,
    /// End rules
    #[arg(long, value_name = "RULE", num_args = 1..)]
    eos: Vec<String>,
    /// Tokens per block
    #[arg(long, value_name = "N", num_args = 1..)]
    block_lengths: Vec<usize>,
    /// Forward passes for the whole text, for policies that follow a schedule
    #[arg(long, value_name = "N", num_args = 1..)]
    steps: Vec<usize>,
    /// Tokens to generate [default: 56, or what the context has room for]
    #[arg(long, value_name = "N")]
    gen_length: Option<usize>,
    /// Seed of the random numbers
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// 0 takes the most probable token; 1 samples [default: 0]
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    temperature: Option<f32>,
    #[command(flatten)]
    machine: MachineArgs,
    /// Print the summary as one JSON object
    #[arg(long)]
    json: bool,
}

impl SweepArgs {
    /// What all cells have in common.
    fn common(&self) -> DecodeArgs {
        DecodeArgs {
            gen_length: self.gen_length,
            seed: self.seed,
            temperature: self.temperature,
            ..DecodeArgs::default()
        }
    }

    fn grid(&self) -> Result<Grid, CliError> {
        match &self.grid {
            Some(path) => Grid::read(path),
            None => Ok(Grid {
                policies: self.policies.clone(),
                schedules: self.schedules.clone(),
                caches: self.caches.clone(),
                eos: self.eos.clone(),
                block_lengths: self.block_lengths.clone(),
                steps: self.steps.clone(),
                cells: Vec::new(),
            }),
        }
    }
}

pub(super) fn run(args: &SweepArgs) -> Result<(), CliError> {
    let cells = args.grid()?.cells()?;
    let task = Task::load(&args.task).problem()?.first(args.limit.unwrap_or(usize::MAX));
    if task.is_empty() {
        return Err(CliError::new("--limit 0 leaves nothing to measure; give a larger number"));
    }
    refuse_texts(&task)?;
    let model = args.model.open()?;
    let runtime = args.model.runtime(&model)?;
    let solver = Solver { model: &model, runtime: &runtime, kernels: args.machine.kernels };
    let common = args.common();
    let depends_on = dependence(&solver, &task, &common)?;
    let keys: Vec<String> = cells.iter().map(|cell| key(&depends_on, &cell.text())).collect();

    std::fs::create_dir_all(&args.out).map_err(|error| {
        CliError::new(format!("cannot make the folder {}: {error}", args.out.display()))
    })?;
    let path = args.out.join(RESULTS);
    let mut results = earlier(&path, task.len(), &keys)?;
    let pool =
        rayon::ThreadPoolBuilder::new().num_threads(args.machine.threads()).build().problem()?;
    let style = "{bar:30} {pos}/{len} answers, {eta} left  {msg}";
    let bar = ProgressBar::new((cells.len() * task.len()) as u64)
        .with_style(ProgressStyle::with_template(style).problem()?);
    let bench = Bench { solver, task: &task, pool: &pool, bar: &bar };
    for (cell, key) in cells.iter().zip(&keys) {
        bar.set_message(cell.label());
        if results.find(key).is_some() {
            bar.inc(task.len() as u64);
            continue;
        }
        results.put(bench.measure(cell, key, &common)?);
        results.write(&path).problem()?;
    }
    bar.finish_and_clear();
    let records: Vec<&Record> = keys.iter().filter_map(|key| results.find(key)).collect();
    write_reports(args, &model, &task, &cells, &records)
}

/// Everything that a result depends on, besides the cell.
fn dependence(solver: &Solver<'_>, task: &Task, common: &DecodeArgs) -> Result<String, CliError> {
    let mut items = Sha256::new();
    for at in 0..task.len() {
        for text in [task.prompt(at), task.answer(at)] {
            items.update((text.len() as u64).to_le_bytes());
            items.update(text.as_bytes());
        }
    }
    let baseline = Cell::baseline().decode(common);
    let model = solver.fingerprint(task, &baseline)?;
    let DecodeArgs { gen_length, seed, temperature, .. } = common;
    Ok(format!(
        "{model} {:?} {gen_length:?} {seed} {temperature:?} {}",
        items.finalize(),
        env!("CARGO_PKG_VERSION")
    ))
}

/// Results of a sweep that was broken off, or of another one.
fn earlier(path: &Path, items: usize, keys: &[String]) -> Result<Results, CliError> {
    let results = Results::read(path, items);
    let results = results
        .map_err(|error| CliError::new(format!("cannot read {}: {error}", path.display())))?;
    if !results.damaged.is_empty() {
        let lines: Vec<String> = results.damaged.iter().map(usize::to_string).collect();
        eprintln!(
            "demask: {}: no result can be read from line {}; what is missing is measured again",
            path.display(),
            lines.join(", ")
        );
    }
    match results.others(keys) {
        0 => {}
        others => eprintln!(
            "demask: {}: {others} results are of another model, task, setting or grid; they stay in \
             the file and out of the reports",
            path.display()
        ),
    }
    Ok(results)
}

fn write_reports(
    args: &SweepArgs,
    model: &crate::load::LoadedModel,
    task: &Task,
    cells: &[Cell],
    records: &[&Record],
) -> Result<(), CliError> {
    let name = |path: &Path| path.file_name().unwrap_or(path.as_os_str()).display().to_string();
    let about = report::About {
        model: name(&args.model.model),
        family: model.config().architecture.name().to_owned(),
        task: name(&args.task),
        measure: task.kind().measure().to_owned(),
        items: task.len(),
    };
    let report = Report::new(about, cells, records)?;
    let json = report.json().problem()?;
    write_atomic_bytes(&args.out.join(JSON), format!("{json}\n").as_bytes()).problem()?;
    write_atomic_bytes(&args.out.join(CSV), report.csv().as_bytes()).problem()?;
    let page = args.out.join(PAGE);
    write_atomic_bytes(&page, page::write(&report).as_bytes()).problem()?;
    let mut out = std::io::stdout().lock();
    match args.json {
        true => std::io::Write::write_fmt(&mut out, format_args!("{json}\n"))?,
        false => report.print(&mut out, &page)?,
    }
    Ok(())
}
