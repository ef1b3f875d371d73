//! Commit policies.

mod plain;
mod special;

pub(crate) use plain::millionths;

use super::{Entry, Facts, Part, Policy};
use demask::decode::CommitPolicy;

/// A probability.
const UNIT: (f32, f32) = (0.0, 1.0);

static TABLES: &[&[Entry<Policy>]] = &[&plain::TABLE, &special::TABLE];

impl Part for Policy {
    type Boxed<'m> = Box<dyn CommitPolicy + 'm>;

    const KIND: &'static str = "policy";
    const OPTION: &'static str = "--policy";

    fn tables() -> &'static [&'static [Entry<Self>]] {
        TABLES
    }

    fn facts(part: &Self::Boxed<'_>) -> Facts {
        let mut notes = Vec::new();
        if part.follows_schedule() {
            notes.push("follows the schedule");
        }
        if part.bounds_itself() {
            notes.push("brings itself to an end");
        }
        Facts { name: part.name().to_owned(), needs: part.needs(), notes, ..Facts::default() }
    }
}
