//! Readers of models as users have them.
//!
//! Everything here takes files from strangers: sizes are capped before memory is asked for, and
//! each boundary has its own error that names the file, the field or the tensor, and what to do.

mod adaln;
mod config_fields;
mod data;
mod families;
pub mod folder;
pub mod generation;
pub mod gguf;
pub mod hf_config;
mod rows;
pub mod safetensors;
pub mod tokenizer_json;

pub(crate) use data::read_exact_at;

use std::io::{self, Read};
use std::path::Path;

pub use rows::RowsError;

/// Reads a small file whole, refusing one that is longer than `cap` bytes or not a regular file.
pub(crate) fn read_capped(path: &Path, cap: u64) -> io::Result<Vec<u8>> {
    let refuse = |text: String| Err(io::Error::new(io::ErrorKind::InvalidData, text));
    // Looked at before opening: opening a pipe would wait for its other end.
    if !std::fs::metadata(path)?.is_file() {
        return refuse("it is not a regular file".into());
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(cap + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > cap {
        return refuse(format!("it is longer than {cap} bytes"));
    }
    Ok(bytes)
}

/// A name or value for a message: hostile files may hold megabytes.
pub(crate) fn shortened(text: &str) -> String {
    let mut out: String = text.chars().take(60).collect();
    if out.len() < text.len() {
        out.push_str("...");
    }
    out
}

/// How many more there are than the one that a message names.
pub(crate) fn and_more(count: usize) -> String {
    if count == 0 { String::new() } else { format!(" (and {count} more)") }
}
