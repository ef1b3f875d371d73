//! Arm microcontrollers: Cortex-M.
//!
//! The build target itself says which instructions there are, so that every token is safe to make.
#![allow(unsafe_code)]

#[cfg(demask_kernels = "dsp")]
mod dsp;

#[cfg(demask_kernels = "dsp")]
pub use dsp::Dsp;
