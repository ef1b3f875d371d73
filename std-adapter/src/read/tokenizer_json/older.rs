//! Folders without a `tokenizer.json`, as Dream's: `vocab.json`, `merges.txt` and the added tokens
//! in `tokenizer_config.json`. They are put together to the `tokenizer.json` that `transformers`
//! would make of them.
//!
//! Source: `transformers`, `convert_slow_tokenizer.py`.

use std::path::Path;

use demask_quant::tokenizer::TokenizerData;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::pipeline::QWEN2;
use super::{MAX_FILE_BYTES, Result, TokenizerJsonError, invalid, parse, read, unsupported};
use crate::read::read_capped;

/// Reads the tokenizer of a folder, in either way; `None` if it has none.
///
/// # Errors
///
/// [`TokenizerJsonError`], which names the field and what is supported.
pub fn read_folder(folder: &Path) -> Result<Option<TokenizerData>> {
    let path = |name| folder.join(name);
    if path("tokenizer.json").exists() {
        return read(&path("tokenizer.json")).map(Some);
    }
    if !path("vocab.json").exists() || !path("merges.txt").exists() {
        return Ok(None);
    }
    let bytes = |name| {
        let path = path(name);
        read_capped(&path, MAX_FILE_BYTES).map_err(|source| TokenizerJsonError::Io { path, source })
    };
    let config: Value = serde_json::from_slice(&bytes("tokenizer_config.json")?)?;
    let vocab: Box<RawValue> = serde_json::from_slice(&bytes("vocab.json")?)?;
    let merges = String::from_utf8(bytes("merges.txt")?)
        .map_err(|_| invalid("merges.txt", "it is not UTF-8"))?;
    // The first line is a version, and the last one may be empty.
    let lines = merges.lines().filter(|line| !line.is_empty() && !line.starts_with("#version"));
    let (normalizer, pre_tokenizer) = class(&config)?;
    let file = File {
        added_tokens: added(&config["added_tokens_decoder"])?,
        normalizer,
        pre_tokenizer,
        decoder: json!({"type": "ByteLevel"}),
        model: Model { vocab: &vocab, merges: lines.collect() },
    };
    parse(&serde_json::to_vec(&file)?).map(Some)
}

#[derive(Serialize)]
struct File<'a> {
    added_tokens: Vec<Value>,
    normalizer: Value,
    pre_tokenizer: Value,
    decoder: Value,
    model: Model<'a>,
}

#[derive(Serialize)]
struct Model<'a> {
    vocab: &'a RawValue,
    merges: Vec<&'a str>,
}

/// Normalizer and pre-tokenizer of a class of tokenizers.
fn class(config: &Value) -> Result<(Value, Value)> {
    let class = &config["tokenizer_class"];
    match class.as_str().unwrap_or_default() {
        "GPT2Tokenizer" | "GPT2TokenizerFast" => {
            let add = config["add_prefix_space"].as_bool().unwrap_or(false);
            Ok((Value::Null, json!({"type": "ByteLevel", "add_prefix_space": add})))
        }
        "Qwen2Tokenizer" | "Qwen2TokenizerFast" | "DreamTokenizer" => Ok((
            json!({"type": "NFC"}),
            json!({"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": QWEN2}, "behavior": "Isolated"},
                {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false},
            ]}),
        )),
        _ => {
            let supported = "GPT2Tokenizer, Qwen2Tokenizer and DreamTokenizer, or a tokenizer.json";
            Err(unsupported("tokenizer_class", class, supported))
        }
    }
}

/// The added tokens, with their ids among their fields.
fn added(decoder: &Value) -> Result<Vec<Value>> {
    let tokens = decoder.as_object().into_iter().flatten();
    tokens
        .map(|(id, token)| {
            let field = || format!("added_tokens_decoder[{id:?}]");
            let number: u32 = id.parse().map_err(|_| invalid(field(), "it is not an id"))?;
            let mut token = token.clone();
            let fields = token.as_object_mut().ok_or_else(|| invalid(field(), "it is no token"))?;
            fields.insert("id".into(), number.into());
            Ok(token)
        })
        .collect()
}
