//! From floating-point weights to a demask image.
//!
//! A [`WeightSource`] hands over rows of `f32`; [`write_image`] rounds them to 8 or 4 bits
//! ([`round`]), packs them as [`demask::packed`] describes ([`pack`]), writes sections and digests,
//! and reports the error of every tensor. The same source and options give the same bytes.
//! [`repack`] turns an image into one for other processors.
#![forbid(unsafe_code)]

pub mod ggml;
pub mod pack;
mod repack;
mod report;
pub mod round;
pub mod tokenizer;
mod write;

pub use repack::{ImageBuffer, repack, repack_unsealed};
pub use report::{Report, TensorReport};
pub use write::{
    BoxError, PromptData, Quantization, Sections, WeightSource, WriteError, write_image,
};
