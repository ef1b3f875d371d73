//! Every policy with every cache plan, every schedule and every end rule: the text is completed within the
//! cap, nothing given is changed, and it comes out the same twice; or the session refuses the pair.

use crate::common::Random;
use crate::every_method::{Outcome, Parts, Trying, decode, ends, plans, policies, schedules};
use crate::fake_model::{EOS, MASK};
use crate::kv_model::KvModel;
use demask::cache::CachePlan;
use demask::decode::{CommitPolicy, Needs};
use demask::image::Attention;
use demask::{Options, SessionError};
use std::collections::BTreeSet;

/// Tokens of a block of the attention, where there are any.
const OWN: usize = 4;

/// Masks are common, so are end tokens.
fn canvas(random: &mut Random, length: usize) -> Vec<u32> {
    let token = |random: &mut Random| match random.below(8) {
        0..=3 => MASK,
        4 => EOS,
        _ => 2 + random.below(11) as u32,
    };
    (0..length).map(|_| token(random)).collect()
}

/// A network, and what it is to decode.
struct Case {
    model: KvModel,
    given: Vec<u32>,
    /// Tokens that follow.
    added: usize,
    options: Options,
    /// Blocks and tokens of the answer.
    region: (usize, usize),
}

fn case(random: &mut Random, attention: Attention) -> Case {
    let mut model = KvModel::new(random.next(), attention, random.below(2) == 0);
    model.scale = [0.0, 0.5, 4.0, 12.0][random.below(4)];
    model.extras = true;
    let block_length = match attention {
        Attention::Bidirectional => 1 + random.below(5),
        Attention::BlockCausal(_) => [1, 2, OWN][random.below(3)],
    };
    let length = block_length * (1 + random.below(3));
    // Of every third canvas all is given or to be filled as it stands: no length is added.
    let infill = random.below(3) == 0;
    let prompt = if infill { length } else { random.below(7) };
    let given = canvas(random, prompt);
    let added = if infill && given.contains(&MASK) { 0 } else { length };
    let region = if added == 0 { 0..prompt } else { prompt..prompt + added };
    let blocks = match attention {
        Attention::Bidirectional => region.len() / block_length,
        Attention::BlockCausal(_) => {
            region.end.div_ceil(block_length) - region.start / block_length
        }
    };
    let options = Options {
        block_length,
        steps: blocks * (1 + random.below(6)),
        temperature: [0.0, 1.0][random.below(2)],
        seed: random.next(),
        ..Options::one_block(1)
    };
    Case { model, given, added, options, region: (blocks, region.len()) }
}

/// What a session must refuse: the rule that a user is told, not what the parts say of themselves.
fn refusal(
    attention: Attention,
    parts: &Parts<'_>,
    case: &Case,
) -> Option<(&'static str, SessionError)> {
    let (policy, plan, end) = (parts.policy.name(), parts.cache.name(), parts.eos.name());
    let block_plan = ["block", "sub-block"].contains(&plan);
    if block_plan && attention == Attention::Bidirectional {
        return Some(("finished blocks see what comes later", SessionError::Cache { plan }));
    }
    let clash = |why, policy, need| Some((why, SessionError::Clash { policy, plan, need }));
    let needs = parts.policy.needs();
    let windowed = ["suffix-window", "dpad"].contains(&plan);
    let ahead = ["scores of the whole answer", "scores of the masks behind the block"];
    for need in ahead.into_iter().filter(|_| windowed) {
        if needs.names().any(|name| name == need) {
            return clash("what it looks at is hidden", policy, need);
        }
    }
    if needs.include(Needs::REVISIONS) && ["free", "free-repaired"].contains(&plan) {
        return clash("what is frozen stays", policy, "taking tokens back");
    }
    if needs.include(Needs::RESIZING) && !["none", "lavida"].contains(&plan) {
        return clash("slots would move", policy, "a canvas that grows or shrinks");
    }
    if parts.eos.truncates() && block_plan {
        return clash("a window has no end", end, "a canvas that ends early");
    }
    // A schedule may make blocks of its own.
    let (blocks, length) = case.region;
    match (attention, parts.schedule.block_length(0, blocks, length)) {
        (Attention::BlockCausal(attention), Some(block)) => {
            let attention = attention as usize;
            let why = "blocks of different lengths";
            Some((why, SessionError::AttentionBlock { block, attention }))
        }
        _ => None,
    }
}

/// All combinations on both kinds of attention. A part serves many texts: nothing of one may show in the
/// next.
#[test]
#[cfg_attr(miri, ignore = "too slow")]
fn every_combination_completes_its_canvas_or_is_refused() {
    let mut random = Random(60);
    let (schedules, ends) = (schedules(), ends());
    let (mut runs, mut refused) = (0, BTreeSet::new());
    for attention in [Attention::Bidirectional, Attention::BlockCausal(OWN as u32)] {
        let mut policies = policies(&mut random);
        let mut plans = plans(&mut random);
        for (policy_type, policy) in &mut policies {
            for (plan_type, plan) in &mut plans {
                for ((_, schedule), (_, end)) in
                    schedules.iter().flat_map(|s| ends.iter().map(move |e| (s, e)))
                {
                    let case = case(&mut random, attention);
                    let mut once = || {
                        let (policy, cache) = (&mut **policy, &mut **plan);
                        let parts = Parts { policy, schedule: &**schedule, eos: &**end, cache };
                        let refusal = refusal(attention, &parts, &case);
                        (
                            refusal,
                            decode(&case.model, parts, (&case.given, case.added), case.options),
                        )
                    };
                    let what =
                        format!("{policy_type} {plan_type} {} {}", schedule.name(), end.name());
                    let _trying = Trying(what.clone());
                    let (refusal, first) = once();
                    assert_eq!(first, once().1, "{what}");
                    match (refusal, first) {
                        (None, first) => {
                            first.unwrap_or_else(|error| panic!("{error}: {what}"));
                            runs += 1;
                        }
                        (Some((why, expected)), first) => {
                            let error = first.map(|_| ()).expect_err(&what);
                            assert_eq!(error, expected, "{what}");
                            names_both_sides(&error);
                            refused.insert(why);
                        }
                    }
                }
            }
        }
    }
    assert!(runs > 40_000, "{runs}");
    assert_eq!(refused.len(), 6, "{refused:?}");
}

/// The message tells which two parts do not go together.
fn names_both_sides(error: &SessionError) {
    let message = error.to_string();
    let sides = match error {
        SessionError::Clash { policy, plan, need } => vec![*policy, *plan, *need],
        SessionError::Cache { plan } => vec![*plan, "block-causal"],
        SessionError::AttentionBlock { block, attention } => {
            assert!(message.contains(&attention.to_string()), "{message}");
            assert!(message.contains(&block.to_string()), "{message}");
            vec![]
        }
        other => panic!("{other}"),
    };
    assert!(sides.iter().all(|side| message.contains(side)), "{message}");
}

/// A part that has served another text decodes as a new one does.
#[test]
#[cfg_attr(miri, ignore = "too slow")]
fn canvases_do_not_touch_each_other() {
    let mut random = Random(61);
    let count = (policies(&mut random).len(), plans(&mut random).len());
    for (policy, plan) in (0..count.0).flat_map(|p| (0..count.1).map(move |c| (p, c))) {
        let _trying = Trying(format!("policy {policy} and plan {plan}"));
        let state = random.clone();
        let made = || {
            let random = &mut state.clone();
            (policies(random).swap_remove(policy).1, plans(random).swap_remove(plan).1)
        };
        let texts = |(mut policy, mut plan): (Box<dyn CommitPolicy>, Box<dyn CachePlan>), first| {
            let (schedule, eos) = (&demask::decode::Even, &demask::decode::StopAtEos);
            let mut text = |case: &Case| -> Result<Outcome, SessionError> {
                let parts = Parts { policy: &mut *policy, schedule, eos, cache: &mut *plan };
                decode(&case.model, parts, (&case.given, case.added), case.options)
            };
            let random = &mut state.clone();
            let cases = [0; 2].map(|_| case(random, Attention::BlockCausal(OWN as u32)));
            if first {
                let _ = text(&cases[0]);
            }
            text(&cases[1])
        };
        assert_eq!(texts(made(), true), texts(made(), false), "{policy} {plan}");
        random.next();
    }
}

/// The types that a module exports, from its source.
fn exported(source: &str) -> Vec<&str> {
    let source = source.split("macro_rules!").next().unwrap();
    let lists = source.split("pub use ").skip(1).filter_map(|rest| rest.split(';').next());
    let names = lists.flat_map(|list| list.split_once("::").unwrap().1.split(','));
    names.map(|name| name.trim_matches(|c: char| !c.is_alphanumeric())).collect()
}

#[test]
fn all_that_is_exported_is_tried() {
    let mut random = Random(1);
    let tried = |names: &[&str], exported: &[&str], helpers: &[&str]| {
        assert!(exported.len() > 3);
        for name in exported {
            let is_it =
                |whole: &&str| whole.split('<').next().unwrap().ends_with(&format!("::{name}"));
            let found = names.iter().any(is_it);
            assert!(found != helpers.contains(name), "{name} is not tried");
        }
    };
    let names: Vec<&str> = policies(&mut random).iter().map(|(name, _)| *name).collect();
    let source = include_str!("../../src/decode/policies/mod.rs");
    tried(&names, &exported(source), &["CREDITS", "CreditPair", "EndOfText", "Rank", "Phases"]);
    let names: Vec<&str> = plans(&mut random)
        .iter()
        .flat_map(|(name, _)| name.split(['<', '>', ',']).map(str::trim))
        .collect();
    tried(&names, &exported(include_str!("../../src/cache/plans/mod.rs")), &[]);
    let names: Vec<&str> = schedules().iter().map(|(name, _)| *name).collect();
    tried(&names, &exported(include_str!("../../src/decode/schedules/mod.rs")), &[]);
}
