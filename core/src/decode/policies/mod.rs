//! The commit policies of the field, one file per idea.

mod threshold;
mod top;

pub use threshold::Threshold;
pub use top::TopQ;

#[cfg(test)]
pub(crate) mod testing;
