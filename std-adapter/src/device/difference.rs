//! What can differ.

use super::Change;
use serde::Serialize;

/// The lines of an answer, in their order, and before them that of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Layout and digest of the image.
    Image,
    /// The user's text.
    Prompt,
    /// Options of `demask run`.
    Method,
    /// One step.
    Step,
    /// All generated tokens.
    Tokens,
    /// The answer as text.
    Text,
    /// Number of forward passes.
    Steps,
    /// Checksum over all steps.
    Checksum,
}

impl Kind {
    /// All of them, in their order.
    pub const ALL: [Self; 8] = [
        Self::Image,
        Self::Prompt,
        Self::Method,
        Self::Step,
        Self::Tokens,
        Self::Text,
        Self::Steps,
        Self::Checksum,
    ];

    /// What the line begins with.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Prompt => "prompt",
            Self::Method => "method",
            Self::Step => "step",
            Self::Tokens => "tokens",
            Self::Text => "text",
            Self::Steps => "steps",
            Self::Checksum => "checksum",
        }
    }
}

/// Why a log and this computer do not agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Difference {
    /// The log holds no answer.
    NoAnswer {
        /// Lines of the log.
        lines: usize,
        /// The last line that tells of an error.
        complaint: Option<String>,
    },
    /// The device has another image.
    Image {
        /// Name of the layout.
        layout: String,
        /// Start of the digest there.
        device: String,
        /// Start of the digest of this image in the same layout.
        host: String,
    },
    /// The device's image is packed in a way that is not known here.
    Layout {
        /// Its name.
        layout: String,
    },
    /// None of the answers is to the prompt that was asked for.
    OtherPrompt {
        /// A prompt in the log.
        device: String,
        /// The one asked for.
        host: String,
    },
    /// An answer is to an unknown prompt.
    NoPrompt,
    /// This computer does not decode like that.
    Refused {
        /// Why.
        reason: String,
    },
    /// A step decides otherwise.
    Decision {
        /// Number of the step, from 0.
        step: u32,
        /// The first such position in the canvas.
        position: u32,
        /// What becomes of it there.
        device: Option<Change>,
        /// What becomes of it here.
        host: Option<Change>,
    },
    /// A step decides the same in another order.
    Order {
        /// Number of the step, from 0.
        step: u32,
    },
    /// A step decides the same and has another checksum.
    Arithmetic {
        /// Number of the step, from 0.
        step: u32,
    },
    /// The line of a step is not there or cannot be read.
    MissingStep {
        /// Number of the step, from 0.
        step: u32,
    },
    /// A token of the answer is another one.
    Token {
        /// Number in the answer, from 0.
        index: usize,
        /// Position in the canvas.
        position: usize,
        /// The token there; none where its answer has ended.
        device: Option<u32>,
        /// The token here; none where its answer has ended.
        host: Option<u32>,
    },
    /// Another number of steps.
    Steps {
        /// There.
        device: u32,
        /// Here.
        host: u32,
    },
    /// Everything that the log has is the same but the checksum.
    Checksum {
        /// There.
        device: String,
        /// Here.
        host: String,
        /// Whether the log has the tokens, or all steps, which then agree.
        tokens_agree: bool,
    },
    /// Everything is the same but the text.
    Text {
        /// There.
        device: String,
        /// Here.
        host: String,
    },
    /// The answer has no end.
    CutOff {
        /// Steps that the log has of it.
        steps: u32,
        /// Steps that it takes here.
        of: u32,
        /// The last line that tells of an error.
        complaint: Option<String>,
    },
    /// A line cannot be read.
    Unreadable {
        /// What it should be.
        record: Kind,
    },
}
