//! The vocabulary of a GGUF file, as it stands there.

use super::value::Number;
use super::{GgufError, GgufFile};

/// A vocabulary, borrowed from the file's metadata. The index of a token is its id.
#[derive(Debug, Clone, PartialEq)]
pub struct GgufVocab<'a> {
    /// Kind of tokenizer, `tokenizer.ggml.model`: `gpt2` for byte-level BPE, `llama` for
    /// SentencePiece.
    pub model: &'a str,
    /// How text is cut before merging, `tokenizer.ggml.pre`.
    pub pre: Option<&'a str>,
    /// Text of every token.
    pub tokens: Vec<&'a str>,
    /// Kind of every token, if given: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6
    /// byte.
    pub token_types: Vec<i32>,
    /// Score of every token, if given.
    pub scores: Vec<f32>,
    /// Merges in order of rank, the halves separated by a space.
    pub merges: Vec<&'a str>,
    /// Begin of text.
    pub bos: Option<u32>,
    /// End of text.
    pub eos: Option<u32>,
    /// Padding.
    pub pad: Option<u32>,
    /// Not yet decided.
    pub mask: Option<u32>,
    /// End of a turn.
    pub eot: Option<u32>,
    /// Whether a text starts with the begin token, if the file says so or not.
    pub add_bos: Option<bool>,
    /// A text is encoded with a space in front of it, if the file says so or not.
    pub add_space_prefix: Option<bool>,
    /// Template that turns messages into text, in Jinja.
    pub chat_template: Option<&'a str>,
}

impl<'a> GgufVocab<'a> {
    /// Reads the vocabulary, `None` if the file has none.
    ///
    /// # Errors
    /// [`GgufError`] names a key of a wrong type, and lists and ids that do not fit each other.
    pub fn read(file: &'a GgufFile) -> Result<Option<Self>, GgufError> {
        let Some(model) = file.text("tokenizer.ggml.model")? else { return Ok(None) };
        if model == "none" || model == "no_vocab" {
            return Ok(None);
        }
        let tokens_key = "tokenizer.ggml.tokens";
        let tokens = file.texts(tokens_key)?;
        let tokens = tokens.ok_or_else(|| GgufError::MissingKey(tokens_key.into()))?;
        let vocab = Self {
            model,
            pre: file.text("tokenizer.ggml.pre")?,
            tokens: tokens.iter().collect(),
            token_types: numbers(file, "tokenizer.ggml.token_type", tokens.len(), |n| match n {
                Number::Whole(n) => i32::try_from(n).unwrap_or_default(),
                _ => 0,
            })?,
            scores: numbers(file, "tokenizer.ggml.scores", tokens.len(), |n| match n {
                Number::Whole(n) => n as f32,
                Number::Float(x) => x as f32,
                Number::Bool(_) => 0.0,
            })?,
            merges: file
                .texts("tokenizer.ggml.merges")?
                .map(|merges| merges.iter().collect())
                .unwrap_or_default(),
            bos: special(file, "bos", tokens.len())?,
            eos: special(file, "eos", tokens.len())?,
            pad: special(file, "padding", tokens.len())?,
            mask: special(file, "mask", tokens.len())?,
            eot: special(file, "eot", tokens.len())?,
            add_bos: file.flag("tokenizer.ggml.add_bos_token")?,
            add_space_prefix: file.flag("tokenizer.ggml.add_space_prefix")?,
            chat_template: file.text("tokenizer.chat_template")?,
        };
        Ok(Some(vocab))
    }
}

/// A number for each token; empty if the file has none.
fn numbers<T>(
    file: &GgufFile,
    key: &str,
    tokens: usize,
    convert: impl Fn(Number) -> T,
) -> Result<Vec<T>, GgufError> {
    let Some(numbers) = file.numbers(key)? else { return Ok(Vec::new()) };
    if numbers.len() != tokens {
        let count = numbers.len();
        return Err(GgufError::Contradiction(format!(
            "the metadata key {key} has {count} numbers for {tokens} tokens; convert the model again"
        )));
    }
    Ok(numbers.iter().map(convert).collect())
}

/// The id of a special token. Converters write 2^32 - 1 for "none".
fn special(file: &GgufFile, name: &str, tokens: usize) -> Result<Option<u32>, GgufError> {
    let key = format!("tokenizer.ggml.{name}_token_id");
    match file.u32(&key)?.filter(|id| *id != u32::MAX) {
        Some(id) if id as usize >= tokens => Err(GgufError::Contradiction(format!(
            "the metadata key {key} is {id}, but there are {tokens} tokens; convert the model again"
        ))),
        id => Ok(id),
    }
}
