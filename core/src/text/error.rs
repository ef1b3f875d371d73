//! What can go wrong with text: small `Copy` values whose messages say what to do.

use core::error::Error;
use core::fmt;

/// Why a tokenizer section was refused by [`Tokenizer::parse`](super::Tokenizer::parse).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenizerError {
    /// The section is not as long as its header says.
    Length {
        /// Bytes that the header asks for (or the header itself, when even that is cut off).
        expected: u64,
        /// Bytes that are there.
        found: usize,
    },
    /// The kind in the header is not [`KIND_BYTE_BPE`](super::KIND_BYTE_BPE).
    Kind(u32),
    /// The pre-tokenizer in the header is not known to this version.
    PreTokenizer(u32),
    /// Flag bits are set that this version does not know.
    Flags(u32),
    /// The pre-tokenizer or whole words need the cargo feature `families`.
    Families,
    /// The piece of this id (or the end of the last one) does not lie where the format says.
    Piece {
        /// Index into the piece offsets.
        id: u32,
    },
    /// The token given for this byte is not in the vocabulary or does not spell the byte.
    ByteToken {
        /// The byte.
        byte: u8,
    },
    /// A merge names an unknown id, its rank is too large, or its result is not left + right.
    Merge {
        /// Index into the merges.
        index: usize,
    },
    /// This merge does not stand after the one before it, by (left, right).
    MergeOrder {
        /// Index into the merges.
        index: usize,
    },
    /// An added token is out of order, unknown, empty or not UTF-8.
    Added {
        /// Index into the added tokens.
        index: usize,
    },
    /// A whole word is not in the vocabulary, empty or out of order.
    WholeWord {
        /// Index into the whole words.
        index: usize,
    },
    /// The bytes after the last piece are not zero.
    Padding,
}

impl fmt::Display for TokenizerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Length { expected, found } => write!(
                f,
                "tokenizer section has {found} bytes where {expected} are needed; the image is cut off or damaged"
            ),
            Self::Kind(kind) => {
                write!(f, "tokenizer kind {kind} is not supported; 1 (byte-level BPE) is")
            }
            Self::PreTokenizer(id) => {
                write!(f, "pre-tokenizer {id} is not known; use a newer demask")
            }
            Self::Flags(flags) => {
                write!(f, "tokenizer flags {flags:#x} are not known; use a newer demask")
            }
            Self::Families => {
                write!(f, "this tokenizer needs the cargo feature `families`; build demask with it")
            }
            Self::Piece { id } => write!(f, "piece {id} of the tokenizer lies outside its bytes"),
            Self::ByteToken { byte } => {
                write!(f, "the token for byte {byte:#04x} does not spell that byte")
            }
            Self::Merge { index } => write!(
                f,
                "merge {index} of the tokenizer names unknown ids, too large a rank, or a result that is not its two parts"
            ),
            Self::MergeOrder { index } => {
                write!(f, "merge {index} of the tokenizer is out of order or doubled")
            }
            Self::Added { index } => write!(
                f,
                "added token {index} is out of order, not in the vocabulary, empty or not UTF-8"
            ),
            Self::WholeWord { index } => {
                write!(f, "whole word {index} is out of order, not in the vocabulary or empty")
            }
            Self::Padding => write!(f, "the tokenizer section ends in bytes that are not zero"),
        }
    }
}

impl Error for TokenizerError {}

/// Why a text could not be turned into tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// The output is too small, counting one entry per byte of the word being merged.
    Full {
        /// Entries needed to get past the word at which encoding stopped; later ones may need more.
        needed: usize,
        /// Entries given.
        capacity: usize,
    },
    /// The vocabulary has no token for this byte.
    NoByteToken {
        /// The byte.
        byte: u8,
    },
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Full { needed, capacity } => write!(
                f,
                "the text needs room for at least {needed} tokens and got {capacity}; shorten it or pass a longer slice"
            ),
            Self::NoByteToken { byte } => write!(
                f,
                "the vocabulary has no token for byte {byte:#04x}; leave the character out or use a model with all 256"
            ),
        }
    }
}

impl Error for EncodeError {}

/// Why tokens could not be turned into text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// An id at or above [`Tokenizer::vocab_len`](super::Tokenizer::vocab_len).
    UnknownId {
        /// Where in the ids.
        index: usize,
        /// The id.
        id: u32,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::UnknownId { index, id } => write!(
                f,
                "token {id} at position {index} is outside the vocabulary; the tokenizer belongs to another model"
            ),
        }
    }
}

impl Error for DecodeError {}
