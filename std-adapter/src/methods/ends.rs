//! End rules.

use super::parameter::number;
use super::{End, Entry, Facts, Part};
use demask::decode::{
    EosPolicy, EosRamp, FillAll, StopAtEos, SuppressLogit, SuppressRank, TruncateAtEos,
};

static TABLES: &[&[Entry<End>]] = &[&[
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
    Entry {
        name: "truncate",
        aliases: &["eotp"],
        rule: "like stop, and the canvas ends with the text",
        source: "Learn2PD, arXiv 2509.25188",
        parameters: &[],
        wraps: false,
        published: None,
        build: |_| Ok(Box::new(TruncateAtEos)),
    },
    Entry {
        name: "suppress-logit",
        aliases: &["eos-inf"],
        rule: "the end token is never proposed",
        source: "LLaDA, arXiv 2502.09992",
        parameters: &[],
        wraps: false,
        published: None,
        build: |_| Ok(Box::new(SuppressLogit)),
    },
    Entry {
        name: "suppress-rank",
        aliases: &[],
        rule: "positions that propose the end token come after all others; the rule inside says where the text ends",
        source: "LLaDA, arXiv 2502.09992",
        parameters: &[],
        wraps: true,
        published: None,
        build: |m| Ok(Box::new(SuppressRank(m.inner()?))),
    },
    Entry {
        name: "eoser",
        aliases: &["gamma-ramp"],
        rule: "the rank of the end token grows from a factor to 1; the rule inside says where the text ends",
        source: "EOSER, arXiv 2509.23924",
        parameters: &[number("from", 0.4, (0.0, 1.0), "factor in the first step of a block")],
        wraps: true,
        published: None,
        build: |m| {
            let from = m.number("from");
            Ok(Box::new(EosRamp::linear().starting_at(from).then(m.inner()?)))
        },
    },
    Entry {
        name: "eoser-ascending",
        aliases: &[],
        rule: "the same for the ascending schedule, by what is filled",
        source: "EOSER, arXiv 2509.23924",
        parameters: &[number("from", 0.01, (0.0, 1.0), "factor in the first step")],
        wraps: true,
        published: None,
        build: |m| {
            let from = m.number("from");
            Ok(Box::new(EosRamp::ascending().starting_at(from).then(m.inner()?)))
        },
    },
]];

impl Part for End {
    type Boxed<'m> = Box<dyn EosPolicy + 'm>;

    const KIND: &'static str = "end rule";
    const OPTION: &'static str = "--eos";

    fn tables() -> &'static [&'static [Entry<Self>]] {
        TABLES
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
