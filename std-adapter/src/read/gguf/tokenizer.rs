//! From a GGUF vocabulary to a tokenizer.
//!
//! The file names the pattern that cuts a text into words, and the tokens that are no text of the
//! training data. What it leaves out of Hugging Face's tokenizer follows from that name, as in
//! llama.cpp: whether words that are tokens are taken whole, and whether a text begins with the
//! begin token. The normalization form, which llama.cpp leaves out, follows from it as well.
//!
//! Source: llama.cpp, `src/llama-vocab.cpp` (`llama_vocab::impl::load`).

use std::collections::HashMap;

use demask_quant::tokenizer::{PreTokenizer, TokenizerData};

use super::{GgufError, GgufVocab, shortened};
use crate::read::tokenizer_json::{MAX_IDS, alphabet, bytes};

const PRE_KEY: &str = "tokenizer.ggml.pre";

/// Kinds of tokens, in `tokenizer.ggml.token_type`.
mod kind {
    pub(super) const UNKNOWN: i32 = 2;
    pub(super) const CONTROL: i32 = 3;
    pub(super) const USER_DEFINED: i32 = 4;
    pub(super) const UNUSED: i32 = 5;
}

/// What a name in `tokenizer.ggml.pre` stands for.
struct Family {
    pre_tokenizer: PreTokenizer,
    /// Words that are tokens are taken whole.
    ignore_merges: bool,
    /// A text begins with the begin token, if the file does not say otherwise.
    add_bos: bool,
    nfc: bool,
}

const SUPPORTED: &str = "gpt-2, phi-2, roberta-bpe, qwen2, deepseek-r1-qwen, megrez, bailingmoe, \
     bailingmoe2, llada-moe, llama-bpe, llama3, llama-v3, falcon3, dbrx, smaug-bpe";

impl Family {
    fn of(name: &str) -> Option<Self> {
        let plain = |pre_tokenizer| Self {
            pre_tokenizer,
            ignore_merges: false,
            add_bos: false,
            nfc: false,
        };
        Some(match name {
            "gpt-2" | "phi-2" | "roberta-bpe" => plain(PreTokenizer::Gpt2),
            "qwen2" | "deepseek-r1-qwen" | "megrez" => {
                Self { nfc: true, ..plain(PreTokenizer::Qwen2) }
            }
            "bailingmoe" | "bailingmoe2" | "llada-moe" => plain(PreTokenizer::Qwen2),
            "llama-bpe" | "llama3" | "llama-v3" | "falcon3" => {
                Self { ignore_merges: true, add_bos: true, ..plain(PreTokenizer::Llama3) }
            }
            "dbrx" | "smaug-bpe" => plain(PreTokenizer::Llama3),
            _ => return None,
        })
    }
}

impl GgufVocab<'_> {
    /// The tokenizer of this vocabulary.
    ///
    /// # Errors
    /// [`GgufError`] names what is not supported (another kind than byte-level BPE, an unknown
    /// pattern) or contradicts itself.
    pub fn tokenizer(&self) -> Result<TokenizerData, GgufError> {
        if self.model != "gpt2" {
            return Err(GgufError::Unsupported {
                key: "tokenizer.ggml.model".into(),
                value: match self.model {
                    "llama" => "llama (SentencePiece)".into(),
                    other => shortened(other),
                },
                supported: "gpt2 (byte-level BPE)".into(),
            });
        }
        let pre = self.pre.ok_or_else(|| GgufError::MissingKey(PRE_KEY.into()))?;
        let family = Family::of(pre).ok_or_else(|| GgufError::Unsupported {
            key: PRE_KEY.into(),
            value: shortened(pre),
            supported: SUPPORTED.into(),
        })?;
        if self.tokens.len() > MAX_IDS as usize {
            let count = self.tokens.len();
            return Err(GgufError::Contradiction(format!(
                "the vocabulary has {count} tokens; up to {MAX_IDS} are supported"
            )));
        }
        let pieces = self.pieces();
        Ok(TokenizerData {
            merges: self.merges(&pieces)?,
            specials: self.of_kind(|id, kind| match self.token_types.is_empty() {
                true => [self.bos, self.eos, self.pad, self.mask, self.eot].contains(&Some(id)),
                false => kind == kind::UNKNOWN || kind == kind::CONTROL,
            }),
            ordinary: self.of_kind(|_, kind| kind == kind::USER_DEFINED),
            ignore_merges: family.ignore_merges,
            pre_tokenizer: family.pre_tokenizer,
            nfc: family.nfc,
            prefix: self.prefix(&family)?,
            pieces,
            ..TokenizerData::default()
        })
    }

    fn kind(&self, id: usize) -> i32 {
        self.token_types.get(id).copied().unwrap_or_default()
    }

    /// Ids of tokens that have text, by id and kind.
    fn of_kind(&self, wanted: impl Fn(u32, i32) -> bool) -> Vec<u32> {
        let tokens = (0..).zip(&self.tokens).filter(|(_, token)| !token.is_empty());
        let ids = tokens.map(|(id, _)| id);
        ids.filter(|&id| wanted(id, self.kind(id as usize))).collect()
    }

    /// The bytes of each token; added tokens stand as they are, others in the byte-level alphabet.
    fn pieces(&self) -> Vec<Vec<u8>> {
        let alphabet = alphabet();
        let tokens = self.tokens.iter().enumerate();
        tokens
            .map(|(id, token)| match self.kind(id) {
                kind::UNUSED => Vec::new(),
                kind::UNKNOWN | kind::CONTROL | kind::USER_DEFINED => token.as_bytes().to_vec(),
                _ => bytes(token, &alphabet),
            })
            .collect()
    }

    /// The ids of both halves of each merge, looked up by their bytes: converters write a space
    /// within a half in the byte-level alphabet, even for a token that is not.
    fn merges(&self, pieces: &[Vec<u8>]) -> Result<Vec<(u32, u32)>, GgufError> {
        let alphabet = alphabet();
        let added = |id: u32| {
            matches!(self.kind(id as usize), kind::UNKNOWN | kind::CONTROL | kind::USER_DEFINED)
        };
        let mut ids: HashMap<&[u8], u32> = HashMap::with_capacity(pieces.len());
        for (id, piece) in (0..).zip(pieces).filter(|(_, piece)| !piece.is_empty()) {
            // An added token steps back behind one that was trained.
            ids.entry(piece)
                .and_modify(|taken| {
                    if added(*taken) {
                        *taken = id;
                    }
                })
                .or_insert(id);
        }
        let id = |rank: usize, half: &str| {
            ids.get(bytes(half, &alphabet).as_slice()).copied().ok_or_else(|| {
                let half = shortened(half);
                GgufError::Contradiction(format!(
                    "merge {rank} of the vocabulary uses {half:?}, which is no token; convert the \
                     model again"
                ))
            })
        };
        let pair = |(rank, merge): (usize, &&str)| {
            let (left, right) = merge.split_once(' ').ok_or_else(|| {
                let merge = shortened(merge);
                GgufError::Contradiction(format!(
                    "merge {rank} of the vocabulary is {merge:?}, not two tokens; convert the model \
                     again"
                ))
            })?;
            Ok((id(rank, left)?, id(rank, right)?))
        };
        self.merges.iter().enumerate().map(pair).collect()
    }

    /// What stands before a text.
    fn prefix(&self, family: &Family) -> Result<Vec<u32>, GgufError> {
        match (self.add_bos.unwrap_or(family.add_bos && self.bos.is_some()), self.bos) {
            (false, _) => Ok(Vec::new()),
            (true, Some(bos)) => Ok(vec![bos]),
            (true, None) => Err(GgufError::MissingKey("tokenizer.ggml.bos_token_id".into())),
        }
    }
}

#[cfg(test)]
#[path = "tokenizer_tests.rs"]
mod tests;
