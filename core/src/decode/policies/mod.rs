//! The commit policies of the field, one file per idea.

mod ancestral;
mod credit;
mod cut_at_eos;
mod daedal;
mod dream;
mod dynamic;
mod entropy_bound;
mod factor;
mod first_hitting;
mod hierarchical;
mod hierarchical_remask;
mod klass;
mod learn2pd;
mod local_leap;
mod lowest;
mod near_best;
mod origin;
mod prophet;
mod random_order;
mod rank;
mod remdm;
mod saber;
mod sequential;
mod slow_fast;
mod stable_prefix;
mod threshold;
mod time;
mod token_editing;
mod top;
mod wino;

pub use ancestral::Ancestral;
pub use credit::{CREDITS, Credit, CreditPair};
pub use cut_at_eos::CutAtEos;
pub use daedal::Daedal;
pub use dream::Dream;
pub use dynamic::Dynamic;
pub use entropy_bound::EntropyBound;
pub use factor::Factor;
pub use first_hitting::FirstHitting;
pub use hierarchical::Hierarchical;
pub use hierarchical_remask::HierarchicalRemask;
pub use klass::Klass;
pub use learn2pd::{EndOfText, Learn2pd};
pub use local_leap::LocalLeap;
pub use near_best::NearBest;
pub use origin::Origin;
pub use prophet::Prophet;
pub use random_order::RandomOrder;
pub use rank::Rank;
pub use remdm::{Phases, Remdm};
pub use saber::Saber;
pub use sequential::Sequential;
pub use slow_fast::SlowFast;
pub use stable_prefix::StablePrefix;
pub use threshold::Threshold;
pub use token_editing::TokenEditing;
pub use top::TopQ;
pub use wino::Wino;

/// What a wrapper leaves to the policy in its field.
macro_rules! of_inner {
    ($field:tt: $($method:ident)*) => {
        $(of_inner!(@ $field $method);)*
    };
    (@ $field:tt follows_schedule) => {
        fn follows_schedule(&self) -> bool {
            self.$field.follows_schedule()
        }
    };
    (@ $field:tt bounds_itself) => {
        fn bounds_itself(&self) -> bool {
            self.$field.bounds_itself()
        }
    };
    (@ $field:tt capacity) => {
        fn capacity(&self) -> usize {
            self.$field.capacity()
        }
    };
    (@ $field:tt begin) => {
        fn begin(&mut self, region: core::ops::Range<usize>) {
            self.$field.begin(region);
        }
    };
    (@ $field:tt begin_block) => {
        fn begin_block(&mut self, block: core::ops::Range<usize>, masks: usize) {
            self.$field.begin_block(block, masks);
        }
    };
    (@ $field:tt bias) => {
        fn bias(&self) -> &[crate::decode::LogitBias] {
            self.$field.bias()
        }
    };
    (@ $field:tt continues) => {
        fn continues(&self) -> bool {
            self.$field.continues()
        }
    };
}
use of_inner;

#[cfg(test)]
pub(crate) mod testing;
