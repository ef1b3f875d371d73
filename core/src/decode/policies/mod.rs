//! The commit policies of the field, one file per idea.

mod ancestral;
mod credit;
mod daedal;
mod first_hitting;
mod hierarchical_remask;
mod klass;
mod lowest;
mod remdm;
mod saber;
mod threshold;
mod time;
mod token_editing;
mod top;
mod wino;

pub use ancestral::Ancestral;
pub use credit::{CREDITS, Credit, CreditPair};
pub use daedal::Daedal;
pub use first_hitting::FirstHitting;
pub use hierarchical_remask::HierarchicalRemask;
pub use klass::Klass;
pub use remdm::{Phases, Remdm};
pub use saber::Saber;
pub use threshold::Threshold;
pub use token_editing::TokenEditing;
pub use top::TopQ;
pub use wino::Wino;

#[cfg(test)]
pub(crate) mod testing;
