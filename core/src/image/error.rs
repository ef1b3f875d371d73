//! What can be wrong with an image.

use super::{SectionKind, TensorRole};
use crate::text::TokenizerError;
use core::fmt;

/// Why bytes were refused as a model image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageError {
    /// The bytes do not start with the magic number.
    NotAnImage,
    /// Written by an incompatible version of the format.
    Version {
        /// Major version found.
        major: u16,
        /// Minor version found.
        minor: u16,
    },
    /// The memory does not start on a 64-byte boundary.
    Misaligned,
    /// Fewer bytes than the image says it has.
    Truncated {
        /// Bytes the image needs, as far as could be read.
        needed: u64,
    },
    /// More bytes than the image says it has.
    TrailingBytes {
        /// Bytes the image should have.
        expected: u64,
    },
    /// A header field has a value that this version does not allow.
    Header(&'static str),
    /// An entry of the section table is wrong.
    Section {
        /// Index of the entry.
        index: u32,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A section that every image must have is not there.
    MissingSection(SectionKind),
    /// A number of the CONFIG section is out of range; the field is named.
    Config(&'static str),
    /// The TOKENIZER section is wrong.
    Tokenizer(TokenizerError),
    /// The PROMPT section is wrong.
    Prompt(&'static str),
    /// The FILTER section is wrong.
    Filter(&'static str),
    /// A tensor is wrong.
    Tensor {
        /// Which one.
        role: TensorRole,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// There are more tensors or weight bytes than the model has.
    SurplusTensors,
    /// Header or section table do not match their digest.
    ManifestDigest,
    /// A section does not match its digest.
    Digest {
        /// Index of the section.
        index: u32,
        /// Its kind, if known.
        kind: Option<SectionKind>,
    },
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnImage => f.write_str(
                "not a demask image (wrong magic number); make one with `demask quantize`",
            ),
            Self::Version { major, minor } => write!(
                f,
                "image format {major}.{minor} is not readable by this build (it reads {}.x); \
                 write the image again with `demask quantize`",
                super::VERSION.0
            ),
            Self::Misaligned => {
                f.write_str("the image must start on a 64-byte boundary; align the buffer")
            }
            Self::Truncated { needed } => {
                write!(f, "the image is cut off: it needs {needed} bytes; copy it again")
            }
            Self::TrailingBytes { expected } => {
                write!(f, "the image should end after {expected} bytes; copy it again")
            }
            Self::Header(field) => write!(f, "the image header is damaged: {field}"),
            Self::Section { index, problem } => {
                write!(f, "entry {index} of the section table is damaged: {problem}")
            }
            Self::MissingSection(kind) => write!(f, "the image has no {} section", kind.name()),
            Self::Config(field) => write!(f, "the CONFIG section is wrong: {field}"),
            Self::Tokenizer(error) => write!(f, "the TOKENIZER section is wrong: {error}"),
            Self::Prompt(problem) => write!(f, "the PROMPT section is wrong: {problem}"),
            Self::Filter(problem) => write!(f, "the FILTER section is wrong: {problem}"),
            Self::Tensor { role, problem } => {
                write!(f, "tensor {}", role.name())?;
                if let Some(layer) = role.layer() {
                    write!(f, " of layer {layer}")?;
                }
                write!(f, ": {problem}")
            }
            Self::SurplusTensors => {
                f.write_str("the image has more tensors or weight bytes than its model needs")
            }
            Self::ManifestDigest => f.write_str(
                "header or section table do not match their digest: the image is damaged; \
                 copy it again",
            ),
            Self::Digest { index, kind } => write!(
                f,
                "section {index} ({}) does not match its digest: the image is damaged; \
                 copy it again",
                kind.map_or("unknown", SectionKind::name)
            ),
        }
    }
}

impl core::error::Error for ImageError {}
