//! The engine against slow networks in f64, and against itself: on other kernels, threads and memory.

#![allow(unreachable_pub, reason = "the modules of a test are one crate")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../fake_model/mod.rs"]
mod fake_model;

mod checksum;
mod decoder_exact;
mod engines;
mod exact;
mod logit_row;
mod naive;
mod plan;
mod same;
mod score_numbers;
