//! The `model` of a `tokenizer.json`: vocabulary and merges, in the byte-level alphabet.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{MAX_IDS, Result, invalid, unsupported};

#[derive(Deserialize)]
struct ModelKind {
    /// Files of the first versions leave it out for BPE.
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Model {
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

impl Model {
    pub(super) fn vocab(&self) -> &HashMap<String, u32> {
        &self.vocab
    }

    /// Whether a word that is a token is taken whole.
    pub(super) fn ignores_merges(&self) -> bool {
        self.ignore_merges == Some(true)
    }

    /// The bytes of each token by id.
    pub(super) fn pieces(&self) -> Result<Vec<Vec<u8>>> {
        let alphabet = alphabet();
        let mut pieces = Vec::new();
        // In the order of ids, so that the same file always gives the same error.
        let mut tokens: Vec<_> = self.vocab.iter().map(|(token, &id)| (id, token)).collect();
        tokens.sort_unstable();
        for (id, token) in tokens {
            place(&mut pieces, id, bytes(token, &alphabet))
                .map_err(|reason| invalid(format!("model.vocab[{token:?}]"), reason))?;
        }
        self.check_unknown(&pieces)?;
        Ok(pieces)
    }

    /// An unknown token stands in for bytes that the vocabulary lacks; here it has nothing to do.
    fn check_unknown(&self, pieces: &[Vec<u8>]) -> Result<()> {
        let Some(unknown) = &self.unk_token else { return Ok(()) };
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

    pub(super) fn merges(&self) -> Result<Vec<(u32, u32)>> {
        let id = |rank: usize, token: &str| match self.vocab.get(token) {
            Some(&id) => Ok(id),
            None => Err(invalid(
                format!("model.merges[{rank}]"),
                format!("{token:?} is not in the vocabulary"),
            )),
        };
        let pair = |(rank, merge): (usize, &Merge)| {
            let (left, right) = match merge {
                Merge::Pair(left, right) => (left.as_str(), right.as_str()),
                Merge::Line(line) => {
                    line.split_once(' ').filter(|(_, right)| !right.contains(' ')).ok_or_else(
                        || invalid(format!("model.merges[{rank}]"), "it is not two tokens"),
                    )?
                }
            };
            // The result is the two strings put together, and has to be a token as well.
            id(rank, &[left, right].concat())?;
            Ok((id(rank, left)?, id(rank, right)?))
        };
        self.merges.iter().enumerate().map(pair).collect()
    }
}

/// Reads the model, once it is known to be byte-level BPE with nothing else in it.
pub(super) fn read(text: &RawValue) -> Result<Model> {
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
    match model.byte_fallback {
        Some(true) => Err(unsupported("model.byte_fallback", &true.into(), "false")),
        _ => Ok(model),
    }
}

/// Puts a piece at its id.
pub(super) fn place(
    pieces: &mut Vec<Vec<u8>>,
    id: u32,
    piece: Vec<u8>,
) -> std::result::Result<(), String> {
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
pub(crate) fn alphabet() -> HashMap<char, u8> {
    let mut moved = '\u{100}'..;
    let stand_in = |byte: u8| match byte {
        b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF => (char::from(byte), byte),
        _ => (moved.next().unwrap_or_default(), byte),
    };
    (0..=u8::MAX).map(stand_in).collect()
}

/// The bytes of a token; one that is not written in the alphabet is taken as it stands.
pub(crate) fn bytes(token: &str, alphabet: &HashMap<char, u8>) -> Vec<u8> {
    let decoded: Option<Vec<u8>> = token.chars().map(|c| alphabet.get(&c).copied()).collect();
    decoded.unwrap_or_else(|| token.as_bytes().to_vec())
}
