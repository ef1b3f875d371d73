//! From scores to decisions: what to commit, when a block is done, when a text ends.

mod eos;
mod policy;
mod random;
mod schedule;
mod score;

pub use eos::{EosPolicy, FillAll, StopAtEos};
pub use policy::{Commit, CommitPolicy, Edit, StepView, Threshold, TopQ};
pub use random::{Sampling, philox4x32};
pub use schedule::{Even, Schedule};
pub use score::{HEAD_CHUNK, Score, ScoreAccumulator};
