//! What a decoder needs from a network.

use crate::decode::{LogitBias, Needs, Sampling, Score};
use crate::image::{Attention, ModelConfig};
use core::fmt;

/// Ids that a decoder treats specially, and the number of ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vocabulary {
    /// Number of token ids.
    pub size: u32,
    /// Stands for "not yet decided"; never proposed. A causal model has no such token: there it is
    /// the number of ids, and no row that holds it may be computed.
    pub mask_id: u32,
    /// Ends a text.
    pub eos_id: u32,
}

impl From<&ModelConfig> for Vocabulary {
    fn from(config: &ModelConfig) -> Self {
        Self { size: config.vocab_size, mask_id: config.mask_id, eos_id: config.eos_id }
    }
}

/// One forward pass: what is on the canvas, which rows go through the network, whose scores are
/// wanted.
///
/// A slot whose row is not computed keeps keys and values of the last pass that computed it.
#[derive(Debug, Clone, Copy)]
pub struct Pass<'a> {
    /// The tokens of all slots.
    pub canvas: &'a [u32],
    /// Rows to compute, ascending; `None` means all of them.
    pub rows: Option<&'a [u16]>,
    /// Positions whose scores are wanted, ascending. The row that predicts each of them (the one
    /// before it if logits are shifted) must be among the computed ones.
    pub wanted: &'a [u16],
    /// What rows see, within what the model lets them see.
    pub visible: Visible<'a>,
    /// What to add to logits before they are looked at, ascending by position.
    pub bias: &'a [LogitBias],
}

impl<'a> Pass<'a> {
    /// A pass that computes every row.
    #[must_use]
    pub const fn whole(canvas: &'a [u32], wanted: &'a [u16]) -> Self {
        Self { canvas, rows: None, wanted, visible: Visible::ALL, bias: &[] }
    }
}

/// Which slots rows see, within what the attention of the model lets them see. Anything but
/// [`Visible::ALL`] needs a model that [gives](Model::gives) [`Needs::VISIBILITY`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Visible<'a> {
    /// Rows before this position see only the slots before it: LaViDa's prefix. 0 for no prefix.
    pub prefix: usize,
    /// No row sees a slot from here on, shadows apart.
    pub end: usize,
    /// Slots that no row sees, ascending.
    pub hidden: &'a [u16],
    /// The last slots of the canvas, which are masks, stand in for these positions: WINO's shadows. The
    /// shadow of a position sees all slots but that of its position; only shadows see shadows. Needs
    /// [`Needs::SHADOWS`]; empty for none.
    pub shadowed: (usize, usize),
}

impl Visible<'_> {
    /// Everything that the model lets them see.
    pub const ALL: Self = Self { prefix: 0, end: usize::MAX, hidden: &[], shadowed: (0, 0) };
}

/// Scores masked positions of a canvas. [`Engine`](crate::Engine) is the packed transformer; a
/// host may bring another, such as a float reference.
pub trait Model {
    /// Special ids and vocabulary size.
    fn vocabulary(&self) -> Vocabulary;

    /// Longest canvas that can be scored.
    fn max_canvas(&self) -> usize;

    /// Which positions a row sees.
    fn attention(&self) -> Attention {
        Attention::Bidirectional
    }

    /// Whether the row of a position predicts the position after it.
    fn shifted_logits(&self) -> bool {
        false
    }

    /// What it can do beyond scoring masks with everything visible.
    fn gives(&self) -> Needs {
        Needs::NONE
    }

    /// A new canvas begins: slots and positions are the same again.
    fn begin(&mut self) {}

    /// One forward pass: fills one record per wanted position. `scores` has as many entries.
    ///
    /// A model without a cache may compute more rows than it is asked to.
    ///
    /// # Errors
    /// [`ForwardError`]; the scores are then unspecified.
    fn score(
        &mut self,
        pass: &Pass<'_>,
        sampling: &Sampling,
        scores: &mut [Score],
    ) -> Result<(), ForwardError>;

    /// Forgets `drop` slots from slot `keep` on and moves those behind them down: the canvas is a
    /// window over a longer text. The freed slots at the end stand for the positions that follow.
    ///
    /// False if the model has no such window, or cannot count that many positions; nothing has
    /// moved then.
    fn slide(&mut self, _keep: usize, _drop: usize) -> bool {
        false
    }
}

impl<M: Model + ?Sized> Model for &mut M {
    fn vocabulary(&self) -> Vocabulary {
        (**self).vocabulary()
    }

    fn max_canvas(&self) -> usize {
        (**self).max_canvas()
    }

    fn attention(&self) -> Attention {
        (**self).attention()
    }

    fn shifted_logits(&self) -> bool {
        (**self).shifted_logits()
    }

    fn gives(&self) -> Needs {
        (**self).gives()
    }

    fn score(
        &mut self,
        pass: &Pass<'_>,
        sampling: &Sampling,
        scores: &mut [Score],
    ) -> Result<(), ForwardError> {
        (**self).score(pass, sampling, scores)
    }

    fn begin(&mut self) {
        (**self).begin();
    }

    fn slide(&mut self, keep: usize, drop: usize) -> bool {
        (**self).slide(keep, drop)
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
    /// A position is wanted, and the row that predicts it is not computed in this pass.
    RowNotComputed {
        /// The row.
        row: usize,
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
            Self::RowNotComputed { row } => {
                write!(
                    f,
                    "row {row} is wanted and not among those to compute; check the cache plan"
                )
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
