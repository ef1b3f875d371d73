//! Tokenizers as Hugging Face stores them: `tokenizer.json`.
//!
//! Read is what the device form can express exactly: byte-level BPE behind GPT-2's pattern, with
//! special added tokens. Everything else in the file is either known to change no token or refused
//! by the name of its field; nothing is guessed. `truncation` and `padding` are left aside, as they
//! are by `transformers` unless a call asks for them.
//!
//! Format: <https://github.com/huggingface/tokenizers>, `tokenizers/src/tokenizer/serialization.rs`.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use demask_quant::tokenizer::{PreTokenizer, TokenizerData};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::read_capped;

mod added;

/// The largest in use (vocabularies of 256k ids, merges as pairs) take 35 MB.
const MAX_FILE_BYTES: u64 = 64 << 20;
/// Four times the largest vocabulary in use.
const MAX_IDS: u32 = 1 << 20;
/// Everything but the model and the added tokens is a few kB.
const MAX_SETTING_BYTES: usize = 1 << 20;

/// Why a `tokenizer.json` could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerJsonError {
    /// The file cannot be read, or is too long to be a tokenizer.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Not JSON, or not the JSON of a tokenizer.
    #[error("not a usable tokenizer.json: {0}; download it again")]
    Json(#[from] serde_json::Error),
    /// The tokenizer does something that cannot be carried out here.
    #[error("tokenizer.json has {field} = {found}, which is not supported; supported: {supported}")]
    Unsupported {
        /// The field.
        field: String,
        /// Its value, shortened.
        found: String,
        /// What may stand there.
        supported: &'static str,
    },
    /// The file contradicts itself.
    #[error("tokenizer.json is damaged at {field}: {reason}; download it again")]
    Invalid {
        /// The field.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
}

type Result<T> = std::result::Result<T, TokenizerJsonError>;

/// Reads a `tokenizer.json`.
///
/// # Errors
///
/// [`TokenizerJsonError`], which names the field and what is supported.
pub fn read(path: &Path) -> Result<TokenizerData> {
    let json = read_capped(path, MAX_FILE_BYTES)
        .map_err(|source| TokenizerJsonError::Io { path: path.into(), source })?;
    parse(&json)
}

/// Reads the text of a `tokenizer.json`.
///
/// ```
/// use demask::text::Tokenizer;
///
/// let json = br#"{
///     "added_tokens": [{"id": 3, "content": "<|mask|>", "special": true}],
///     "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
///     "decoder": {"type": "ByteLevel"},
///     "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}
/// }"#;
/// let section = demask_std::read::tokenizer_json::parse(json)?.to_section()?;
/// assert_eq!(Tokenizer::parse(&section)?.special("<|mask|>"), Some(3));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`TokenizerJsonError`], which names the field and what is supported.
pub fn parse(json: &[u8]) -> Result<TokenizerData> {
    let file: File = serde_json::from_slice(json)?;
    if let Some(version) = file.version.filter(|version| version != "1.0") {
        return Err(unsupported("version", &version.into(), "1.0"));
    }
    check_normalizer(&setting("normalizer", file.normalizer)?)?;
    check_decoder(&setting("decoder", file.decoder)?)?;
    check_post_processor(&setting("post_processor", file.post_processor)?)?;
    let (pre_tokenizer, add_prefix_space) =
        pre_tokenizer(&setting("pre_tokenizer", file.pre_tokenizer)?)?;

    let model = read_model(file.model)?;
    let mut pieces = pieces(&model.vocab)?;
    check_unknown(&model, &pieces)?;
    let merges = merges(&model)?;
    let specials = added::add_specials(&file.added_tokens, &model.vocab, &mut pieces)?;
    Ok(TokenizerData { pieces, merges, specials, pre_tokenizer, add_prefix_space })
}

/// The parts stay text until it is known that they are of the supported kind.
#[derive(Deserialize)]
struct File<'a> {
    version: Option<String>,
    #[serde(default)]
    added_tokens: Vec<added::AddedToken>,
    #[serde(borrow)]
    normalizer: Option<&'a RawValue>,
    #[serde(borrow)]
    pre_tokenizer: Option<&'a RawValue>,
    #[serde(borrow)]
    post_processor: Option<&'a RawValue>,
    #[serde(borrow)]
    decoder: Option<&'a RawValue>,
    #[serde(borrow)]
    model: &'a RawValue,
}

#[derive(Deserialize)]
struct ModelKind {
    /// Files of the first versions leave it out for BPE.
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Model {
    dropout: Option<f64>,
    unk_token: Option<String>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    byte_fallback: Option<bool>,
    ignore_merges: Option<bool>,
    vocab: HashMap<String, u32>,
    merges: Vec<Merge>,
}

/// The old and the new way to write one.
#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Pair(String, String),
    Line(String),
}

fn unsupported(field: &str, found: &Value, supported: &'static str) -> TokenizerJsonError {
    TokenizerJsonError::Unsupported { field: field.into(), found: shorten(found), supported }
}

fn invalid(field: impl Into<String>, reason: impl Into<String>) -> TokenizerJsonError {
    TokenizerJsonError::Invalid { field: field.into(), reason: reason.into() }
}

fn shorten(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(100) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// A setting as a tree, once it is known to be small.
fn setting(field: &str, text: Option<&RawValue>) -> Result<Value> {
    match text.map(RawValue::get) {
        None => Ok(Value::Null),
        Some(text) if text.len() > MAX_SETTING_BYTES => {
            Err(invalid(field, format!("it is longer than {MAX_SETTING_BYTES} bytes")))
        }
        Some(text) => Ok(serde_json::from_str(text)?),
    }
}

fn kind(value: &Value) -> &str {
    value["type"].as_str().unwrap_or_default()
}

fn is_empty_list(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty)
}

fn check_normalizer(value: &Value) -> Result<()> {
    match kind(value) {
        _ if value.is_null() => Ok(()),
        "Sequence" if is_empty_list(&value["normalizers"]) => Ok(()),
        _ => Err(unsupported("normalizer", value, "null")),
    }
}

fn check_decoder(value: &Value) -> Result<()> {
    match kind(value) {
        "ByteLevel" => Ok(()),
        _ => Err(unsupported("decoder", value, "ByteLevel")),
    }
}

/// Lets pass what only moves offsets, which are not used here.
fn check_post_processor(value: &Value) -> Result<()> {
    match kind(value) {
        _ if value.is_null() => Ok(()),
        "ByteLevel" => Ok(()),
        "Sequence" if value["processors"].is_array() => {
            value["processors"].as_array().into_iter().flatten().try_for_each(check_post_processor)
        }
        "TemplateProcessing" if is_bare_template(&value["single"]) => Ok(()),
        _ => Err(unsupported("post_processor", value, "null, ByteLevel, or a template of A alone")),
    }
}

/// A template that adds no token: the text itself and nothing else.
fn is_bare_template(single: &Value) -> bool {
    let items = single.as_array().map(Vec::as_slice).unwrap_or_default();
    matches!(items, [item] if item["Sequence"]["id"] == "A")
}

/// The pre-tokenizer and its `add_prefix_space`.
fn pre_tokenizer(value: &Value) -> Result<(PreTokenizer, bool)> {
    let inner = match value["pretokenizers"].as_array().map(Vec::as_slice) {
        Some([only]) if kind(value) == "Sequence" => only,
        _ => value,
    };
    let supported = "ByteLevel with use_regex";
    if kind(inner) != "ByteLevel" {
        return Err(unsupported("pre_tokenizer", value, supported));
    }
    match &inner["use_regex"] {
        Value::Null | Value::Bool(true) => {}
        other => return Err(unsupported("pre_tokenizer.use_regex", other, "true")),
    }
    match inner["add_prefix_space"].as_bool() {
        Some(add) => Ok((PreTokenizer::Gpt2, add)),
        None => Err(invalid("pre_tokenizer.add_prefix_space", "it is neither true nor false")),
    }
}

fn read_model(text: &RawValue) -> Result<Model> {
    let kind: ModelKind = serde_json::from_str(text.get())?;
    if let Some(kind) = kind.kind.filter(|kind| kind != "BPE") {
        return Err(unsupported("model.type", &kind.into(), "BPE"));
    }
    let model: Model = serde_json::from_str(text.get())?;
    if let Some(dropout) = model.dropout.filter(|&dropout| dropout != 0.0) {
        return Err(unsupported("model.dropout", &dropout.into(), "null"));
    }
    let affixes = [
        ("model.continuing_subword_prefix", &model.continuing_subword_prefix),
        ("model.end_of_word_suffix", &model.end_of_word_suffix),
    ];
    for (field, affix) in affixes {
        if let Some(affix) = affix.as_ref().filter(|affix| !affix.is_empty()) {
            return Err(unsupported(field, &affix.as_str().into(), "null"));
        }
    }
    let switches = [
        ("model.byte_fallback", model.byte_fallback),
        ("model.ignore_merges", model.ignore_merges),
    ];
    match switches.into_iter().find(|(_, switch)| *switch == Some(true)) {
        Some((field, _)) => Err(unsupported(field, &true.into(), "false")),
        None => Ok(model),
    }
}

/// The bytes of each token by id.
fn pieces(vocab: &HashMap<String, u32>) -> Result<Vec<Vec<u8>>> {
    let alphabet = alphabet();
    let mut pieces = Vec::new();
    // In the order of ids, so that the same file always gives the same error.
    let mut tokens: Vec<_> = vocab.iter().map(|(token, &id)| (id, token)).collect();
    tokens.sort_unstable();
    for (id, token) in tokens {
        place(&mut pieces, id, bytes(token, &alphabet))
            .map_err(|reason| invalid(format!("model.vocab[{token:?}]"), reason))?;
    }
    Ok(pieces)
}

/// Puts a piece at its id.
fn place(pieces: &mut Vec<Vec<u8>>, id: u32, piece: Vec<u8>) -> std::result::Result<(), String> {
    let at = id as usize;
    if piece.is_empty() {
        return Err("it is empty".into());
    }
    if id >= MAX_IDS {
        return Err(format!("id {id} is not below {MAX_IDS}"));
    }
    if at >= pieces.len() {
        pieces.resize(at + 1, Vec::new());
    }
    match pieces[at].is_empty() {
        true => pieces[at] = piece,
        false => return Err(format!("id {id} is taken by another token")),
    }
    Ok(())
}

/// The byte for each stand-in character of the byte-level alphabet: printable ones stand for
/// themselves, the others were moved up to U+0100 and beyond, in order.
fn alphabet() -> HashMap<char, u8> {
    let mut moved = '\u{100}'..;
    let stand_in = |byte: u8| match byte {
        b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF => (char::from(byte), byte),
        _ => (moved.next().unwrap_or_default(), byte),
    };
    (0..=u8::MAX).map(stand_in).collect()
}

/// The bytes of a token; one that is not written in the alphabet is taken as it stands.
fn bytes(token: &str, alphabet: &HashMap<char, u8>) -> Vec<u8> {
    let decoded: Option<Vec<u8>> = token.chars().map(|c| alphabet.get(&c).copied()).collect();
    decoded.unwrap_or_else(|| token.as_bytes().to_vec())
}

/// An unknown token stands in for bytes that the vocabulary lacks; here it has nothing to do.
fn check_unknown(model: &Model, pieces: &[Vec<u8>]) -> Result<()> {
    let Some(unknown) = &model.unk_token else { return Ok(()) };
    let single: HashSet<_> = pieces.iter().filter(|piece| piece.len() == 1).collect();
    match single.len() {
        256 => Ok(()),
        _ => Err(unsupported(
            "model.unk_token",
            &unknown.as_str().into(),
            "null, or any token if the vocabulary has all 256 bytes",
        )),
    }
}

fn merges(model: &Model) -> Result<Vec<(u32, u32)>> {
    let id = |rank: usize, token: &str| match model.vocab.get(token) {
        Some(&id) => Ok(id),
        None => Err(invalid(
            format!("model.merges[{rank}]"),
            format!("{token:?} is not in the vocabulary"),
        )),
    };
    let pair = |(rank, merge): (usize, &Merge)| {
        let (left, right) = match merge {
            Merge::Pair(left, right) => (left.as_str(), right.as_str()),
            Merge::Line(line) => line
                .split_once(' ')
                .filter(|(_, right)| !right.contains(' '))
                .ok_or_else(|| invalid(format!("model.merges[{rank}]"), "it is not two tokens"))?,
        };
        // The result is the two strings put together, and has to be a token as well.
        id(rank, &[left, right].concat())?;
        Ok((id(rank, left)?, id(rank, right)?))
    };
    model.merges.iter().enumerate().map(pair).collect()
}
