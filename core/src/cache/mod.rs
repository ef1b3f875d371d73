//! Keys and values of positions already computed.

mod ring;

pub use ring::{ATTENTION_FLOOR, KvHead, KvLayer, KvLayerMut, KvRing};
