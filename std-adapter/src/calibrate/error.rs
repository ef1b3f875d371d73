//! Why there was no calibration.

use crate::atomic::WriteError;
use crate::harness::task::TaskError;
use crate::reference::ReferenceError;
use crate::runtime::RuntimeError;
use demask::SessionError;
use demask::image::TensorRole;
use demask::packed::Format;
use demask::text::EncodeError;
use demask_quant::BoxError;
use std::path::PathBuf;

/// Why there was no calibration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CalibrateError {
    /// The file of texts.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// No text fits the model.
    #[error(
        "no text in the file leaves room for an answer on the model's canvas; give shorter ones"
    )]
    NoText,
    /// Texts need a vocabulary.
    #[error(
        "the model has no tokenizer, and calibration reads texts; quantize a folder with tokenizer.json"
    )]
    NoTokenizer,
    /// A text that the vocabulary cannot spell.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The float model.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// A decode for a snapshot.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A pass of the float model.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The weights.
    #[error("cannot read the weights: {0}")]
    Weights(BoxError),
    /// Threads.
    #[error("cannot start threads: {0}; ask for fewer with --threads")]
    Threads(#[from] rayon::ThreadPoolBuildError),
    /// A format whose rounding is not calibrated.
    #[error("{} is not rounded under calibration; choose q4 or q8, or leave --calibrate out", .0.name())]
    Format(Format),
    /// A weight that no scale reaches.
    #[error("tensor {}: a weight of {value} cannot be stored in this format; choose --type f32", role.name())]
    Weight {
        /// Which tensor.
        role: TensorRole,
        /// The weight.
        value: f32,
    },
    /// The file of what is done.
    #[error("cannot use {}: {source}; remove it to begin anew", path.display())]
    Partial {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The same, when it is begun.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A budget that cannot be kept.
    #[error("{0}")]
    Budget(String),
}
