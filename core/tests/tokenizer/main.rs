//! From text to tokens and back.

#![allow(unreachable_pub, reason = "the modules of a test are one crate")]

mod encode;
mod fixture;
mod malformed;
