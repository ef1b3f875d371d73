//! Policies, schedules and end rules: every one alone, all of them together, and against slow
//! reimplementations of their papers.

#![allow(unreachable_pub, reason = "the modules of a test are one crate")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../fake_model/mod.rs"]
mod fake_model;
#[path = "../kv_model/mod.rs"]
mod kv_model;

mod catalogue;
mod combinations;
mod edges;
mod engine;
mod every_method;
mod props;
mod reference;
mod rules;
