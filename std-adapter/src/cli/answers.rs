//! Single answers as JSON lines, for a person who wants to see what is behind a score.

use super::image::refuse_same_file;
use super::run::tokenizer_of;
use super::solve::{Answer, refuse_texts};
use super::{CliError, Problem};
use crate::atomic::{check_place, write_atomic};
use crate::harness::task::Task;
use crate::load::LoadedModel;
use serde::Serialize;
use std::io::Write;
use std::path::Path;

/// A line of the file.
#[derive(Serialize)]
struct Line {
    /// From 1.
    item: usize,
    prompt: String,
    expected: Text,
    answer: Text,
    /// By the first of the task's scores.
    right: bool,
}

/// What an answer is.
#[derive(Serialize)]
#[serde(untagged)]
enum Text {
    Whole(String),
    /// One for each gap.
    Gaps(Vec<String>),
}

/// Refuses a file that could not be written, or is the task itself, and a task that has no answers.
pub(super) fn check(path: &Path, task: &Task, task_path: &Path) -> Result<(), CliError> {
    refuse_texts(task)?;
    refuse_same_file(task_path, path)?;
    check_place(path).problem()
}

/// Writes a line for each answer, in the order of the task.
pub(super) fn write(
    path: &Path,
    task: &Task,
    model: &LoadedModel,
    answers: &[Answer],
) -> Result<(), CliError> {
    let tokenizer = tokenizer_of(model)?;
    let line = |(at, Answer { reply, .. }): (usize, &Answer)| {
        let (expected, answer) = match &reply.filled {
            Some((gaps, filled)) => (
                Text::Gaps(gaps.texts(&gaps.tokens, &tokenizer)),
                Text::Gaps(gaps.texts(filled, &tokenizer)),
            ),
            None => (Text::Whole(task.answer(at)), Text::Whole(reply.text.clone())),
        };
        let right = task.quality(at, reply) == 1.0;
        Line { item: at + 1, prompt: task.prompt(at), expected, answer, right }
    };
    let written = write_atomic(path, |file| {
        answers.iter().enumerate().map(line).try_for_each(|line| {
            serde_json::to_writer(&mut *file, &line)?;
            file.write_all(b"\n")
        })
    });
    written.problem()
}
