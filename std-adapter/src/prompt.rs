//! From a user's text to the ids of a canvas, and back.

use crate::harness::snips::normal_form;
use demask::image::PromptFormat;
use demask::text::{Added, EncodeError, Specials, Tokenizer, Utf8Stream};
use demask_quant::PromptData;
use demask_quant::tokenizer::TokenizerData;
use std::borrow::Cow;
use unicode_normalization::{UnicodeNormalization, is_nfc};

/// What stands around a user's text; see [`PromptFormat`].
pub type Prompt = PromptData;

/// Special token before what the user says, in the models of this project.
const USER: &str = "<|user|>";
/// Special token behind an utterance in models that answer with a JSON frame.
const JSON: &str = "<|json|>";
/// Special token behind a question in models that take text as it is.
const ANSWER: &str = "<|answer|>";

/// The prompt format that a vocabulary implies. `<|user|>` and `<|json|>` among its special tokens mean
/// an utterance in normal form, with a JSON frame as the answer; `<|user|>` and `<|answer|>` the text as it
/// is. Any other vocabulary gets the bare text, between the tokens of its template.
#[must_use]
pub fn from_tokenizer(data: &TokenizerData, tokenizer: &Tokenizer<'_>) -> Prompt {
    let between = |suffix: &str| Some((tokenizer.special(USER)?, tokenizer.special(suffix)?));
    if let Some((user, json)) = between(JSON) {
        let (prefix, suffix) = (vec![user], vec![json]);
        return Prompt { prefix, suffix, leading_space: true, normal_form: true };
    }
    let (prefix, suffix) = match between(ANSWER) {
        Some((user, answer)) => (vec![user], vec![answer]),
        None => (data.prefix.clone(), data.suffix.clone()),
    };
    Prompt { prefix, suffix, ..Prompt::default() }
}

/// The prompt format of an image.
#[must_use]
pub fn from_image(format: &PromptFormat<'_>) -> Prompt {
    Prompt {
        prefix: format.prefix().collect(),
        suffix: format.suffix().collect(),
        leading_space: format.leading_space,
        normal_form: format.normal_form,
    }
}

/// The ids of a prompt: prefix, text, suffix.
///
/// # Errors
/// [`EncodeError`] if the vocabulary lacks a byte of the text.
pub fn encode(
    prompt: &Prompt,
    tokenizer: &Tokenizer<'_>,
    text: &str,
) -> Result<Vec<u32>, EncodeError> {
    let mut text = if prompt.normal_form { normal_form(text) } else { text.to_owned() };
    if prompt.leading_space && !text.is_empty() {
        text.insert(0, ' ');
    }
    let mut ids = prompt.prefix.clone();
    ids.extend(plain_ids(tokenizer, &text)?);
    ids.extend(&prompt.suffix);
    Ok(ids)
}

/// The ids of a text without special tokens.
///
/// # Errors
/// [`EncodeError`] if the vocabulary lacks a byte of the text.
pub fn plain_ids(tokenizer: &Tokenizer<'_>, text: &str) -> Result<Vec<u32>, EncodeError> {
    ids(tokenizer, text, Added::Ordinary)
}

/// The ids of a text in which special tokens may be spelled out.
///
/// # Errors
/// [`EncodeError`] if the vocabulary lacks a byte of the text.
pub fn ids_with_specials(tokenizer: &Tokenizer<'_>, text: &str) -> Result<Vec<u32>, EncodeError> {
    ids(tokenizer, text, Added::All)
}

fn ids(tokenizer: &Tokenizer<'_>, text: &str, which: Added) -> Result<Vec<u32>, EncodeError> {
    let (mut ids, mut rest) = (Vec::new(), text);
    while let Some((before, id, after)) = tokenizer.next_added(rest, which) {
        append_words(tokenizer, before, &mut ids)?;
        ids.push(id);
        rest = after;
    }
    append_words(tokenizer, rest, &mut ids)?;
    Ok(ids)
}

/// Appends the ids of a text between added tokens, in the normalization form of its vocabulary. The
/// tables are newer than those of Hugging Face `tokenizers` (Unicode 12), which leave younger marks in
/// whatever order they come.
fn append_words(
    tokenizer: &Tokenizer<'_>,
    text: &str,
    ids: &mut Vec<u32>,
) -> Result<(), EncodeError> {
    let text = match tokenizer.wants_nfc() && !is_nfc(text) {
        true => Cow::Owned(text.nfc().collect()),
        false => Cow::Borrowed(text),
    };
    let used = ids.len();
    // The merge loop's work space: one entry per byte and a prefix space, twice for its cache of
    // ranks.
    ids.resize(used + 2 * (text.len() + 1), 0);
    let count = tokenizer.encode_words(&text, &mut ids[used..])?;
    ids.truncate(used + count);
    Ok(())
}

/// The text of ids, with or without special tokens spelled out. Ids outside the vocabulary have no
/// text.
#[must_use]
pub fn decode(tokenizer: &Tokenizer<'_>, ids: &[u32], specials: Specials) -> String {
    let mut text = String::new();
    let mut stream = Utf8Stream::new();
    let known = ids.iter().copied().filter(|id| *id < tokenizer.vocab_len());
    let known: Vec<u32> = known.collect();
    // The only error is an unknown id, and those were left out.
    let _ = tokenizer.decode(&known, specials, &mut stream, |part| text.push_str(part));
    stream.finish(|part| text.push_str(part));
    text
}
