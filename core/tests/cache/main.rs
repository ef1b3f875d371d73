//! Cache plans: what is exact, which rows are computed, and what stays in their slots.

#![allow(unreachable_pub, reason = "the modules of a test are one crate")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../fake_model/mod.rs"]
mod fake_model;
#[path = "../kv_model/mod.rs"]
mod kv_model;

mod edges;
mod exact;
mod refresh;
mod rows;
mod slots;
