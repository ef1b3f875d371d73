//! What happens to a text around the model: normalizer, pre-tokenizer, post-processor, decoder.

use demask_quant::tokenizer::PreTokenizer;
use serde_json::Value;

use super::{Result, invalid, unsupported};

/// Qwen 2's pattern.
pub(super) const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The patterns that are known, as files spell them. Possessive quantifiers (`?+`, `++`) and a
/// single line end after `\s*` match the same as what the other spelling has in their place.
const PATTERNS: [(&str, PreTokenizer); 5] = [
    (
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        PreTokenizer::Gpt2,
    ),
    (QWEN2, PreTokenizer::Qwen2),
    (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
        PreTokenizer::Qwen2,
    ),
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        PreTokenizer::Llama3,
    ),
    (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
        PreTokenizer::Llama3,
    ),
];

fn kind(value: &Value) -> &str {
    value["type"].as_str().unwrap_or_default()
}

/// The members of a `Sequence`, or the one thing that is none.
fn members<'v>(value: &'v Value, list: &str) -> Vec<&'v Value> {
    match value[list].as_array() {
        Some(members) if kind(value) == "Sequence" => members.iter().collect(),
        _ => vec![value],
    }
}

/// Whether the text is brought into normalization form C.
pub(super) fn is_nfc(value: &Value) -> Result<bool> {
    match members(value, "normalizers").as_slice() {
        [] => Ok(false),
        [only] if only.is_null() => Ok(false),
        [only] if kind(only) == "NFC" => Ok(true),
        _ => Err(unsupported("normalizer", value, "null or NFC")),
    }
}

pub(super) fn check_decoder(value: &Value) -> Result<()> {
    match members(value, "decoders").as_slice() {
        [only] if kind(only) == "ByteLevel" => Ok(()),
        _ => Err(unsupported("decoder", value, "ByteLevel")),
    }
}

/// The pre-tokenizer and its `add_prefix_space`.
pub(super) fn pre_tokenizer(value: &Value) -> Result<(PreTokenizer, bool)> {
    let (split, byte_level) = match members(value, "pretokenizers").as_slice() {
        [only] => (None, *only),
        [split, byte_level] => (Some(*split), *byte_level),
        _ => (None, value),
    };
    if kind(byte_level) != "ByteLevel" || split.is_some_and(|split| kind(split) != "Split") {
        let supported = "ByteLevel, alone or behind the Split of GPT-2, Qwen 2, Llama 3 or LLaDA";
        return Err(unsupported("pre_tokenizer", value, supported));
    }
    let Some(add_prefix_space) = byte_level["add_prefix_space"].as_bool() else {
        return Err(invalid("pre_tokenizer.add_prefix_space", "it is neither true nor false"));
    };
    let cuts = byte_level["use_regex"].as_bool().unwrap_or(true);
    match split {
        None if cuts => Ok((PreTokenizer::Gpt2, add_prefix_space)),
        None => Err(unsupported("pre_tokenizer.use_regex", &false.into(), "true")),
        Some(_) if cuts => {
            Err(unsupported("pre_tokenizer.use_regex", &true.into(), "false behind a Split"))
        }
        // Each word would get its space.
        Some(_) if add_prefix_space => {
            let field = "pre_tokenizer.add_prefix_space";
            Err(unsupported(field, &true.into(), "false behind a Split"))
        }
        Some(split) => Ok((pattern(split)?, false)),
    }
}

/// The pattern of a `Split` that makes each match a word.
fn pattern(split: &Value) -> Result<PreTokenizer> {
    if split["behavior"] != "Isolated" || split["invert"].as_bool().unwrap_or(false) {
        let supported = "a pattern with behavior Isolated and without invert";
        return Err(unsupported("pre_tokenizer", split, supported));
    }
    let found = &split["pattern"]["Regex"];
    let known = PATTERNS.iter().find(|(pattern, _)| found == pattern);
    known.map(|(_, pre_tokenizer)| *pre_tokenizer).ok_or_else(|| {
        let found = if found.is_null() { &split["pattern"] } else { found };
        unsupported("pre_tokenizer.pattern", found, "those of GPT-2, Qwen 2, Llama 3 and LLaDA")
    })
}

/// The tokens that a post-processor puts around a single text.
#[derive(Default)]
pub(super) struct Template {
    pub(super) prefix: Vec<u32>,
    pub(super) suffix: Vec<u32>,
}

impl Template {
    /// Checks the ids against the size of the vocabulary.
    pub(super) fn check(&self, ids: usize) -> Result<()> {
        match self.prefix.iter().chain(&self.suffix).find(|&&id| id as usize >= ids) {
            Some(id) => Err(invalid("post_processor", format!("there is no token {id}"))),
            None => Ok(()),
        }
    }
}

/// What the post-processor adds to a text. Offsets, which `ByteLevel` moves, are not used here.
pub(super) fn template(value: &Value) -> Result<Template> {
    let mut whole = Template::default();
    for processor in members(value, "processors") {
        match kind(processor) {
            _ if processor.is_null() => {}
            "ByteLevel" => {}
            "TemplateProcessing" => {
                // Each one goes around what those before it made.
                let mut outer = single(processor)?;
                outer.prefix.append(&mut whole.prefix);
                whole.prefix = outer.prefix;
                whole.suffix.append(&mut outer.suffix);
            }
            _ => {
                let supported = "null, ByteLevel, or a template of special tokens around A";
                return Err(unsupported("post_processor", processor, supported));
            }
        }
    }
    Ok(whole)
}

/// The template for a single text: special tokens, `A`, special tokens.
fn single(processor: &Value) -> Result<Template> {
    let refuse = || {
        let supported = "special tokens around A, once";
        Err(unsupported("post_processor.single", &processor["single"], supported))
    };
    let mut template = Template::default();
    let mut seen_text = false;
    for item in processor["single"].as_array().into_iter().flatten() {
        if let Some(name) = item["SpecialToken"]["id"].as_str() {
            let ids = &processor["special_tokens"][name]["ids"];
            let ids: Option<Vec<u32>> = serde_json::from_value(ids.clone()).ok();
            let Some(ids) = ids else {
                let field = format!("post_processor.special_tokens[{name:?}]");
                return Err(invalid(field, "it has no ids"));
            };
            let side = if seen_text { &mut template.suffix } else { &mut template.prefix };
            side.extend(ids);
        } else if item["Sequence"]["id"] == "A" && !seen_text {
            seen_text = true;
        } else {
            return refuse();
        }
    }
    if seen_text { Ok(template) } else { refuse() }
}
