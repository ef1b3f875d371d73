//! End rules.

use super::{End, Entry, Facts, Part};
use demask::decode::{EosPolicy, FillAll, StopAtEos};

static TABLE: &[Entry<End>] = &[
    Entry {
        name: "stop",
        aliases: &[],
        rule: "at the first end token with no mask before it; the text is that of fill",
        source: "common practice",
        parameters: &[],
        wraps: false,
        published: None,
        build: |_| Ok(Box::new(StopAtEos)),
    },
    Entry {
        name: "fill",
        aliases: &["none"],
        rule: "when every mask is filled",
        source: "LLaDA, arXiv 2502.09992",
        parameters: &[],
        wraps: false,
        published: None,
        build: |_| Ok(Box::new(FillAll)),
    },
];

impl Part for End {
    type Boxed<'m> = Box<dyn EosPolicy + 'm>;

    const KIND: &'static str = "end rule";
    const OPTION: &'static str = "--eos";

    fn table() -> &'static [Entry<Self>] {
        TABLE
    }

    fn facts(part: &Self::Boxed<'_>) -> Facts {
        let mut notes = Vec::new();
        if part.forbids() {
            notes.push("the end token is never proposed");
        }
        if part.truncates() {
            notes.push("a finished text ends the canvas");
        }
        Facts { name: part.name().to_owned(), notes, ..Facts::default() }
    }
}
