//! Count schedules.

use super::parameter::{count, number};
use super::policies::millionths;
use super::{Counts, Entry, Facts, Part};
use demask::decode::{Ascending, Cosine, DreamGrid, Even, LavidaShift, Schedule};

static TABLES: &[&[Entry<Counts>]] = &[&[
    Entry {
        name: "even",
        aliases: &["llada"],
        rule: "the same count at every step, the remainder on the first ones",
        source: "LLaDA, arXiv 2502.09992",
        parameters: &[],
        wraps: false,
        published: None,
        build: |_| Ok(Box::new(Even)),
    },
    Entry {
        name: "dream",
        aliases: &[],
        rule: "Dream's time grid: a share of what is left, the last step takes all",
        source: "Dream, arXiv 2508.15487",
        parameters: &[number("epsilon", 0.001, (0.000_001, 0.5), "where time ends")],
        wraps: false,
        published: None,
        build: |m| Ok(Box::new(DreamGrid::new(millionths(m.number("epsilon"))))),
    },
    Entry {
        name: "lavida",
        aliases: &[],
        rule: "shifted: alpha below 1 commits more at the start, above 1 more at the end",
        source: "LaViDa, arXiv 2505.16839",
        parameters: &[
            count("above", 1, (1, 1_000_000), "alpha is above / below"),
            count("below", 3, (1, 1_000_000), "alpha is above / below"),
        ],
        wraps: false,
        published: None,
        build: |m| {
            let part = |name| u32::try_from(m.count(name)).unwrap_or(1_000_000);
            Ok(Box::new(LavidaShift::new(part("above"), part("below"))))
        },
    },
    Entry {
        name: "ascending",
        aliases: &["ass"],
        rule: "1, 2, 4, 8, ... tokens, the last step takes the rest; the number of steps is its own",
        source: "ASS, arXiv 2509.23924",
        parameters: &[],
        wraps: false,
        published: None,
        build: |_| Ok(Box::new(Ascending)),
    },
    Entry {
        name: "cosine",
        aliases: &["maskgit"],
        rule: "few tokens at first, more and more later",
        source: "MaskGIT, arXiv 2202.04200",
        parameters: &[],
        wraps: false,
        published: None,
        build: |_| Ok(Box::new(Cosine)),
    },
]];

impl Part for Counts {
    type Boxed<'m> = Box<dyn Schedule + 'm>;

    const KIND: &'static str = "schedule";
    const OPTION: &'static str = "--schedule";

    fn tables() -> &'static [&'static [Entry<Self>]] {
        TABLES
    }

    fn facts(part: &Self::Boxed<'_>) -> Facts {
        Facts { name: part.name().to_owned(), ..Facts::default() }
    }
}
