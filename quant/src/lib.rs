//! From floating-point weights to a demask image.
//!
//! A [`WeightSource`] hands over rows of `f32`, or integers and scales where it has them.
//! [`write_image`] rounds the former to 8 or 4 bits ([`round`]) and takes the latter as they are,
//! packs both as [`demask::packed`] describes, writes sections and digests, and reports the error of
//! every tensor. The same source and options give the same bytes, on any number of threads.
//! [`pack_image`] makes the same image in memory, for use at once, and [`repack`] turns an image
//! into one for other processors.
#![forbid(unsafe_code)]

pub mod calibrated;
mod filter;
pub mod ggml;
mod image;
mod memory;
mod pack;
mod parallel;
mod quantization;
mod repack;
mod report;
mod rotate;
pub mod round;
mod sections;
mod source;
pub mod tokenizer;
mod write;

pub use filter::FilterData;
pub use image::ImageWeights;
pub use memory::{ImageBuffer, PackProgress, pack_image};
pub use quantization::Quantization;
pub use repack::repack;
pub use report::{Report, TensorReport};
pub use rotate::{RotateError, Rotated};
pub use sections::{PromptData, Sections, TensorPlan, image_bytes, plan_tensors};
pub use source::{BoxError, WeightSource};
pub use write::{WriteError, write_image};
