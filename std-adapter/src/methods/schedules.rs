//! Count schedules.

use super::{Counts, Entry, Facts, Part};
use demask::decode::{Even, Schedule};

static TABLE: &[Entry<Counts>] = &[Entry {
    name: "even",
    aliases: &["llada"],
    rule: "the same count at every step, the remainder on the first ones",
    source: "LLaDA, arXiv 2502.09992",
    parameters: &[],
    wraps: false,
    published: None,
    build: |_| Ok(Box::new(Even)),
}];

impl Part for Counts {
    type Boxed<'m> = Box<dyn Schedule + 'm>;

    const KIND: &'static str = "schedule";
    const OPTION: &'static str = "--schedule";

    fn table() -> &'static [Entry<Self>] {
        TABLE
    }

    fn facts(part: &Self::Boxed<'_>) -> Facts {
        Facts { name: part.name().to_owned(), ..Facts::default() }
    }
}
