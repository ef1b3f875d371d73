//! Keys and values of positions already computed.

mod plan;
mod plans;
mod ring;

pub(crate) use plan::keep_in_front;
pub use plan::{CachePlan, CacheView, Decided, RowList};
pub use plans::{
    BlockCache, D2Cache, DkvCache, DkvGreedy, DualCache, EntropyRefresh, FreeCache, LavidaPrefix,
    NoCache, PrefixCache, SubBlockCache, SuffixWindow, VicinityCache,
};
pub use ring::{ATTENTION_FLOOR, KvHead, KvLayer, KvLayerMut, KvRing};
