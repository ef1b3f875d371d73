//! What a decoder needs from a network.

use crate::decode::{Sampling, Score};
use core::fmt;

/// Ids that a decoder treats specially, and the number of ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vocabulary {
    /// Number of token ids.
    pub size: u32,
    /// Stands for "not yet decided"; never proposed.
    pub mask_id: u32,
    /// Ends a text.
    pub eos_id: u32,
}

/// Scores masked positions of a canvas. [`Engine`](crate::Engine) is the packed transformer; a
/// host may bring another, such as a float reference.
pub trait Model {
    /// Special ids and vocabulary size.
    fn vocabulary(&self) -> Vocabulary;

    /// Longest canvas that can be scored.
    fn max_canvas(&self) -> usize;

    /// One forward pass: fills one record per `wanted` position (ascending, inside the canvas).
    /// `scores` has as many entries as `wanted`.
    ///
    /// # Errors
    /// [`ForwardError`]; the canvas is then unchanged and the scores are unspecified.
    fn score(
        &mut self,
        canvas: &[u32],
        wanted: &[u16],
        sampling: &Sampling,
        scores: &mut [Score],
    ) -> Result<(), ForwardError>;
}

impl<M: Model + ?Sized> Model for &mut M {
    fn vocabulary(&self) -> Vocabulary {
        (**self).vocabulary()
    }

    fn max_canvas(&self) -> usize {
        (**self).max_canvas()
    }

    fn score(
        &mut self,
        canvas: &[u32],
        wanted: &[u16],
        sampling: &Sampling,
        scores: &mut [Score],
    ) -> Result<(), ForwardError> {
        (**self).score(canvas, wanted, sampling, scores)
    }
}

/// Why a forward pass gave no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForwardError {
    /// The canvas is longer than planned.
    CanvasTooLong {
        /// Tokens in the canvas.
        len: usize,
        /// Tokens that fit.
        max: usize,
    },
    /// A token id is not in the vocabulary.
    UnknownToken {
        /// Where it stands.
        position: usize,
        /// The id.
        id: u32,
    },
    /// The buffer for the result has the wrong length.
    OutputLength {
        /// Numbers that the result has.
        needed: usize,
        /// Numbers that there is room for.
        given: usize,
    },
    /// An activation became NaN or infinite: the weights are damaged or not for this engine.
    NotFinite {
        /// The layer; `None` after the last one.
        layer: Option<u32>,
    },
}

impl fmt::Display for ForwardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CanvasTooLong { len, max } => {
                write!(f, "the canvas has {len} tokens and only {max} were planned for")
            }
            Self::UnknownToken { position, id } => {
                write!(f, "token {id} at position {position} is not in the vocabulary")
            }
            Self::OutputLength { needed, given } => {
                write!(f, "the result has {needed} numbers and the buffer {given}")
            }
            Self::NotFinite { layer: Some(layer) } => write!(
                f,
                "an activation in layer {layer} is not a finite number: check the model's weights"
            ),
            Self::NotFinite { layer: None } => {
                f.write_str("a logit is not a finite number: check the model's weights")
            }
        }
    }
}

impl core::error::Error for ForwardError {}
