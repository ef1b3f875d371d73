//! Cache plans.

use super::parameter::{Parameter, count, number, word};
use super::{Cost, Entry, Facts, Part, Plan, published};
use demask::cache::{
    BlockCache, CachePlan, D2Cache, DkvCache, DkvGreedy, DualCache, EntropyRefresh, FreeCache,
    LavidaPrefix, NoCache, PrefixCache, SubBlockCache, SuffixWindow, VicinityCache,
};

/// When a plan with blocks computes again what it keeps.
const REFRESH: Parameter = count(
    "refresh",
    0,
    (0, usize::MAX),
    "passes between refreshes; 0 only at the start of a block",
);

/// When dKV-Cache refreshes what it keeps.
static DKV: [Parameter; 2] = [
    count(
        "refresh",
        0,
        (0, usize::MAX),
        "passes between refreshes; 0 is 8, or 4 for shifted models",
    ),
    word("scope", &["block", "text"], "what passes are counted in; text as Dream's release"),
];

static TABLES: &[&[Entry<Plan>]] = &[&[
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
        parameters: &[REFRESH],
        wraps: false,
        published: published(
            2.0,
            Cost::Seconds,
            "LLaDA-8B and Dream-7B, 2 to 3.6 for the cache alone",
        ),
        build: |m| Ok(Box::new(PrefixCache::refreshed_every(m.count("refresh")))),
    },
    Entry {
        name: "dual",
        aliases: &[],
        rule: "all rows at the first step of a block, then the block's alone",
        source: "Fast-dLLM, arXiv 2505.22618",
        parameters: &[REFRESH],
        wraps: false,
        published: published(
            2.0,
            Cost::Seconds,
            "LLaDA-8B and Dream-7B, 2 to 3.6 for the cache alone",
        ),
        build: |m| Ok(Box::new(DualCache::refreshed_every(m.count("refresh")))),
    },
    Entry {
        name: "vicinity",
        aliases: &[],
        rule: "the block and its neighbourhood, after some whole passes",
        source: "dInfer, arXiv 2510.08666",
        parameters: &[
            count("before", 16, (0, usize::MAX), "rows before the block"),
            count("after", 16, (0, usize::MAX), "rows behind it"),
            count("warm-up", 4, (0, usize::MAX), "whole passes at the start of a block"),
            REFRESH,
        ],
        wraps: false,
        published: None,
        build: |m| {
            let cache = VicinityCache::new(m.count("before"), m.count("after"), m.count("warm-up"));
            Ok(Box::new(cache.refreshed_every(m.count("refresh"))))
        },
    },
    Entry {
        name: "dkv-decode",
        aliases: &["dkv"],
        rule: "prompt and decided tokens are kept between refreshes, each from one step after it was decided",
        source: "dKV-Cache, arXiv 2505.15781",
        parameters: &DKV,
        wraps: false,
        published: published(1.92, Cost::Seconds, "LLaDA-8B, GSM8K"),
        build: |m| {
            let cache = DkvCache::decode(m.bits()?).refreshed_every(m.count("refresh"));
            Ok(match m.word("scope") {
                "text" => Box::new(cache.across_blocks()),
                _ => Box::new(cache),
            })
        },
    },
    Entry {
        name: "dkv-prefill",
        aliases: &[],
        rule: "the prompt is computed once and kept for good",
        source: "dKV-Cache, arXiv 2505.15781",
        parameters: &[],
        wraps: false,
        published: published(3.55, Cost::Seconds, "Dream-7B, GSM8K"),
        build: |m| Ok(Box::new(DkvCache::prefill(m.bits()?))),
    },
    Entry {
        name: "dkv-pd",
        aliases: &[],
        rule: "the prompt is kept for good, decided tokens between refreshes",
        source: "dKV-Cache, arXiv 2505.15781",
        parameters: &DKV,
        wraps: false,
        published: published(3.32, Cost::Seconds, "Dream-7B, GSM8K"),
        build: |m| {
            let cache = DkvCache::pd(m.bits()?).refreshed_every(m.count("refresh"));
            Ok(match m.word("scope") {
                "text" => Box::new(cache.across_blocks()),
                _ => Box::new(cache),
            })
        },
    },
    Entry {
        name: "dkv-greedy",
        aliases: &[],
        rule: "only what is decoded now and before, and a window of masks around it, in an order drawn before",
        source: "dKV-Cache, arXiv 2505.15781",
        parameters: &[
            count("tokens", 1, (1, usize::MAX), "tokens per pass"),
            count("window", 4, (0, usize::MAX), "masks around them"),
            count(
                "refresh",
                2,
                (0, usize::MAX),
                "passes between refreshes; 0 only at the start of a block",
            ),
        ],
        wraps: false,
        published: published(1.63, Cost::Seconds, "LLaDA-8B, GSM8K, random order"),
        build: |m| {
            let cache = DkvGreedy::new(m.bits()?, m.setting.seed).tokens(m.count("tokens"));
            let cache = cache.window(m.count("window"));
            Ok(Box::new(cache.refreshed_every(m.count("refresh"))))
        },
    },
    Entry {
        name: "free",
        aliases: &["freecache"],
        rule: "what stands before the block is kept for good, each block as its last pass left it",
        source: "FlashDLM, arXiv 2505.21467",
        parameters: &[],
        wraps: false,
        published: None,
        build: |_| Ok(Box::new(FreeCache::default())),
    },
    Entry {
        name: "free-repaired",
        aliases: &[],
        rule: "the same, with the finished block computed once more",
        source: "FlashDLM, arXiv 2505.21467, repaired",
        parameters: &[],
        wraps: false,
        published: None,
        build: |_| Ok(Box::new(FreeCache::repaired())),
    },
    Entry {
        name: "lavida",
        aliases: &[],
        rule: "the prompt sees only itself and is computed once; exact for models trained so",
        source: "LaViDa, arXiv 2505.16839",
        parameters: &[],
        wraps: false,
        published: published(3.9, Cost::Seconds, "LaViDa, COCO"),
        build: |_| Ok(Box::new(LavidaPrefix::default())),
    },
    Entry {
        name: "dpad",
        aliases: &[],
        rule: "masks behind the block are dropped, the farther the more; the plan inside does the rest",
        source: "DPad, arXiv 2508.14148",
        parameters: &[
            count("window", 128, (0, usize::MAX), "positions behind the block"),
            number("sigmas", 4.0, (0.0, f32::MAX), "width of the window in standard deviations"),
            number("scale", 2.0, (0.0, f32::MAX), "larger keeps more"),
        ],
        wraps: true,
        published: published(1.5, Cost::Seconds, "LLaDA-8B, GSM8K"),
        build: |m| {
            let (inner, seed) = (m.inner()?, m.setting.seed);
            let cache = SuffixWindow::new(inner, m.per_position()?, seed).window(m.count("window"));
            Ok(Box::new(cache.dropout(m.number("sigmas"), m.number("scale"), seed)))
        },
    },
    Entry {
        name: "suffix-window",
        aliases: &[],
        rule: "masks beyond a window behind the block are dropped; the plan inside does the rest",
        source: "DPad, arXiv 2508.14148",
        parameters: &[count("window", 128, (0, usize::MAX), "positions behind the block")],
        wraps: true,
        published: None,
        build: |m| {
            let (inner, window) = (m.inner()?, m.count("window"));
            Ok(Box::new(SuffixWindow::whole(inner, m.per_position()?, window)))
        },
    },
    Entry {
        name: "entropy",
        aliases: &["entropy-refresh"],
        rule: "everything is computed again when what was decided lately was unsure",
        source: "EntropyCache, arXiv 2603.18489",
        parameters: &[number(
            "nats",
            EntropyRefresh::NATS,
            (0.0, f32::MAX),
            "entropy from which on it is unsure; the constant is ours",
        )],
        wraps: false,
        published: published(15.0, Cost::Seconds, "15 to 26 claimed"),
        build: |m| {
            let bits = m.bits()?;
            let recent = m.memory.take(EntropyRefresh::RECENT)?;
            Ok(Box::new(EntropyRefresh::new(bits, recent, m.number("nats"))))
        },
    },
    Entry {
        name: "d2",
        aliases: &["d2cache"],
        rule: "the masks that are sure and have decided neighbours, and what was decided last",
        source: "d2Cache, arXiv 2509.23094, without attention",
        parameters: &[
            count("masks", 32, (1, usize::MAX), "masks per pass"),
            number("sigma", 10.0, (0.001, f32::MAX), "reach of a decided neighbour, in positions"),
            count("refresh", 0, (0, usize::MAX), "passes between refreshes; 0 is never"),
        ],
        wraps: false,
        published: published(4.8, Cost::Seconds, "at most, with attention"),
        build: |m| {
            let bits = m.bits()?;
            let numbers = m.memory.take(m.setting.canvas.saturating_mul(2))?;
            let cache = D2Cache::new(bits, numbers).masks(m.count("masks"));
            let cache = cache.sigma(m.number("sigma"));
            Ok(Box::new(cache.refreshed_every(m.count("refresh"))))
        },
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
    Entry {
        name: "sub-block",
        aliases: &[],
        rule: "finished blocks once, and of the block in hand mostly the sub-block",
        source: "Fast-dLLM v2, arXiv 2509.26328",
        parameters: &[],
        wraps: false,
        published: None,
        build: |_| Ok(Box::new(SubBlockCache::default())),
    },
]];

impl Part for Plan {
    type Boxed<'m> = Box<dyn CachePlan + 'm>;

    const KIND: &'static str = "cache plan";
    const OPTION: &'static str = "--cache";

    fn tables() -> &'static [&'static [Entry<Self>]] {
        TABLES
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
