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
    /// In the last step, and in all.
    rows: (usize, usize),
    taken_back: (usize, usize),
    replaced: (usize, usize),
}

/// The lines below a canvas, each as parts that stay together.
pub(super) struct Lines {
    /// Steps, tokens, masks.
    pub(super) counts: Vec<String>,
    /// Method, rows, revisions, time.
    pub(super) method: Vec<String>,
}

impl Status {
    pub(super) fn new(steps_planned: usize, masks: usize) -> Self {
        Self { steps_planned, masks_at_start: masks, masks, ..Self::default() }
    }

    pub(super) fn note(&mut self, event: &StepEvent<'_>, mask: u32) {
        self.steps += 1;
        self.forwards = event.forward + 1;
        self.committed = event.commits.len();
        self.tokens += event.commits.len();
        self.masks = event.masks;
        let taken_back = event.revisions.iter().filter(|revision| revision.token == mask).count();
        let add = |(_, all): (usize, usize), now| (now, all + now);
        self.rows = add(self.rows, event.rows);
        self.taken_back = add(self.taken_back, taken_back);
        self.replaced = add(self.replaced, event.revisions.len() - taken_back);
    }

    /// The canvas has grown by masks.
    pub(super) fn grow(&mut self, masks: usize) {
        self.masks_at_start += masks;
        self.masks += masks;
    }

    /// Below a live canvas; `method` says what decodes.
    pub(super) fn now(&self, method: &[String], time: Duration) -> Lines {
        let last = |(now, _): (usize, usize)| now;
        self.lines(format!("+{}", tokens(self.committed)), method, last, time)
    }

    /// After the last step.
    pub(super) fn totals(&self, method: &[String], time: Duration) -> Lines {
        self.lines(tokens(self.tokens), method, |(_, all)| all, time)
    }

    fn lines(
        &self,
        tokens: String,
        method: &[String],
        which: fn((usize, usize)) -> usize,
        time: Duration,
    ) -> Lines {
        let planned = match self.steps_planned {
            0 => String::new(),
            planned => format!("/{planned}"),
        };
        let counts = vec![
            format!("step {}{planned}", self.steps),
            format!("forwards {}", self.forwards),
            tokens,
            format!("{:.1} tokens/forward", self.tokens as f64 / f64::from(self.forwards.max(1))),
            format!("{} mask{} left", self.masks, plural(self.masks)),
        ];
        let mut of_method = method.to_vec();
        if !method.is_empty() {
            of_method.push(format!("rows {}", which(self.rows)));
        }
        // Most methods take nothing back: for them there is nothing to say.
        for ((now, all), what) in [(self.taken_back, "taken back"), (self.replaced, "replaced")] {
            if all > 0 {
                of_method.push(format!("{} {what}", which((now, all))));
            }
        }
        of_method.push(format!("{:.2} s", time.as_secs_f64()));
        Lines { counts, method: of_method }
    }

    /// One line of a pipe, in columns: `+` committed, `-` taken back, `~` replaced.
    pub(super) fn plain(&self, text: &str) -> String {
        let steps = digits(self.steps_planned);
        let masks = digits(self.masks_at_start);
        let mut committed = format!("+{}", self.committed);
        for (sign, (count, _)) in [("-", self.taken_back), ("~", self.replaced)] {
            if count > 0 {
                committed += &format!(" {sign}{count}");
            }
        }
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
