//! What is read from files: folders, GGUF, tokenizers; and written back.

#![allow(unreachable_pub, reason = "the modules of a test are one crate")]

#[path = "../../../core/tests/common/mod.rs"]
mod common;
#[path = "../gguf_files/mod.rs"]
mod gguf_files;
#[path = "../gguf_models/mod.rs"]
mod gguf_models;
#[path = "../tokenizer_texts/mod.rs"]
mod tokenizer_texts;

mod families;
mod folder_mutations;
mod gguf_read;
mod gguf_write;
mod load;
mod tokenizer_hf;
mod tokenizer_json;
mod tokenizer_props;
mod tokenizer_python;
mod tokenizer_unicode;
