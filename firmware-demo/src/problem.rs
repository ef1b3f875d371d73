//! Errors as short fixed texts: `Display` would bring `core::fmt` and its panic paths with it. A
//! host prints the details; `demask verify` does for an image.

use demask::image::ImageError;
use demask::text::{DecodeError, EncodeError, TokenizerError};
use demask::{EngineError, ForwardError, PlanError, SessionError};

/// Why the demo stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Problem(pub(crate) &'static str);

/// What is left out of a demo for a plain transformer.
const FAMILIES: &str = "the model needs the cargo feature `families`";

impl From<ImageError> for Problem {
    fn from(error: ImageError) -> Self {
        Self(match error {
            ImageError::NotAnImage => "this is not a demask image",
            ImageError::Version { .. } => "the image has another format version",
            ImageError::Misaligned => "the image is not aligned to 64 bytes",
            ImageError::Truncated { .. } => "the image is cut off",
            ImageError::ManifestDigest | ImageError::Digest { .. } => {
                "the image does not match its digests"
            }
            ImageError::Tokenizer(TokenizerError::Families) => FAMILIES,
            _ => "the image is damaged",
        })
    }
}

impl From<PlanError> for Problem {
    fn from(error: PlanError) -> Self {
        Self(match error {
            PlanError::Misaligned => "the memory is not aligned to 16 bytes",
            _ => "the memory is smaller than planned",
        })
    }
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Self {
        Self(match error {
            EngineError::NotQuantized => "the image is not quantized",
            EngineError::MissingPart { .. } => FAMILIES,
            _ => "the memory was planned for another model",
        })
    }
}

impl From<EncodeError> for Problem {
    fn from(error: EncodeError) -> Self {
        Self(match error {
            EncodeError::Full { .. } => "the prompt does not fit the canvas",
            _ => "the vocabulary cannot spell the prompt",
        })
    }
}

impl From<DecodeError> for Problem {
    fn from(_: DecodeError) -> Self {
        Self("the tokenizer belongs to another model")
    }
}

impl From<SessionError> for Problem {
    fn from(error: SessionError) -> Self {
        Self(match error {
            SessionError::CanvasTooLong { .. } => "prompt and answer do not fit the canvas",
            SessionError::Forward(ForwardError::NotFinite { .. }) => {
                "an activation is not a finite number"
            }
            _ => "the session refused the canvas",
        })
    }
}
