//! Training of the small network that [`Learn2pd`](demask::decode::Learn2pd) asks.
//!
//! | module | what it does |
//! |---|---|
//! | `traces` | decodes with an oracle that knows how it ends, and writes down what it saw |
//! | `network` | the two layers, and their gradient |
//! | `descent` | AdamW over minibatches, until the held-out loss is least |
//!
//! Everything is plain `f32` arithmetic in a fixed order: the same traces, seed and options give the same
//! network on every machine.

mod descent;
mod network;
#[cfg(test)]
mod tests;
mod traces;

pub use descent::{Training, train};
pub use network::Quality;
pub use traces::{Traces, trace};
