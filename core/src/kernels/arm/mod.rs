//! Cortex-M processors with instructions of their own for this work.
//!
//! The build target says which kernels it is sure to run (`build.rs` of this crate), so that making
//! their tokens needs no promise.
#![allow(unsafe_code)]

#[cfg(demask_kernels = "dsp")]
mod dsp;
#[cfg(demask_kernels = "helium")]
mod helium;

#[cfg(demask_kernels = "dsp")]
pub use dsp::Dsp;
#[cfg(demask_kernels = "helium")]
pub use helium::Helium;
