//! A combination on a task.

use super::super::CliError;
use super::super::options::DecodeArgs;
use super::super::solve::{Answer, Solver, Unsolved};
use super::grid::Cell;
use super::record::{Measured, Record};
use crate::harness::task::Task;
use indicatif::ProgressBar;
use rayon::prelude::*;

/// What all combinations are measured with.
pub(super) struct Bench<'a> {
    pub(super) solver: Solver<'a>,
    pub(super) task: &'a Task,
    pub(super) pool: &'a rayon::ThreadPool,
    pub(super) bar: &'a ProgressBar,
}

impl Bench<'_> {
    /// Answers every item. A combination that is refused for one item is refused.
    ///
    /// # Errors
    /// [`CliError`] if something fails that has nothing to do with the combination.
    pub(super) fn measure(
        &self,
        cell: &Cell,
        key: &str,
        common: &DecodeArgs,
    ) -> Result<Record, CliError> {
        let decode = cell.decode(common);
        let record = |refused, measured| Record {
            key: key.to_owned(),
            cell: cell.text(),
            refused,
            measured,
        };
        // The first item says at once whether the parts go together.
        let answers = match self.answer(0, &decode) {
            Ok(first) => std::iter::once(Ok(first)).chain(self.others(&decode)).collect(),
            Err(unsolved) => Err(unsolved),
        };
        let answers: Result<Vec<Answer>, Unsolved> = answers;
        match answers {
            Ok(answers) => Ok(record(None, Some(self.numbers(&answers)))),
            Err(Unsolved::Failed(error)) => Err(error),
            Err(Unsolved::Refused(reason)) => {
                self.bar.inc(self.task.len() as u64);
                Ok(record(Some(reason), None))
            }
        }
    }

    fn answer(&self, at: usize, decode: &DecodeArgs) -> Result<Answer, Unsolved> {
        let answer = self.solver.solve(self.task, at, decode)?;
        self.bar.inc(1);
        Ok(answer)
    }

    /// All items but the first, in their order.
    fn others(&self, decode: &DecodeArgs) -> Vec<Result<Answer, Unsolved>> {
        self.pool.install(|| {
            (1..self.task.len()).into_par_iter().map(|at| self.answer(at, decode)).collect()
        })
    }

    fn numbers(&self, answers: &[Answer]) -> Measured {
        let list = |number: fn(&Answer) -> f64| answers.iter().map(number).collect();
        let quality = |(at, answer): (usize, &Answer)| self.task.quality(at, &answer.reply);
        Measured {
            quality: answers.iter().enumerate().map(quality).collect(),
            forwards: list(|answer| f64::from(answer.forwards)),
            rows: list(|answer| answer.rows as f64),
            // Digits below a microsecond mean nothing, and would not read back as they are.
            seconds: list(|answer| (answer.seconds * 1e6).round() / 1e6),
            revisions: answers.iter().map(|answer| answer.revisions).sum(),
            cpu_time: answers.iter().all(|answer| answer.cpu_time),
        }
    }
}
