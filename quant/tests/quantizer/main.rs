//! Images from weights: what is exact, what is rounded, what is refused.

#![allow(unreachable_pub, reason = "the modules of a test are one crate")]

#[path = "../../../core/tests/common/mod.rs"]
mod common;

mod errors;
mod exact;
mod filter;
mod ggml_golden;
mod repack;
mod round_trip;
