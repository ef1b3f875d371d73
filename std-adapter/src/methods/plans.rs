//! Cache plans.

use super::{Cost, Entry, Facts, Part, Plan, Published};
use demask::cache::{BlockCache, CachePlan, DualCache, NoCache, PrefixCache};

static TABLE: &[Entry<Plan>] = &[
    Entry {
        name: "none",
        aliases: &[],
        rule: "every step computes every row that a candidate sees",
        source: "LLaDA, arXiv 2502.09992",
        parameters: &[],
        wraps: false,
        published: None,
        build: |_| Ok(Box::new(NoCache)),
    },
    Entry {
        name: "prefix",
        aliases: &[],
        rule: "all rows at the first step of a block, then those from the block on",
        source: "Fast-dLLM, arXiv 2505.22618",
        parameters: &[],
        wraps: false,
        published: Some(Published {
            times: 2.0,
            of: Cost::Seconds,
            on: "LLaDA-8B and Dream-7B, 2 to 3.6 for caches alone",
        }),
        build: |_| Ok(Box::new(PrefixCache)),
    },
    Entry {
        name: "dual",
        aliases: &[],
        rule: "all rows at the first step of a block, then the block's alone",
        source: "Fast-dLLM, arXiv 2505.22618",
        parameters: &[],
        wraps: false,
        published: Some(Published {
            times: 2.0,
            of: Cost::Seconds,
            on: "LLaDA-8B and Dream-7B, 2 to 3.6 for caches alone",
        }),
        build: |_| Ok(Box::new(DualCache)),
    },
    Entry {
        name: "block",
        aliases: &[],
        rule: "finished blocks of a block-causal model are computed once",
        source: "BD3-LM, arXiv 2503.09573",
        parameters: &[],
        wraps: false,
        published: None,
        build: |_| Ok(Box::new(BlockCache::default())),
    },
];

impl Part for Plan {
    type Boxed<'m> = Box<dyn CachePlan + 'm>;

    const KIND: &'static str = "cache plan";
    const OPTION: &'static str = "--cache";

    fn table() -> &'static [Entry<Self>] {
        TABLE
    }

    fn facts(part: &Self::Boxed<'_>) -> Facts {
        let mut notes = Vec::new();
        if part.needs_blocks() {
            notes.push("for block-causal models");
        }
        if part.has_window() {
            notes.push("texts longer than the canvas");
        }
        if part.limits_candidates() {
            notes.push("limits the candidates of a step");
        }
        Facts {
            name: part.name().to_owned(),
            needs: part.needs(),
            forbids: part.forbids(),
            exact: Some(part.is_exact()),
            notes,
            ..Facts::default()
        }
    }
}
