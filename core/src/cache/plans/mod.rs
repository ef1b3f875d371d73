//! The cache plans of the field, one file per idea.

mod block;
mod block_start;
mod current;
mod d2;
mod dkv;
mod dkv_greedy;
mod entropy;
mod frozen;
mod suffix;
mod whole;

pub use block::{BlockCache, SubBlockCache};
pub use block_start::{DualCache, PrefixCache, VicinityCache};
pub use d2::D2Cache;
pub use dkv::DkvCache;
pub use dkv_greedy::DkvGreedy;
pub use entropy::EntropyRefresh;
pub use frozen::{FreeCache, LavidaPrefix};
pub use suffix::SuffixWindow;
pub use whole::NoCache;
