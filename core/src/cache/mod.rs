//! Keys and values of positions already computed.

mod plan;
mod ring;

pub use plan::{BlockCache, CachePlan, CacheView, DualCache, NoCache, PrefixCache, RowList};
pub use ring::{ATTENTION_FLOOR, KvHead, KvLayer, KvLayerMut, KvRing};
