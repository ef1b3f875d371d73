//! Calibration: what a model does with its weights, measured on texts of the user, decides how they are
//! rounded.
//!
//! | module | what it does |
//! |---|---|
//! | `texts` | lines of the user's file, as ids |
//! | `canvases` | masks at every ratio: at random, and as the model's own decoding leaves them |
//! | `certainty` | how much each row counts |
//! | `layers` | layer by layer, inputs from the layers that are rounded already |
//! | `kept`, `partial` | what is done of a long run, in memory or on disk |
//! | `setup` | what all of this starts from |
//! | `streamed` | the float model, one layer at a time |
//! | `divergence` | how far a rounded model is from the float one |
//! | `budget` | which matrices get 8 bits |
//!
//! The mathematics of rounding is [`demask_quant::calibrated`]'s; `docs/quantization.md` describes all of it.

mod budget;
mod canvases;
mod certainty;
mod divergence;
mod error;
mod kept;
mod layers;
mod partial;
mod setup;
mod stations;
mod streamed;
mod texts;

pub use budget::{Budget, Sensitivity, choose, sensitivities};
pub use canvases::{Canvas, Masks, Settings, canvases};
pub use certainty::{RowWeights, Rows, look};
pub use divergence::{Distributions, Divergence};
pub use error::CalibrateError;
pub use kept::Kept;
pub use layers::{Formats, Layered, Method, Outcome};
pub use partial::Partial;
pub use setup::{Setup, Shown};
pub use streamed::Streamed;
pub use texts::{Text, texts};
