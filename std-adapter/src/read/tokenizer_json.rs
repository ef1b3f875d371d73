//! Tokenizers as Hugging Face stores them: `tokenizer.json`.
//!
//! Read is what the device form can express exactly: byte-level BPE behind the pattern of a known
//! family, with added tokens. Everything else in the file is either known to change no token or
//! refused by the name of its field; nothing is guessed. `truncation` and `padding` are left aside,
//! as they are by `transformers` unless a call asks for them.
//!
//! | file       | what it reads                                                            |
//! |------------|--------------------------------------------------------------------------|
//! | `pipeline` | normalizer, pre-tokenizer, post-processor, decoder                       |
//! | `model`    | vocabulary and merges                                                    |
//! | `added`    | added tokens                                                             |
//! | `older`    | folders with `vocab.json` and `merges.txt` instead                       |
//!
//! Format: <https://github.com/huggingface/tokenizers>, `tokenizers/src/tokenizer/serialization.rs`.

use std::path::{Path, PathBuf};

use demask_quant::tokenizer::TokenizerData;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::read_capped;

mod added;
mod model;
mod older;
mod pipeline;

pub use older::read_folder;

pub(crate) use model::{alphabet, bytes};

/// The largest in use (vocabularies of 256k ids, merges as pairs) take 35 MB.
const MAX_FILE_BYTES: u64 = 64 << 20;
/// Four times the largest vocabulary in use.
pub(crate) const MAX_IDS: u32 = 1 << 20;
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
    #[error("the tokenizer is not usable: {0}; download it again")]
    Json(#[from] serde_json::Error),
    /// The tokenizer does something that cannot be carried out here.
    #[error("the tokenizer has {field} = {found}, which is not supported; supported: {supported}")]
    Unsupported {
        /// The field.
        field: String,
        /// Its value, shortened.
        found: String,
        /// What may stand there.
        supported: &'static str,
    },
    /// The file contradicts itself.
    #[error("the tokenizer is damaged at {field}: {reason}; download it again")]
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
    let nfc = pipeline::is_nfc(&setting("normalizer", file.normalizer)?)?;
    pipeline::check_decoder(&setting("decoder", file.decoder)?)?;
    let template = pipeline::template(&setting("post_processor", file.post_processor)?)?;
    let (pre_tokenizer, add_prefix_space) =
        pipeline::pre_tokenizer(&setting("pre_tokenizer", file.pre_tokenizer)?)?;

    let model = model::read(file.model)?;
    let mut pieces = model.pieces()?;
    let merges = model.merges()?;
    let (specials, ordinary) =
        added::place_all(&file.added_tokens, nfc, model.vocab(), &mut pieces)?;
    template.check(pieces.len())?;
    Ok(TokenizerData {
        pieces,
        merges,
        specials,
        ordinary,
        ignore_merges: model.ignores_merges(),
        pre_tokenizer,
        add_prefix_space,
        nfc,
        prefix: template.prefix,
        suffix: template.suffix,
    })
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

fn unsupported(field: &str, found: &Value, supported: &'static str) -> TokenizerJsonError {
    TokenizerJsonError::Unsupported { field: field.into(), found: shorten(found), supported }
}

fn invalid(field: impl Into<String>, reason: impl Into<String>) -> TokenizerJsonError {
    TokenizerJsonError::Invalid { field: field.into(), reason: reason.into() }
}

fn shorten(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(400) {
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
