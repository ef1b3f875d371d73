//! `demask lists`: list tasks for `demask eval`, made by a generator.

use super::{CliError, Problem};
use crate::atomic::write_atomic_bytes;
use crate::harness::lists::ListTask;
use crate::harness::task::list::ListQuestion;
use clap::Args;
use demask::decode::philox4x32;
use std::io::Write;
use std::ops::RangeInclusive;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(super) struct ListsArgs {
    /// Tasks, such as copy or insert-index, or `all`
    #[arg(long, value_name = "NAME", num_args = 1.., default_value = "all")]
    task: Vec<String>,
    /// Items of a list: N, or N-M; a task has as many lists of each length
    #[arg(long, value_name = "N-M", default_value = "3-6", value_parser = lengths)]
    lengths: RangeInclusive<usize>,
    /// Lines per task
    #[arg(long, value_name = "N", default_value_t = 100)]
    count: u32,
    /// Seed: the same lines for the same one, everywhere
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// File to write [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
}

fn lengths(text: &str) -> Result<RangeInclusive<usize>, String> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    match (low.trim().parse(), high.trim().parse()) {
        (Ok(low), Ok(high)) if (2..=25).contains(&low) && low <= high && high <= 25 => {
            Ok(low..=high)
        }
        _ => Err("lengths are 2 to 25, such as 3-8: there are 26 letters".into()),
    }
}

pub(super) fn run(args: &ListsArgs) -> Result<(), CliError> {
    let mut lines = Vec::new();
    for task in tasks(&args.task)? {
        let span = args.lengths.end() - args.lengths.start() + 1;
        for number in 0..args.count {
            let length = args.lengths.start() + number as usize % span;
            let seed = seed_of(args.seed, task, number);
            let question = ListQuestion::generate(task, length, seed);
            // Lengths are checked; any other seed would do as well.
            let question =
                question.ok_or_else(|| CliError::new("no list of this length can be made"))?;
            serde_json::to_writer(&mut lines, question.line()).problem()?;
            lines.push(b'\n');
        }
    }
    match &args.out {
        Some(path) => write_atomic_bytes(path, &lines).problem(),
        None => Ok(std::io::stdout().lock().write_all(&lines)?),
    }
}

fn tasks(names: &[String]) -> Result<Vec<ListTask>, CliError> {
    match names.iter().any(|name| name == "all") {
        true => Ok(ListTask::ALL.to_vec()),
        false => names.iter().map(|name| name.parse().problem()).collect(),
    }
}

/// The seed of one line: of the task and its number, so that other tasks and counts leave it as it is.
fn seed_of(seed: u64, task: ListTask, number: u32) -> u64 {
    let task = ListTask::ALL.iter().position(|other| *other == task).unwrap_or_default();
    let [low, high, ..] =
        philox4x32([number, task as u32, 0, 0], [seed as u32, (seed >> 32) as u32]);
    u64::from(high) << 32 | u64::from(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_read() {
        assert_eq!((lengths("3-8"), lengths("5")), (Ok(3..=8), Ok(5..=5)));
        for bad in ["", "3-", "8-3", "1-4", "3-26", "-3", "a"] {
            assert!(lengths(bad).is_err(), "{bad}");
        }
    }
}
