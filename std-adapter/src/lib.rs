//! demask on a host: models opened from files and folders, threads, the float reference, the
//! accuracy harness and the `demask` command.
//!
//! | module | what it does |
//! |---|---|
//! | [`read`] | GGUF files and Hugging Face folders: weights, configuration, tokenizer |
//! | [`write`](mod@write) | GGUF files for other programs |
//! | [`mmap`], [`atomic`], [`npy`] | files: mapped for reading, written whole or not at all |
//! | [`load`] | a model as the user names it |
//! | [`prompt`] | a user's text to the ids of a canvas, and back |
//! | [`chat`] | chat messages to text, with the model's own template |
//! | [`detect`] | the fastest kernels that the processor has |
//! | [`pool`] | threads as the engine's executor |
//! | [`runtime`] | a loaded model made ready: packed engine or float reference |
//! | [`reference`](mod@reference) | the float forward pass that everything else is checked against |
//! | [`usage`] | memory that was used |
//! | [`methods`] | every decoder and cache by name, and presets |
//! | [`calibrate`] | what a model's activations say about rounding its weights |
//! | [`train`] | the network of `learn2pd`, trained for a model |
//! | [`harness`] | tasks and their scores |
//! | [`device`] | what a device printed, compared with the same decode here |
//! | [`cli`] | the `demask` command |
#![deny(unsafe_code)]

pub mod atomic;
pub mod calibrate;
pub mod chat;
pub mod cli;
pub mod detect;
pub mod device;
pub mod harness;
pub mod load;
pub mod methods;
pub mod mmap;
pub mod npy;
pub mod pool;
pub mod prompt;
mod random;
pub mod read;
pub mod reference;
pub mod runtime;
pub mod train;
pub mod usage;
pub mod write;
