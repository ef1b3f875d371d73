//! Whole models against references: logits, decodes, tasks whose answers are known.

#![allow(unreachable_pub, reason = "the modules of a test are one crate")]

mod decoders;
mod golden;
mod list_oracle;
mod oracle;
mod parity;
