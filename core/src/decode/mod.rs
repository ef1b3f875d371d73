//! From scores to decisions: what to commit, when a block is done, when a text ends.

mod commit_filter;
mod divergence;
mod edit;
mod eos;
mod eos_rules;
mod filter;
mod logits;
mod needs;
mod policies;
mod policy;
mod random;
mod schedule;
mod schedules;
mod score;
mod view;

pub use commit_filter::{CommitFilter, FILTER_HEADER_BYTES, MAX_FILTER_WIDTH};
pub use edit::{Commit, Edit, Insertion};
pub use eos::{EosPolicy, FillAll, StopAtEos};
pub use eos_rules::{EosRamp, SuppressLogit, SuppressRank, TruncateAtEos};
pub use filter::Filter;
pub use logits::LogitRow;
pub use needs::Needs;
pub use policies::{
    Ancestral, CREDITS, Credit, CreditPair, CutAtEos, Daedal, Dream, Dynamic, EndOfText,
    EntropyBound, Factor, FirstHitting, Hierarchical, HierarchicalRemask, Klass, Learn2pd,
    LocalLeap, NearBest, Origin, Phases, Prophet, RandomOrder, Rank, Remdm, Saber, Sequential,
    SlowFast, StablePrefix, Threshold, TokenEditing, TopQ, Wino,
};
pub use policy::CommitPolicy;
pub use random::{Sampling, philox4x32};
pub use schedule::{Even, Schedule};
pub use schedules::{Ascending, Cosine, DreamGrid, LavidaShift};
pub use score::{HEAD_CHUNK, Score};
pub use view::{LogitBias, StepCount, StepView};

pub(crate) use divergence::Divergence;
pub(crate) use filter::Candidates;
pub(crate) use logits::{Adjustment, bias_of};
pub(crate) use score::ScoreAccumulator;

/// Whether this build computes what only some decoders ask for: the cargo feature `decoders`. Without it
/// an [`Engine`](crate::Engine) gives none of that.
pub(crate) const DECODERS: bool = cfg!(feature = "decoders");
