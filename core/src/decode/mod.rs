//! From scores to decisions: what to commit, when a block is done, when a text ends.

mod edit;
mod eos;
mod needs;
mod policies;
mod policy;
mod random;
mod schedule;
mod score;
mod view;

pub use edit::{Commit, Edit, Insertion};
pub use eos::{EosPolicy, FillAll, StopAtEos};
pub use needs::Needs;
pub use policies::{Threshold, TopQ};
pub use policy::CommitPolicy;
pub use random::{Filter, Sampling, philox4x32};
pub use schedule::{Even, Schedule};
pub use score::{HEAD_CHUNK, Score, ScoreAccumulator};
pub use view::{LogitBias, StepCount, StepView};
