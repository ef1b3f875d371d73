//! The user's texts as ids.
//!
//! A file is one of the kinds that [`Task`] reads. Prompt and answer are the model's own prompt format and its
//! answer; of plain texts the first quarter plays the prompt (Quant-dLLM, arXiv 2510.03274, keeps as much
//! visible).

use super::error::CalibrateError;
use crate::harness::task::{Kind, Task};
use crate::load::LoadedModel;
use crate::prompt;
use demask::text::Tokenizer;
use std::path::Path;

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

/// Reads a file of texts. Answers of tasks are followed by end tokens up to `answer_length` tokens (the
/// longest answer and one, if `None`), as they are when a model decodes. Texts too long for the model's context
/// are cut; those whose prompt fills it are left out.
///
/// # Errors
/// [`CalibrateError`]; of a file that cannot be understood it names the line.
pub fn texts(
    model: &LoadedModel,
    path: &Path,
    answer_length: Option<usize>,
) -> Result<Vec<Text>, CalibrateError> {
    let tokenizer = model.tokenizer().ok_or(CalibrateError::NoTokenizer)?;
    let task = Task::load(path)?;
    let context = model.config().context as usize;
    let mut texts = match task.kind() {
        // What stands in gaps is a part of the text.
        Kind::Texts | Kind::Gaps => (0..task.len())
            .map(|at| plain_text(&tokenizer, &task.prompt(at), context))
            .collect::<Result<Vec<_>, _>>()?,
        Kind::Frames | Kind::Answers | Kind::Lists => {
            answers(model, &tokenizer, &task, answer_length)?
        }
    };
    texts.retain(|text| !text.answer.is_empty());
    if texts.is_empty() { Err(CalibrateError::NoText) } else { Ok(texts) }
}

fn plain_text(
    tokenizer: &Tokenizer<'_>,
    text: &str,
    context: usize,
) -> Result<Text, CalibrateError> {
    let mut prompt = prompt::plain_ids(tokenizer, text)?;
    let mut answer = prompt.split_off(prompt.len() / SHOWN_PART);
    answer.truncate(context.saturating_sub(prompt.len()));
    Ok(Text { prompt, answer })
}

fn answers(
    model: &LoadedModel,
    tokenizer: &Tokenizer<'_>,
    task: &Task,
    length: Option<usize>,
) -> Result<Vec<Text>, CalibrateError> {
    let mut texts = Vec::with_capacity(task.len());
    for at in 0..task.len() {
        texts.push(Text {
            prompt: prompt::encode(model.prompt(), tokenizer, &task.prompt(at))?,
            answer: prompt::plain_ids(tokenizer, &task.answer(at))?,
        });
    }
    let longest = texts.iter().map(|text| text.answer.len()).max().unwrap_or(0);
    let length = length.unwrap_or(longest + 1);
    let (context, eos) = (model.config().context as usize, model.config().eos_id);
    for text in &mut texts {
        let room = context.saturating_sub(text.prompt.len());
        text.answer.resize(length.min(room), eos);
    }
    Ok(texts)
}
