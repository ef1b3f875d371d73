//! Tasks with known answers, one JSON object per line.
//!
//! | line | right is |
//! |---|---|
//! | `{"intent": text, "segments": [[slot or null, text], ...]}` | the whole frame, as [`snips`] counts |
//! | `{"prompt": text, "answer": text}` | the same text, without white space around it |
//! | `{"task": name, "list": [text, ...], "item": text, "index": number}` | what [`list`] accepts |
//! | `{"text": text, "hide": [[start, end], ...]}` | what stood in the gaps, see [`gaps`] |
//! | `{"text": text}` | nothing is asked: the text's likelihood is what counts |

pub mod gaps;
pub mod list;

use super::python_json::Value;
use super::snips::{self, Example, SnipsError};
use super::statistics::{Estimate, ratio};
use crate::read::read_capped;
use gaps::{GapTokens, Gaps, GapsLine};
use list::{ListLine, ListQuestion};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};

const MAX_FILE_BYTES: u64 = 64 << 20;

/// Why a file is no task.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}; give a file of JSON lines", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A line has bytes that are no text.
    #[error("line {line} is not UTF-8; convert the file")]
    Utf8 {
        /// Number of the line, from 1.
        line: usize,
    },
    /// A line is no item.
    #[error("line {line} is not an item: {reason}; expected is {expected} on every line")]
    Line {
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
        /// What a line looks like.
        expected: &'static str,
    },
    /// Nothing but empty lines.
    #[error("there is no item in the file; give a file of JSON lines")]
    Empty,
    /// The lines are examples of SNIPS, and one of them is not.
    #[error(transparent)]
    Snips(#[from] SnipsError),
}

/// What the items of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Utterances, to be turned into JSON frames.
    Frames,
    /// Prompts with one right answer each.
    Answers,
    /// Lists, and what to do with them.
    Lists,
    /// Texts with gaps.
    Gaps,
    /// Texts, and nothing to answer.
    Texts,
}

impl Kind {
    /// Told by the keys of the first line. What is none of the others should be an answer.
    fn of(line: &str) -> Self {
        let Ok(value) = serde_json::from_str::<serde_json::Value>(line) else {
            return Self::Answers;
        };
        let has = |key: &str| value.get(key).is_some();
        match () {
            () if has("segments") => Self::Frames,
            () if has("list") => Self::Lists,
            () if has("hide") => Self::Gaps,
            () if has("text") => Self::Texts,
            () => Self::Answers,
        }
    }

    const fn expected(self) -> &'static str {
        match self {
            Self::Frames => r#"{"intent": text, "segments": [[slot or null, text], ...]}"#,
            Self::Answers => {
                r#"{"prompt": text, "answer": text}, or one of the other kinds in docs/evaluation.md,"#
            }
            Self::Lists => {
                r#"{"task": name, "list": [text, ...]}, with "item" and "index" where the task takes them,"#
            }
            Self::Gaps => r#"{"text": text, "hide": [[first byte, byte after the last], ...]}"#,
            Self::Texts => r#"{"text": text}"#,
        }
    }

    /// Names of the scores, the most telling first. All are percentages.
    #[must_use]
    pub const fn scores(self) -> &'static [&'static str] {
        match self {
            Self::Frames => &["frame", "intent", "slot_f1", "invalid", "json"],
            Self::Answers => &["right", "json"],
            Self::Lists => &["right", "lenient", "json"],
            Self::Gaps => &["exact", "tokens"],
            Self::Texts => &[],
        }
    }

    /// What the first score counts.
    #[must_use]
    pub const fn measure(self) -> &'static str {
        match self {
            Self::Frames => "whole frames right",
            Self::Answers | Self::Lists => "answers right",
            Self::Gaps => "gaps right",
            Self::Texts => "nothing is asked",
        }
    }
}

/// Prompts, and what is right.
#[derive(Debug, Clone)]
pub struct Task {
    kind: Kind,
    items: Vec<Item>,
}

#[derive(Debug, Clone)]
enum Item {
    Frame(Example),
    Answer(AnswerLine),
    List(ListQuestion),
    Gaps(Gaps),
    Text(TextLine),
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct AnswerLine {
    prompt: String,
    answer: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct TextLine {
    text: String,
}

/// What a model is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question<'t> {
    /// An answer to this.
    Prompt(&'t str),
    /// To fill these gaps.
    Gaps(&'t Gaps),
}

/// What a model has made of a question.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reply {
    /// The text of its answer.
    pub text: String,
    /// The gaps and the canvas with what it filled in, for a question about gaps.
    pub filled: Option<(GapTokens, Vec<u32>)>,
}

/// A score of one item: so many right of so many.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mark {
    /// Name of the score.
    pub name: &'static str,
    /// What counts for it.
    pub hits: f64,
    /// What could.
    pub of: f64,
}

impl Mark {
    fn count(name: &'static str, hits: usize, of: usize) -> Self {
        Self { name, hits: hits as f64, of: of as f64 }
    }

    fn flag(name: &'static str, hit: bool) -> Self {
        Self::count(name, usize::from(hit), 1)
    }
}

/// One score over all items, in percent.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Score {
    /// Its name.
    pub name: &'static str,
    /// Percent.
    #[serde(flatten)]
    pub percent: Estimate,
}

impl Task {
    /// Reads a file; its first line decides of which kind it is.
    ///
    /// # Errors
    /// [`TaskError`].
    pub fn load(path: &Path) -> Result<Self, TaskError> {
        let bytes = read_capped(path, MAX_FILE_BYTES);
        let bytes = bytes.map_err(|source| TaskError::Read { path: path.to_owned(), source })?;
        let text = utf8(&bytes)?;
        let first = text.lines().find(|line| !line.trim().is_empty()).ok_or(TaskError::Empty)?;
        let kind = Kind::of(first);
        let items = match kind {
            Kind::Frames => {
                Ok(snips::parse(text.as_bytes())?.into_iter().map(Item::Frame).collect())
            }
            Kind::Answers => lines(kind, text, |line| Ok(Item::Answer(line))),
            Kind::Lists => {
                lines(kind, text, |line: ListLine| Ok(Item::List(ListQuestion::new(line)?)))
            }
            Kind::Gaps => lines(kind, text, |line: GapsLine| Ok(Item::Gaps(Gaps::new(line)?))),
            Kind::Texts => lines(kind, text, |line| Ok(Item::Text(line))),
        };
        Ok(Self { kind, items: items? })
    }

    /// The same with at most `limit` items.
    #[must_use]
    pub fn first(mut self, limit: usize) -> Self {
        self.items.truncate(limit);
        self
    }

    /// Number of items.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// What the items are.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What item `at` asks, or is. Of gaps, the whole text.
    #[must_use]
    pub fn prompt(&self, at: usize) -> String {
        match self.items.get(at) {
            Some(Item::Frame(example)) => example.render().0,
            Some(Item::Answer(line)) => line.prompt.clone(),
            Some(Item::List(question)) => question.prompt(),
            Some(Item::Gaps(gaps)) => gaps.text().to_owned(),
            Some(Item::Text(line)) => line.text.clone(),
            None => String::new(),
        }
    }

    /// What would be right, or one of the things that would. Of gaps, what stands in them.
    #[must_use]
    pub fn answer(&self, at: usize) -> String {
        match self.items.get(at) {
            Some(Item::Frame(example)) => example.render().1,
            Some(Item::Answer(line)) => line.answer.clone(),
            Some(Item::List(question)) => question.answer(),
            Some(Item::Gaps(gaps)) => gaps.hidden(),
            Some(Item::Text(_)) | None => String::new(),
        }
    }

    /// The gaps of item `at`, if it has some.
    #[must_use]
    pub fn gaps(&self, at: usize) -> Option<&Gaps> {
        match self.items.get(at) {
            Some(Item::Gaps(gaps)) => Some(gaps),
            _ => None,
        }
    }

    /// What item `at` is one of, where scores are also of interest apart: the name of a list task.
    #[must_use]
    pub fn group(&self, at: usize) -> Option<&'static str> {
        match self.items.get(at) {
            Some(Item::List(question)) => Some(question.task().name()),
            _ => None,
        }
    }

    /// All groups, in order of first appearance.
    #[must_use]
    pub fn groups(&self) -> Vec<&'static str> {
        let mut groups = Vec::new();
        for group in (0..self.len()).filter_map(|at| self.group(at)) {
            if !groups.contains(&group) {
                groups.push(group);
            }
        }
        groups
    }

    /// The marks of a reply to item `at`, in the order of [`Kind::scores`]; `json` is left out where a right
    /// answer is no JSON.
    #[must_use]
    pub fn marks(&self, at: usize, reply: &Reply) -> Vec<Mark> {
        let Some(item) = self.items.get(at) else { return Vec::new() };
        let text = reply.text.as_str();
        let mut marks = match item {
            Item::Frame(example) => {
                let verdict = snips::judge(example, text);
                let (right, all) = verdict.slots();
                vec![
                    Mark::flag("frame", verdict.frame),
                    Mark::flag("intent", verdict.intent),
                    Mark::count("slot_f1", right, all),
                    Mark::flag("invalid", verdict.invalid),
                ]
            }
            Item::Answer(line) => vec![Mark::flag("right", line.answer.trim() == text.trim())],
            Item::List(question) => {
                let (right, lenient) = question.judge(text);
                vec![Mark::flag("right", right), Mark::flag("lenient", lenient)]
            }
            Item::Gaps(_) => {
                let Some((gaps, filled)) = &reply.filled else { return Vec::new() };
                let (whole, tokens) = gaps.right(filled);
                return vec![
                    Mark::count("exact", whole, gaps.gaps.len()),
                    Mark::count("tokens", tokens, gaps.hidden().len()),
                ];
            }
            Item::Text(_) => return Vec::new(),
        };
        let right = self.answer(at);
        if right.starts_with(['{', '[']) && Value::parse(&right).is_some() {
            marks.push(Mark::flag("json", Value::parse(text).is_some()));
        }
        marks
    }

    /// How good a reply to item `at` is, 0 to 1: its first mark.
    #[must_use]
    pub fn quality(&self, at: usize, reply: &Reply) -> f64 {
        self.marks(at, reply)
            .first()
            .map_or(0.0, |mark| if mark.of > 0.0 { mark.hits / mark.of } else { 0.0 })
    }

    /// Scores from the marks of some items. What no item could count for is left out.
    #[must_use]
    pub fn scores(&self, marks: &[&[Mark]]) -> Vec<Score> {
        let of = |name: &'static str| {
            let mark = |marks: &&[Mark]| {
                let found = marks.iter().find(|mark| mark.name == name);
                found.map_or((0.0, 0.0), |mark| (100.0 * mark.hits, mark.of))
            };
            let (hits, of): (Vec<f64>, Vec<f64>) = marks.iter().map(mark).unzip();
            Some(Score { name, percent: ratio(&hits, &of)? })
        };
        self.kind.scores().iter().copied().filter_map(of).collect()
    }
}

/// A file as text, without a byte order mark: bytes that are replaced would be measured as if they stood there.
fn utf8(bytes: &[u8]) -> Result<&str, TaskError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        TaskError::Utf8 { line: 1 + before.iter().filter(|byte| **byte == b'\n').count() }
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

fn lines<L: DeserializeOwned>(
    kind: Kind,
    text: &str,
    item: impl Fn(L) -> Result<Item, String>,
) -> Result<Vec<Item>, TaskError> {
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line)| {
            let parsed = serde_json::from_str(line).map_err(|error| snips::reason(&error));
            parsed.and_then(&item).map_err(|reason| TaskError::Line {
                line: number,
                reason,
                expected: kind.expected(),
            })
        })
        .collect()
}

#[cfg(test)]
#[path = "task_tests.rs"]
mod tests;
