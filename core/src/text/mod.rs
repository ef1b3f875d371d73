//! Text: byte-level BPE encoding and streaming UTF-8 decoding, both without allocation.
//!
//! | file             | what it does                                                        |
//! |------------------|---------------------------------------------------------------------|
//! | `vocab`          | [`Tokenizer`]: checks the section once; pieces, specials, decoding  |
//! | `pretokenize`    | [`Gpt2Words`]: cuts a text into words, as GPT-2's pattern does      |
//! | [`unicode`]      | letters, numbers and white space, from our own pinned tables        |
//! | `bpe`            | [`Tokenizer::encode`]: merges the bytes of a word into tokens       |
//! | `utf8`           | [`Utf8Stream`]: token bytes to text, across token boundaries        |
//!
//! The ids are those of Hugging Face `tokenizers` for the same `tokenizer.json`, on every target
//! and with every compiler: nothing here reads the Unicode tables of the Rust library.
//!
//! # Tokenizer section, byte by byte
//!
//! Everything is a little-endian `u32`, no alignment is needed. The section has exactly the length
//! that its header gives.
//!
//! | part            | words            | content                                             |
//! |-----------------|------------------|-----------------------------------------------------|
//! | header          | 8                | see below                                           |
//! | byte tokens     | 256              | id of the token of each single byte, or [`NO_TOKEN`] |
//! | piece offsets   | vocabulary + 1   | piece `i` is `blob[offset[i]..offset[i + 1]]`       |
//! | merges          | 4 per merge      | left id, right id, rank, id of the merged piece     |
//! | specials        | 1 per special    | ids, ascending                                      |
//! | blob            | piece bytes      | the pieces, zero-padded to a multiple of 4 bytes    |
//!
//! The header words are: kind ([`KIND_BYTE_BPE`]), pre-tokenizer ([`PRE_TOKENIZER_GPT2`]), flags
//! ([`FLAG_ADD_PREFIX_SPACE`], other bits zero), size of the vocabulary, number of merges, number
//! of specials, bytes in the blob before padding, and a reserved zero.
//!
//! Rules that a reader may rely on, all checked by [`Tokenizer::parse`]:
//!
//! - Piece offsets start at 0, never fall, and end at the length of the blob. An id that the
//!   vocabulary does not use has an empty piece.
//! - Pieces are plain bytes: the printable stand-ins of the byte-level alphabet ("Ġ" for a space)
//!   are already undone. The piece of a byte token is that byte.
//! - Merges ascend strictly by (left, right). Ranks are below the number of merges; the lowest
//!   rank merges first. The merged piece is the left piece followed by the right one.
//! - Specials ascend strictly; their pieces are UTF-8 and not empty.
//!
//! A writer gives every merge a rank of its own.

mod bpe;
mod error;
mod pretokenize;
pub mod unicode;
mod unicode_tables;
mod utf8;
mod vocab;

pub use error::{DecodeError, EncodeError, TokenizerError};
pub use pretokenize::{Gpt2Words, Word};
pub use utf8::Utf8Stream;
pub use vocab::{
    FLAG_ADD_PREFIX_SPACE, KIND_BYTE_BPE, NO_TOKEN, PRE_TOKENIZER_GPT2, Specials, Tokenizer,
};
