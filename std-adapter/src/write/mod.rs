//! Writers of models for other programs.

pub mod gguf;
pub mod requantize;
