//! Policies that only commit.

use super::super::parameter::{Parameter, count, number, word};
use super::super::{Cost, Entry, Policy, published};
use super::UNIT;
use demask::decode::{
    Dream, DreamGrid, Dynamic, EntropyBound, Factor, Hierarchical, LocalLeap, NearBest, Origin,
    RandomOrder, Rank, Sequential, SlowFast, Threshold, TopQ,
};

const ALG_TEMP: Parameter =
    number("temperature", 0.0, (0.0, f32::MAX), "alg_temp: above 0, positions are drawn at it");
const EPSILON: Parameter = number("epsilon", 0.001, (0.000_001, 0.5), "where time ends");

fn rank(name: &str) -> Rank {
    match name {
        "confidence" => Rank::Confidence,
        "margin" => Rank::Margin,
        _ => Rank::Entropy,
    }
}

/// A number between 0 and 1 as whole millionths.
pub(crate) fn millionths(number: f32) -> u32 {
    (f64::from(number) * 1e6).round() as u32
}

pub(super) static TABLE: [Entry<Policy>; 15] = [
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
        name: "random",
        aliases: &[],
        rule: "the schedule's count of masks in random order",
        source: "LLaDA, arXiv 2502.09992",
        parameters: &[],
        wraps: false,
        published: None,
        build: |_| Ok(Box::new(RandomOrder)),
    },
    Entry {
        name: "sequential",
        aliases: &["left-to-right"],
        rule: "the schedule's count of masks from left to right",
        source: "SDAR, arXiv 2510.06303",
        parameters: &[],
        wraps: false,
        published: None,
        build: |_| Ok(Box::new(Sequential)),
    },
    Entry {
        name: "threshold",
        aliases: &["fast-dllm"],
        rule: "every proposal whose probability is at least p, and the best one in any case",
        source: "Fast-dLLM, arXiv 2505.22618",
        parameters: &[number("p", 0.9, UNIT, "probability from which on a proposal is committed")],
        wraps: false,
        published: published(3.25, Cost::Forwards, "LLaDA-8B, GSM8K, p = 0.9"),
        build: |m| Ok(Box::new(Threshold(m.number("p")))),
    },
    Entry {
        name: "factor",
        aliases: &[],
        rule: "the largest n of the best proposals with 1 - factor / (n + 1) below the probability of the last",
        source: "Fast-dLLM, arXiv 2505.22618",
        parameters: &[number("factor", 1.0, (0.0, f32::MAX), "larger commits more")],
        wraps: false,
        published: None,
        build: |m| Ok(Box::new(Factor(m.number("factor")))),
    },
    Entry {
        name: "entropy-bound",
        aliases: &["eb", "eb-sampler"],
        rule: "the proposals of least entropy, as long as those before them add up to no more than nats",
        source: "EB-Sampler, arXiv 2505.24857",
        parameters: &[
            number(
                "nats",
                0.1,
                (0.0, f32::MAX),
                "sum of entropies; 0.001, 0.1 and 0.35 are published",
            ),
            word("by", &["entropy", "confidence", "margin"], "order in which they are taken"),
        ],
        wraps: false,
        published: published(2.0, Cost::Forwards, "code and mathematics, 2 to 3"),
        build: |m| Ok(Box::new(EntropyBound::new(m.number("nats")).by(rank(m.word("by"))))),
    },
    Entry {
        name: "local-leap",
        aliases: &["localleap"],
        rule: "every proposal above anchor, and those above relaxed within a window around one of these",
        source: "LocalLeap, arXiv 2510.07081",
        parameters: &[
            number("anchor", 0.9, UNIT, "probability of an anchor"),
            number("relaxed", 0.75, UNIT, "probability near an anchor"),
            count("window", 4, (0, usize::MAX), "tokens that are near"),
        ],
        wraps: false,
        published: published(7.04, Cost::Forwards, "LLaDA-8B, 14.2 % of the steps"),
        build: |m| {
            let window = u32::try_from(m.count("window")).unwrap_or(u32::MAX);
            Ok(Box::new(LocalLeap::new(m.number("anchor"), m.number("relaxed"), window)))
        },
    },
    Entry {
        name: "dynamic",
        aliases: &["sdar", "llada2"],
        rule: "every proposal above p if there are at least as many as asked for, else so many of the best",
        source: "SDAR, arXiv 2510.06303; LLaDA2.0, 2512.15745; Fast-dLLM v2, 2509.26328",
        parameters: &[
            number("p", 0.9, UNIT, "probability above which a proposal is committed"),
            count(
                "least",
                0,
                (0, usize::MAX),
                "tokens per pass at least; 0 is what the schedule says",
            ),
        ],
        wraps: false,
        published: published(2.0, Cost::Forwards, "SDAR, against its static rule"),
        build: |m| {
            let p = m.number("p");
            Ok(match m.count("least") {
                0 => Box::new(Dynamic::new(p)),
                least => Box::new(Dynamic::with_least(p, least)),
            })
        },
    },
    Entry {
        name: "near-best",
        aliases: &["dinfer"],
        rule: "every proposal whose probability is at least p, and all that are as good as the best",
        source: "dInfer, arXiv 2510.08666",
        parameters: &[number("p", 0.9, UNIT, "probability from which on a proposal is committed")],
        wraps: false,
        published: None,
        build: |m| Ok(Box::new(NearBest(m.number("p")))),
    },
    Entry {
        name: "hierarchical",
        aliases: &[],
        rule: "the best proposal of every run of masks if it is above low, and all above high",
        source: "dInfer, arXiv 2510.08666",
        parameters: &[
            number(
                "low",
                0.62,
                UNIT,
                "probability of the best of a run; 0.4 to 0.62 are published",
            ),
            number("high", 0.92, UNIT, "probability of the others"),
        ],
        wraps: false,
        published: None,
        build: |m| Ok(Box::new(Hierarchical::new(m.number("low"), m.number("high")))),
    },
    Entry {
        name: "slow-fast",
        aliases: &["slowfast"],
        rule: "one token at a time until the end of what is sure is known, then all that is sure up to there",
        source: "SlowFast, arXiv 2506.10848",
        parameters: &[
            number("sure", 0.9, UNIT, "probability from which on several are committed"),
            number("certain", 0.3, UNIT, "probability that counts for the end of a span"),
        ],
        wraps: false,
        published: published(15.6, Cost::Seconds, "LLaDA-8B"),
        build: |m| Ok(Box::new(SlowFast::new(m.number("sure"), m.number("certain")))),
    },
    Entry {
        name: "maskgit-plus",
        aliases: &["dream-confidence"],
        rule: "the schedule's count of positions with the most probable proposal, drawn at a temperature",
        source: "Dream, arXiv 2508.15487",
        parameters: &[ALG_TEMP],
        wraps: false,
        published: None,
        build: |m| {
            Ok(Box::new(Dream::new(Rank::Confidence).with_temperature(m.number("temperature"))))
        },
    },
    Entry {
        name: "topk-margin",
        aliases: &["margin"],
        rule: "the schedule's count of positions whose best token leads the second most",
        source: "Dream, arXiv 2508.15487",
        parameters: &[ALG_TEMP],
        wraps: false,
        published: None,
        build: |m| Ok(Box::new(Dream::new(Rank::Margin).with_temperature(m.number("temperature")))),
    },
    Entry {
        name: "entropy",
        aliases: &["dream"],
        rule: "the schedule's count of positions with the least entropy",
        source: "Dream, arXiv 2508.15487",
        parameters: &[ALG_TEMP],
        wraps: false,
        published: None,
        build: |m| {
            Ok(Box::new(Dream::new(Rank::Entropy).with_temperature(m.number("temperature"))))
        },
    },
    Entry {
        name: "origin",
        aliases: &[],
        rule: "every mask with the chance that the time grid gives it",
        source: "Dream, arXiv 2508.15487",
        parameters: &[EPSILON],
        wraps: false,
        published: None,
        build: |m| Ok(Box::new(Origin::new(DreamGrid::new(millionths(m.number("epsilon")))))),
    },
];
