//! SNIPS: from an utterance to a JSON frame with an intent and slots (Coucke et al. 2018,
//! <https://arxiv.org/abs/1805.10190>).
//!
//! Texts, frames and scores are those of the scripts that train the bundled model, to the letter;
//! how an answer is produced is the caller's business.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::python_json::Value;
use crate::read::read_capped;

const MAX_FILE_BYTES: u64 = 64 << 20;
const MAX_LINE_BYTES: usize = 64 << 10;

/// One utterance with its annotation, in normal form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// What the speaker wants.
    pub intent: String,
    /// The utterance in pieces, each with the slot that it fills, if any. None is empty.
    pub segments: Vec<(Option<String>, String)>,
}

/// Why a file of examples was refused.
#[derive(Debug, thiserror::Error)]
pub enum SnipsError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}; give a file of JSON lines", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A line is not an example.
    #[error(
        "line {line} is not an example: {reason}; expected is \
         {{\"intent\": text, \"segments\": [[slot or null, text], ...]}}"
    )]
    Line {
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// Nothing but empty lines.
    #[error("there is no example in the file; give a file of JSON lines")]
    Empty,
}

/// An example as it is stored.
#[derive(Deserialize)]
struct Line {
    intent: String,
    segments: Vec<(Option<String>, String)>,
}

/// Reads a file with one JSON object per line; empty lines are skipped.
///
/// # Errors
/// [`SnipsError`] names the line.
pub fn load(path: &Path) -> Result<Vec<Example>, SnipsError> {
    let read = |source| SnipsError::Read { path: path.to_owned(), source };
    parse(&read_capped(path, MAX_FILE_BYTES).map_err(read)?)
}

/// [`load`] for content that is already in memory.
///
/// # Errors
/// As [`load`].
pub fn parse(content: &[u8]) -> Result<Vec<Example>, SnipsError> {
    let mut examples = Vec::new();
    for (number, line) in (1..).zip(content.split(|&b| b == b'\n')) {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let example = parse_line(line);
        examples.push(example.map_err(|reason| SnipsError::Line { line: number, reason })?);
    }
    if examples.is_empty() { Err(SnipsError::Empty) } else { Ok(examples) }
}

fn parse_line(line: &[u8]) -> Result<Example, String> {
    if line.len() > MAX_LINE_BYTES {
        return Err(format!("it is longer than {MAX_LINE_BYTES} bytes"));
    }
    let Line { intent, segments } = serde_json::from_slice(line).map_err(|e| reason(&e))?;
    if segments.iter().any(|(slot, _)| slot.as_deref() == Some("intent")) {
        return Err("a slot is called \"intent\", which is the key of the intent itself".into());
    }
    let segments = segments.into_iter().map(|(slot, text)| (slot, normal_form(&text)));
    let segments = segments.filter(|(_, words)| !words.is_empty()).collect();
    Ok(Example { intent, segments })
}

/// What is wrong with a line of JSON, which is number 1 to its parser whatever its number in the file.
pub(super) fn reason(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column ", " at column ")
}

/// The normal form of an utterance: lower case, the characters `. , ? ! ; ' ’ " ( )` replaced by
/// spaces, single spaces between words and none around them. Prompts must have it.
#[must_use]
pub fn normal_form(text: &str) -> String {
    const DROPPED: [char; 10] = ['.', ',', '?', '!', ';', '\'', '’', '"', '(', ')'];
    // Python's split() also breaks at the four ASCII separators.
    let separates =
        |c: char| c.is_whitespace() || ('\x1c'..='\x1f').contains(&c) || DROPPED.contains(&c);
    let lower = text.to_lowercase();
    let words: Vec<&str> = lower.split(separates).filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

impl Example {
    /// The utterance, and the frame as compact JSON: the intent, then the slots in order of first
    /// appearance; a slot that is filled more than once is a list.
    #[must_use]
    pub fn render(&self) -> (String, String) {
        let words: Vec<&str> = self.segments.iter().map(|(_, words)| words.as_str()).collect();
        let mut frame = String::from("{\"intent\":");
        push_json(&mut frame, &self.intent);
        for (slot, values) in self.slots() {
            frame.push(',');
            push_json(&mut frame, slot);
            frame.push(':');
            if let [value] = values.as_slice() {
                push_json(&mut frame, value);
                continue;
            }
            for (i, value) in values.iter().enumerate() {
                frame.push(if i == 0 { '[' } else { ',' });
                push_json(&mut frame, value);
            }
            frame.push(']');
        }
        frame.push('}');
        (words.join(" "), frame)
    }

    fn slots(&self) -> Vec<(&str, Vec<&str>)> {
        let mut slots: Vec<(&str, Vec<&str>)> = Vec::new();
        for (slot, words) in &self.segments {
            let Some(slot) = slot else { continue };
            match slots.iter_mut().find(|(name, _)| name == slot) {
                Some((_, values)) => values.push(words),
                None => slots.push((slot, vec![words])),
            }
        }
        slots
    }
}

/// A JSON string as `json.dumps(text, ensure_ascii=False)` writes it.
fn push_json(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            // Writing to a String does not fail.
            c if c < ' ' => _ = write!(out, "\\u{:04x}", u32::from(c)),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// What counts of a frame: the intent, and the slots with their values as text, sorted.
#[derive(Debug, Clone, PartialEq)]
struct Frame {
    intent: Value,
    slots: Vec<(String, String)>,
}

impl Frame {
    /// `None` for invalid JSON and for anything but an object with an intent.
    fn parse(json: &str) -> Option<Self> {
        let Some(Value::Object(fields)) = Value::parse(json) else { return None };
        let mut intent = None;
        let mut slots = Vec::new();
        for (key, value) in fields {
            match value {
                value if key == "intent" => intent = Some(value),
                Value::List(items) => slots.extend(items.iter().map(|v| (key.clone(), v.to_str()))),
                value => slots.push((key, value.to_str())),
            }
        }
        slots.sort();
        Some(Self { intent: intent?, slots })
    }
}

/// What is right about one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Intent and slots are all right.
    pub frame: bool,
    /// The intent is right.
    pub intent: bool,
    /// It is not a frame at all.
    pub invalid: bool,
    /// Slots of the example whose name and value are in the answer.
    pub right_slots: usize,
    /// Slots of the answer that the example does not have.
    pub wrong_slots: usize,
    /// Slots of the example that the answer does not have.
    pub missed_slots: usize,
}

impl Verdict {
    /// Numerator and denominator of the F1 score over slots, to be summed over examples.
    #[must_use]
    pub fn slots(&self) -> (usize, usize) {
        let right = 2 * self.right_slots;
        (right, right + self.wrong_slots + self.missed_slots)
    }
}

/// Judges one answer, the text up to the first end token.
#[must_use]
pub fn judge(example: &Example, answer: &str) -> Verdict {
    let (_, gold) = example.render();
    // A rendered example is a frame; were it not one, nothing would count as right.
    let gold = Frame::parse(&gold);
    let gold_slots = gold.as_ref().map_or(&[][..], |gold| &gold.slots);
    let found = Frame::parse(answer);
    let found_slots = found.as_ref().map_or(&[][..], |found| &found.slots);
    let intent = |frame: &Option<Frame>| frame.as_ref().map(|frame| frame.intent.clone());
    let right = common(gold_slots, found_slots);
    Verdict {
        frame: found.is_some() && gold == found,
        intent: found.is_some() && intent(&gold) == intent(&found),
        invalid: found.is_none(),
        right_slots: right,
        wrong_slots: found_slots.len() - right,
        missed_slots: gold_slots.len() - right,
    }
}

/// Size of the intersection of two sorted multisets.
fn common(a: &[(String, String)], b: &[(String, String)]) -> usize {
    let (mut i, mut j, mut count) = (0, 0, 0);
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        count += usize::from(x == y);
        i += usize::from(x <= y);
        j += usize::from(x >= y);
    }
    count
}

#[cfg(test)]
#[path = "snips_tests.rs"]
mod tests;
