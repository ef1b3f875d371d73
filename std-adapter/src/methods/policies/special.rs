//! Policies that take tokens back, draw, remember, or let the answer grow; and wrappers.

use super::super::parameter::{count, number, word};
use super::super::{Cost, Entry, Making, MethodError, Policy, published};
use super::UNIT;
use demask::decode::{
    Ancestral, CREDITS, CommitFilter, Credit, CutAtEos, Daedal, EndOfText, FirstHitting,
    HierarchicalRemask, Klass, Learn2pd, Phases, Prophet, Remdm, Saber, StablePrefix, TokenEditing,
    Wino,
};

/// A policy on memory that lives for `'m`.
type Boxed<'m> = <Policy as super::Part>::Boxed<'m>;

/// The filter of the model on memory of the policy.
fn learn2pd<'m>(m: &mut Making<'_, 'm, Policy>) -> Result<Boxed<'m>, MethodError> {
    let failed = |reason: String| MethodError::Make { method: "learn2pd", reason };
    let filter = m.setting.filter.ok_or_else(|| {
        failed(
            "the model has no filter; train one with `demask train-filter` and use the image that \
             it writes"
                .into(),
        )
    })?;
    let (block, hidden) = (filter.block(), filter.hidden());
    if m.setting.block_length > block {
        return Err(failed(format!(
            "the model's filter is for blocks of {block} tokens, and these have {}; give \
             --block-length {block} or less",
            m.setting.block_length
        )));
    }
    let numbers = m.memory.take(filter.numbers().len())?;
    numbers.copy_from_slice(filter.numbers());
    let filter = CommitFilter::new(block, hidden, numbers).map_err(|e| failed(e.to_string()))?;
    let end = match m.word("end") {
        "kept" => EndOfText::Kept,
        "proposed" => EndOfText::Proposed,
        _ => EndOfText::Accepted,
    };
    let scratch = m.memory.take(Learn2pd::scratch(&filter))?;
    Ok(Box::new(Learn2pd::new(filter, scratch).with_threshold(m.number("p")).with_end(end)))
}

pub(super) static TABLE: [Entry<Policy>; 19] = [
    Entry {
        name: "ancestral",
        aliases: &["mdlm", "ddpm-cache"],
        rule: "every mask with the chance that its step gives it; steps without a commit make no pass",
        source: "MDLM, arXiv 2406.07524",
        parameters: &[],
        wraps: false,
        published: None,
        build: |_| Ok(Box::new(Ancestral::cached())),
    },
    Entry {
        name: "ancestral-uncached",
        aliases: &["ddpm"],
        rule: "the same with a pass for every step",
        source: "MDLM, arXiv 2406.07524",
        parameters: &[],
        wraps: false,
        published: None,
        build: |_| Ok(Box::new(Ancestral::uncached())),
    },
    Entry {
        name: "first-hitting",
        aliases: &["bd3lm"],
        rule: "one mask in random order",
        source: "BD3-LM, arXiv 2503.09573",
        parameters: &[],
        wraps: false,
        published: None,
        build: |_| Ok(Box::new(FirstHitting)),
    },
    Entry {
        name: "remdm-cap",
        aliases: &["remdm"],
        rule: "ancestral steps in which every token may become a mask again with the probability rate",
        source: "ReMDM, arXiv 2503.00307",
        parameters: &[number(
            "rate",
            0.008,
            UNIT,
            "probability to be taken back, at most what the step allows",
        )],
        wraps: false,
        published: None,
        build: |m| Ok(Box::new(Remdm::cap(m.number("rate")))),
    },
    Entry {
        name: "remdm-rescale",
        aliases: &[],
        rule: "the same with a share of what the step allows",
        source: "ReMDM, arXiv 2503.00307",
        parameters: &[number("factor", 0.015, UNIT, "share of what the step allows")],
        wraps: false,
        published: None,
        build: |m| Ok(Box::new(Remdm::rescale(m.number("factor")))),
    },
    Entry {
        name: "remdm-conf",
        aliases: &[],
        rule: "the same, those sooner that were less probable when they were committed",
        source: "ReMDM, arXiv 2503.00307",
        parameters: &[],
        wraps: false,
        published: None,
        build: |m| Ok(Box::new(Remdm::by_confidence(m.per_position()?))),
    },
    Entry {
        name: "remdm-loop",
        aliases: &[],
        rule: "the same between two times only, while a share of the tokens stays decided",
        source: "ReMDM, arXiv 2503.00307",
        parameters: &[
            number("on", 0.55, UNIT, "time at which it begins"),
            number("off", 0.05, UNIT, "time at which it ends"),
            number("level", 0.9, UNIT, "share that stays decided"),
            number("rate", 0.02, UNIT, "probability to be taken back"),
        ],
        wraps: false,
        published: None,
        build: |m| {
            let phases = Phases {
                on: m.number("on"),
                off: m.number("off"),
                level: m.number("level"),
                rate: m.number("rate"),
            };
            Ok(Box::new(Remdm::loop_between(phases)))
        },
    },
    Entry {
        name: "token-editing",
        aliases: &["llada2.1"],
        rule: "every proposal above p, and every token is replaced whose position has another one above edit",
        source: "LLaDA2.1, arXiv 2602.08676",
        parameters: &[
            number(
                "p",
                0.95,
                UNIT,
                "probability above which a mask is committed; 0.5 in speed mode",
            ),
            number(
                "edit",
                0.9,
                UNIT,
                "probability above which a token is replaced; 0 in speed mode",
            ),
        ],
        wraps: false,
        published: published(3.12, Cost::Forwards, "LLaDA2.1-mini, quality mode"),
        build: |m| Ok(Box::new(TokenEditing::new(m.number("p"), m.number("edit")))),
    },
    Entry {
        name: "hierarchical-remask",
        aliases: &[],
        rule: "like hierarchical, and tokens below doubt are candidates again",
        source: "dInfer, arXiv 2510.08666",
        parameters: &[
            number("low", 0.62, UNIT, "probability of the best of a run"),
            number("high", 0.92, UNIT, "probability of the others"),
            number("doubt", 0.4, UNIT, "probability below which a token is taken back"),
        ],
        wraps: false,
        published: None,
        build: |m| {
            let [low, high, doubt] = ["low", "high", "doubt"].map(|name| m.number(name));
            Ok(Box::new(HierarchicalRemask::new(low, high, doubt)))
        },
    },
    Entry {
        name: "wino",
        aliases: &[],
        rule: "wide in: all above accept; narrow out: masks again whose shadow gives them less than keep",
        source: "WINO, arXiv 2507.18578",
        parameters: &[
            number("accept", 0.6, UNIT, "probability above which a proposal is committed"),
            number("keep", 0.9, UNIT, "probability below which a token is taken back"),
        ],
        wraps: false,
        published: published(6.0, Cost::Forwards, "LLaDA-8B, GSM8K"),
        build: |m| Ok(Box::new(Wino::new(m.number("accept"), m.number("keep")))),
    },
    Entry {
        name: "saber",
        aliases: &[],
        rule: "every proposal above the mean of those committed, at least two; what has become doubtful is taken back",
        source: "Saber, arXiv 2510.18165",
        parameters: &[],
        wraps: false,
        published: published(2.51, Cost::Seconds, "LLaDA-8B, code"),
        build: |m| Ok(Box::new(Saber::llada(m.per_position()?))),
    },
    Entry {
        name: "saber-dream",
        aliases: &[],
        rule: "the same, taking back what is least probable",
        source: "Saber, arXiv 2510.18165",
        parameters: &[],
        wraps: false,
        published: None,
        build: |m| Ok(Box::new(Saber::dream(m.per_position()?))),
    },
    Entry {
        name: "klass",
        aliases: &[],
        rule: "every proposal above p whose distribution has moved by less than nats in two passes, else the schedule's count",
        source: "KLASS, arXiv 2511.05664",
        parameters: &[
            number("p", 0.6, UNIT, "probability above which a stable proposal is committed"),
            number("nats", 0.015, (0.0, f32::MAX), "movement below which a distribution is stable"),
        ],
        wraps: false,
        published: published(2.78, Cost::Seconds, "LLaDA-8B and Dream-7B, at most"),
        build: |m| {
            let still = m.per_position()?;
            Ok(Box::new(Klass::with_thresholds(m.number("p"), m.number("nats"), still)))
        },
    },
    Entry {
        name: "credit",
        aliases: &[],
        rule: "every proposal above p, where tokens that stay on top have their logits raised",
        source: "dInfer, arXiv 2510.08666",
        parameters: &[number("p", 0.9, UNIT, "probability from which on a proposal is committed")],
        wraps: false,
        published: None,
        build: |m| {
            let pairs = m.per_position()?;
            let bias = m.memory.take(m.setting.canvas.saturating_mul(CREDITS))?;
            Ok(Box::new(Credit::new(m.number("p"), pairs, bias)))
        },
    },
    Entry {
        name: "learn2pd",
        aliases: &[],
        rule: "every proposal that a small network trained for the model takes for final, and the best one",
        source: "Learn2PD, arXiv 2509.25188",
        parameters: &[
            number("p", 0.96, UNIT, "how sure the network must be"),
            word(
                "end",
                &["accepted", "kept", "proposed"],
                "the canvas ends behind an end token that is accepted, never, or that is proposed",
            ),
        ],
        wraps: false,
        published: published(22.58, Cost::Seconds, "LLaDA-8B, GSM8K, a canvas of 1,024"),
        build: |m| learn2pd(m),
    },
    Entry {
        name: "daedal",
        aliases: &[],
        rule: "the answer finds its own length: it grows while no end is in sight, and where it is unsure",
        source: "DAEDAL, arXiv 2508.00819",
        parameters: &[count("longest", 2048, (1, usize::MAX), "tokens of the longest answer")],
        wraps: false,
        published: None,
        build: |m| Ok(Box::new(Daedal::new(m.count("longest")))),
    },
    Entry {
        name: "prophet",
        aliases: &[],
        rule: "as soon as the answer is clear, all of it at once; until then the policy inside decides",
        source: "Prophet, arXiv 2508.19982",
        parameters: &[
            number("first", 7.5, (0.0, f32::MAX), "lead in nats in the first third of the steps"),
            number("middle", 5.0, (0.0, f32::MAX), "lead in the second third"),
            number("last", 2.5, (0.0, f32::MAX), "lead in the last third"),
            count("from", 0, (0, usize::MAX), "first position of the answer that counts"),
            count("to", 0, (0, usize::MAX), "end of those; 0 is all that is left"),
        ],
        wraps: true,
        published: published(2.34, Cost::Forwards, "LLaDA-8B, general tasks"),
        build: |m| {
            let gaps = ["first", "middle", "last"].map(|part| m.number(part));
            let prophet = Prophet::new(m.inner()?).with_gaps(gaps);
            Ok(match (m.count("from"), m.count("to")) {
                (_, 0) => Box::new(prophet),
                (from, to) => Box::new(prophet.over(from..to)),
            })
        },
    },
    Entry {
        name: "stable-prefix",
        aliases: &["lsp"],
        rule: "of what the policy inside commits, the run from the first mask on",
        source: "LSP, arXiv 2603.05454",
        parameters: &[word(
            "proposals",
            &["any", "unchanged"],
            "whether they must be those of the pass before",
        )],
        wraps: true,
        published: published(3.4, Cost::Seconds, "at most"),
        build: |m| {
            let inner = m.inner()?;
            Ok(match m.word("proposals") {
                "unchanged" => Box::new(StablePrefix::with_memory(inner, m.per_position()?)),
                _ => Box::new(StablePrefix::new(inner)),
            })
        },
    },
    Entry {
        name: "cut-at-eos",
        aliases: &[],
        rule: "the canvas ends behind the first end token, whatever stands before it",
        source: "Elastic-Cache, arXiv 2510.14973",
        parameters: &[],
        wraps: true,
        published: None,
        build: |m| Ok(Box::new(CutAtEos(m.inner()?))),
    },
];
