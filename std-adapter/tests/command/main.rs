//! The `demask` command, as users call it.

#![allow(unreachable_pub, reason = "the modules of a test are one crate")]

#[path = "../firmware_log/mod.rs"]
mod firmware_log;
#[path = "../gguf_files/mod.rs"]
mod gguf_files;
#[path = "../gguf_models/mod.rs"]
mod gguf_models;
#[path = "../noise/mod.rs"]
mod noise;
#[path = "../../../firmware-demo/src/print.rs"]
mod print;
#[path = "../../../firmware-demo/src/step_line.rs"]
mod step_line;

mod calibrate;
mod call;
mod compare;
mod device_check;
mod general;
mod load;
mod sweep;
mod train_filter;
