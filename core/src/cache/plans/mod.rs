//! The cache plans of the field, one file per idea.

mod block;
mod block_start;
mod whole;

pub use block::BlockCache;
pub use block_start::{DualCache, PrefixCache};
pub use whole::NoCache;
