//! Keys and values of positions already computed.

mod plan;
mod plans;
mod ring;

pub use plan::{CachePlan, CacheView, Decided, RowList};
pub use plans::{BlockCache, DualCache, NoCache, PrefixCache};
pub use ring::{ATTENTION_FLOOR, KvHead, KvLayer, KvLayerMut, KvRing};
