//! The user's texts as ids.
//!
//! A file has one JSON object per line: what [`Task`] reads (prompt and answer are then the model's own prompt
//! format and its answer), or `{"text": ...}`, of which the first quarter plays the prompt (Quant-dLLM,
//! arXiv 2510.03274, keeps as much visible).

use super::error::CalibrateError;
use crate::harness::task::Task;
use crate::load::LoadedModel;
use crate::prompt;
use crate::read::read_capped;
use demask::text::Tokenizer;
use serde::Deserialize;
use std::path::Path;

const MAX_FILE_BYTES: u64 = 64 << 20;
/// Of a plain text, one part in so many is shown.
const SHOWN_PART: usize = 4;

/// A prompt and what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// Ids of the prompt, with what the model puts around it.
    pub prompt: Vec<u32>,
    /// Ids of the answer.
    pub answer: Vec<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    text: String,
}

/// Reads a file of texts. Answers of tasks are followed by end tokens up to `answer_length` tokens (the
/// longest answer and one, if `None`), as they are when a model decodes. Texts too long for the model's context
/// are cut; those whose prompt fills it are left out.
///
/// # Errors
/// [`CalibrateError`] names the line.
pub fn texts(
    model: &LoadedModel,
    path: &Path,
    answer_length: Option<usize>,
) -> Result<Vec<Text>, CalibrateError> {
    let tokenizer = model.tokenizer().ok_or(CalibrateError::NoTokenizer)?;
    let mut texts = match plain(path)? {
        Some(lines) => {
            let cut = |text: &String| plain_text(&tokenizer, text);
            lines.iter().map(cut).collect::<Result<Vec<_>, _>>()?
        }
        None => answers(model, &tokenizer, path, answer_length)?,
    };
    let context = model.config().context as usize;
    texts.iter_mut().for_each(|text| {
        text.answer.truncate(context.saturating_sub(text.prompt.len()));
    });
    texts.retain(|text| !text.answer.is_empty());
    if texts.is_empty() { Err(CalibrateError::NoText) } else { Ok(texts) }
}

/// The lines of a file of plain texts, if its first one is a plain text.
fn plain(path: &Path) -> Result<Option<Vec<String>>, CalibrateError> {
    // What cannot be read, the task's reader reports.
    let Ok(bytes) = read_capped(path, MAX_FILE_BYTES) else { return Ok(None) };
    let content = String::from_utf8_lossy(&bytes);
    let mut lines =
        (1..).zip(content.lines()).filter(|(_, line)| !line.trim().is_empty()).peekable();
    let first = lines.peek().and_then(|(_, line)| serde_json::from_str::<Line>(line).ok());
    if first.is_none() {
        return Ok(None);
    }
    let parsed = lines.map(|(number, line)| match serde_json::from_str(line) {
        Ok(Line { text }) => Ok(text),
        Err(error) => Err(CalibrateError::Line { line: number, reason: error.to_string() }),
    });
    parsed.collect::<Result<_, _>>().map(Some)
}

fn plain_text(tokenizer: &Tokenizer<'_>, text: &str) -> Result<Text, CalibrateError> {
    let mut prompt = prompt::plain_ids(tokenizer, text)?;
    let answer = prompt.split_off(prompt.len() / SHOWN_PART);
    Ok(Text { prompt, answer })
}

fn answers(
    model: &LoadedModel,
    tokenizer: &Tokenizer<'_>,
    path: &Path,
    length: Option<usize>,
) -> Result<Vec<Text>, CalibrateError> {
    let task = Task::load(path)?;
    let mut texts = Vec::with_capacity(task.len());
    for at in 0..task.len() {
        texts.push(Text {
            prompt: prompt::encode(model.prompt(), tokenizer, &task.prompt(at))?,
            answer: prompt::plain_ids(tokenizer, &task.answer(at))?,
        });
    }
    let longest = texts.iter().map(|text| text.answer.len()).max().unwrap_or(0);
    let length = length.unwrap_or(longest + 1);
    texts.iter_mut().for_each(|text| text.answer.resize(length, model.config().eos_id));
    Ok(texts)
}
