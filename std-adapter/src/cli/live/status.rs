//! Counts, and the lines that show them.

use demask::StepEvent;
use demask::decode::{Commit, Score};
use std::time::Duration;

/// The counts of a decode so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Status {
    /// 0 if unknown.
    steps_planned: usize,
    masks_at_start: usize,
    steps: usize,
    forwards: u32,
    /// Tokens of the last step.
    committed: usize,
    /// Tokens of all steps.
    tokens: usize,
    masks: usize,
}

impl Status {
    pub(super) fn new(steps_planned: usize, masks: usize) -> Self {
        Self { steps_planned, masks_at_start: masks, masks, ..Self::default() }
    }

    pub(super) fn note(&mut self, event: &StepEvent<'_>) {
        self.steps += 1;
        self.forwards = event.forward + 1;
        self.committed = event.commits.len();
        self.tokens += event.commits.len();
        self.masks = event.masks;
    }

    /// Below a live canvas.
    pub(super) fn now(&self, time: Duration) -> [String; 6] {
        self.parts(format!("+{}", tokens(self.committed)), time)
    }

    /// After the last step.
    pub(super) fn totals(&self, time: Duration) -> [String; 6] {
        self.parts(tokens(self.tokens), time)
    }

    fn parts(&self, tokens: String, time: Duration) -> [String; 6] {
        let planned = match self.steps_planned {
            0 => String::new(),
            planned => format!("/{planned}"),
        };
        [
            format!("step {}{planned}", self.steps),
            format!("forwards {}", self.forwards),
            tokens,
            format!("{:.1} tokens/forward", self.tokens as f64 / f64::from(self.forwards.max(1))),
            format!("{} mask{} left", self.masks, plural(self.masks)),
            format!("{:.2} s", time.as_secs_f64()),
        ]
    }

    /// One line of a pipe, in columns.
    pub(super) fn plain(&self, text: &str) -> String {
        let steps = digits(self.steps_planned);
        let masks = digits(self.masks_at_start);
        let committed = format!("+{}", self.committed);
        format!(
            "{:>steps$}  {committed:>width$}  {:>masks$} left  {text}\n",
            self.steps,
            self.masks,
            width = masks + 1,
        )
    }
}

/// Fills rows of `width` columns with as many parts as fit.
pub(super) fn fold(parts: &[String], separator: &str, width: usize) -> Vec<String> {
    let mut rows: Vec<String> = Vec::new();
    for part in parts {
        let columns = |text: &str| text.chars().count();
        match rows.last_mut() {
            Some(row) if columns(row) + columns(separator) + columns(part) <= width => {
                row.push_str(separator);
                row.push_str(part);
            }
            _ => rows.push(part.clone()),
        }
    }
    rows
}

/// The probability of a committed token. A policy may rank by something else, and then the score
/// knows better, provided that it speaks of the same token.
pub(super) fn confidence(commit: &Commit, scores: &[Score]) -> f32 {
    let score = scores.binary_search_by_key(&commit.position, |score| score.position);
    match score.ok().map(|at| &scores[at]) {
        Some(score) if score.proposal == commit.token => score.confidence(),
        _ => commit.confidence.clamp(0.0, 1.0),
    }
}

fn tokens(count: usize) -> String {
    format!("{count} token{}", plural(count))
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

fn digits(number: usize) -> usize {
    number.to_string().len()
}
