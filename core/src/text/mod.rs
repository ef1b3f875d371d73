//! Text: byte-level BPE encoding and streaming UTF-8 decoding, both without allocation.
//!
//! | file             | what it does                                                        |
//! |------------------|---------------------------------------------------------------------|
//! | `vocab`          | [`Tokenizer`]: checks the section once; pieces, specials, decoding  |
//! | `pretokenize`    | [`Words`]: cuts a text into words, by the pattern of its family     |
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
//! | added tokens    | 1 per token      | ids, ascending; bit 31 ([`ORDINARY`]): not special  |
//! | whole words     | 1 per word       | ids, ascending by their pieces                      |
//! | blob            | piece bytes      | the pieces, zero-padded to a multiple of 4 bytes    |
//!
//! The header words are: kind ([`KIND_BYTE_BPE`]), pre-tokenizer ([`PreTokenizer::id`]), flags
//! ([`FLAG_ADD_PREFIX_SPACE`], [`FLAG_NFC`], other bits zero), size of the vocabulary, number of
//! merges, number of added tokens, bytes in the blob before padding, number of whole words.
//!
//! Added tokens are found in a text before it is cut into words: special ones only where they are
//! asked for, ordinary ones in every text. A whole word becomes its token without merging; listed
//! are those that merging would turn into something else (a tokenizer with `ignore_merges`).
//!
//! Rules that a reader may rely on, all checked by [`Tokenizer::parse`]:
//!
//! - Piece offsets start at 0, never fall, and end at the length of the blob. An id that the
//!   vocabulary does not use has an empty piece.
//! - Pieces are plain bytes: the printable stand-ins of the byte-level alphabet ("Ġ" for a space)
//!   are already undone. The piece of a byte token is that byte.
//! - Merges ascend strictly by (left, right). Ranks are below the number of merges; the lowest
//!   rank merges first. The merged piece is the left piece followed by the right one.
//! - Added tokens ascend strictly by id; their pieces are UTF-8 and not empty.
//! - The pieces of whole words ascend strictly, byte by byte, and are not empty.
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
pub use pretokenize::{PreTokenizer, Word, Words};
pub use utf8::Utf8Stream;
pub use vocab::{
    Added, FLAG_ADD_PREFIX_SPACE, FLAG_NFC, KIND_BYTE_BPE, NO_TOKEN, ORDINARY, Specials, Tokenizer,
};
