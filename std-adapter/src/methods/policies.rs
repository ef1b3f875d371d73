//! Commit policies.

use super::parameter::number;
use super::{Cost, Entry, Facts, Part, Policy, Published};
use demask::decode::{CommitPolicy, Threshold, TopQ};

/// A probability.
const UNIT: (f32, f32) = (0.0, 1.0);

static TABLE: &[Entry<Policy>] = &[
    Entry {
        name: "low-confidence",
        aliases: &["llada", "top"],
        rule: "the schedule's count of proposals with the highest probability",
        source: "LLaDA, arXiv 2502.09992",
        parameters: &[],
        wraps: false,
        published: None,
        build: |_| Ok(Box::new(TopQ)),
    },
    Entry {
        name: "threshold",
        aliases: &["fast-dllm"],
        rule: "every proposal whose probability is at least p, and the best one in any case",
        source: "Fast-dLLM, arXiv 2505.22618",
        parameters: &[number("p", 0.9, UNIT, "probability from which on a proposal is committed")],
        wraps: false,
        published: Some(Published {
            times: 3.25,
            of: Cost::Forwards,
            on: "LLaDA-8B, GSM8K, p = 0.9",
        }),
        build: |m| Ok(Box::new(Threshold(m.number("p")))),
    },
];

impl Part for Policy {
    type Boxed<'m> = Box<dyn CommitPolicy + 'm>;

    const KIND: &'static str = "policy";
    const OPTION: &'static str = "--policy";

    fn table() -> &'static [Entry<Self>] {
        TABLE
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
