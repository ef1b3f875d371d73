//! Tasks with known answers, one JSON object per line.
//!
//! | line | right is |
//! |---|---|
//! | `{"intent": text, "segments": [[slot or null, text], ...]}` | the whole frame, as [`snips`] counts |
//! | `{"prompt": text, "answer": text}` | the same text, without white space around it |

use super::snips::{self, Example, SnipsError, SnipsTally};
use crate::read::read_capped;
use serde::Deserialize;
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
    /// A line is no item.
    #[error(
        "line {line} is not an item: {reason}; expected is {{\"prompt\": text, \"answer\": text}} on \
         every line, or {{\"intent\": text, \"segments\": [[slot or null, text], ...]}} on every line"
    )]
    Line {
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// Nothing but empty lines.
    #[error("there is no item in the file; give a file of JSON lines")]
    Empty,
    /// The lines are examples of SNIPS, and one of them is not.
    #[error(transparent)]
    Snips(#[from] SnipsError),
}

/// Prompts, and what is right.
#[derive(Debug, Clone)]
pub struct Task {
    items: Vec<Item>,
}

#[derive(Debug, Clone)]
enum Item {
    Snips(Example),
    Answer { prompt: String, answer: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    prompt: String,
    answer: String,
}

impl Task {
    /// Reads a file; its first line decides of which kind it is.
    ///
    /// # Errors
    /// [`TaskError`].
    pub fn load(path: &Path) -> Result<Self, TaskError> {
        let bytes = read_capped(path, MAX_FILE_BYTES);
        let bytes = bytes.map_err(|source| TaskError::Read { path: path.to_owned(), source })?;
        let text = String::from_utf8_lossy(&bytes);
        let first = text.lines().find(|line| !line.trim().is_empty()).ok_or(TaskError::Empty)?;
        let kind: Result<serde_json::Value, _> = serde_json::from_str(first);
        if kind.is_ok_and(|value| value.get("segments").is_some()) {
            let items = snips::parse(&bytes)?.into_iter().map(Item::Snips).collect();
            return Ok(Self { items });
        }
        Self::parse_answers(&text)
    }

    fn parse_answers(text: &str) -> Result<Self, TaskError> {
        let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
        let items: Result<Vec<Item>, TaskError> = lines
            .map(|(number, line)| {
                let item: Result<Line, _> = serde_json::from_str(line);
                let Line { prompt, answer } = item
                    .map_err(|error| TaskError::Line { line: number, reason: error.to_string() })?;
                Ok(Item::Answer { prompt, answer })
            })
            .collect();
        Ok(Self { items: items? })
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

    /// What is counted as right.
    #[must_use]
    pub fn measure(&self) -> &'static str {
        match self.items.first() {
            Some(Item::Snips(_)) => "whole frames right",
            _ => "answers right",
        }
    }

    /// What item `at` asks.
    #[must_use]
    pub fn prompt(&self, at: usize) -> String {
        match self.items.get(at) {
            Some(Item::Snips(example)) => example.render().0,
            Some(Item::Answer { prompt, .. }) => prompt.clone(),
            None => String::new(),
        }
    }

    /// What would be right.
    #[must_use]
    pub fn answer(&self, at: usize) -> String {
        match self.items.get(at) {
            Some(Item::Snips(example)) => example.render().1,
            Some(Item::Answer { answer, .. }) => answer.clone(),
            None => String::new(),
        }
    }

    /// Whether a text is a right answer to item `at`.
    #[must_use]
    pub fn is_right(&self, at: usize, text: &str) -> bool {
        match self.items.get(at) {
            Some(Item::Snips(example)) => {
                let mut tally = SnipsTally::default();
                tally.add(example, text);
                tally.score().frame > 0.0
            }
            Some(Item::Answer { answer, .. }) => answer.trim() == text.trim(),
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Task, TaskError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Task::load(file.path())
    }

    #[test]
    fn answers_are_compared_without_space_around_them() {
        let lines =
            "{\"prompt\":\"2+2\",\"answer\":\"4\"}\n\n{\"prompt\":\"a\",\"answer\":\" b \"}\n";
        let task = load(lines).unwrap();
        assert_eq!((task.len(), task.measure()), (2, "answers right"));
        assert_eq!((task.prompt(0), task.answer(1)), ("2+2".into(), " b ".into()));
        assert!(task.is_right(0, " 4\n") && !task.is_right(0, "44") && task.is_right(1, "b"));
        assert!(!task.is_right(2, ""));
        assert_eq!(task.first(1).len(), 1);
    }

    #[test]
    fn frames_are_compared_as_frames() {
        let line = "{\"intent\":\"Play\",\"segments\":[[null,\"play\"],[\"artist\",\"Weezer\"]]}";
        let task = load(line).unwrap();
        assert_eq!(task.prompt(0), "play weezer");
        assert!(task.is_right(0, "{\"artist\":\"weezer\",\"intent\":\"Play\"}"));
        assert!(!task.is_right(0, "{\"intent\":\"Play\"}") && !task.is_right(0, "nonsense"));
        assert_eq!(task.measure(), "whole frames right");
    }

    #[test]
    fn what_is_no_item_is_named() {
        let said = |text: &str| load(text).unwrap_err().to_string();
        assert!(said("").contains("no item"));
        assert!(said("{\"prompt\":\"a\",\"answer\":\"b\"}\n{\"prompt\":3}").contains("line 2"));
        assert!(said("{\"prompt\":\"a\"}").contains("answer"));
        assert!(said("{\"intent\":1,\"segments\":[]}").contains("line 1"));
        assert!(Task::load(Path::new("nowhere.jsonl")).is_err());
    }
}
