//! Images: every damage is found and named.

#![allow(unreachable_pub, reason = "the modules of a test are one crate")]

#[path = "../common/mod.rs"]
mod common;

mod damage;
mod errors;
mod mutations;
