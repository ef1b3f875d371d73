//! The parts of a transformer block, each on caller-provided rows.

pub(crate) mod attention;
pub(crate) mod experts;
pub(crate) mod feed_forward;
pub(crate) mod head;
pub(crate) mod linear;
pub(crate) mod norm;
mod power;
pub(crate) mod rope;
pub(crate) mod router;
pub(crate) mod visibility;
pub(crate) mod weights;
