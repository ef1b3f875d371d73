//! Scores of one row: temperature, top-p, top-k, biases, tokens left out, divergences, against plain
//! definitions in double precision.

#![cfg(feature = "decoders")]

use demask::decode::{Filter, LogitBias, LogitRow, Sampling, Score};
use proptest::prelude::*;
use std::collections::HashSet;

const MASK: u32 = 1;

fn row(logits: &[f32]) -> LogitRow<'_> {
    LogitRow::new(6, logits, MASK)
}

fn sampling(temperature: f32, step: u32, filter: Filter) -> Sampling {
    Sampling { temperature, seed: 77, step, filter, ..Sampling::GREEDY }
}

/// Probabilities of a softmax, most probable first, with the mask left out: `(id, probability)`.
fn softmax(logits: impl Iterator<Item = (u32, f64)>) -> Vec<(u32, f64)> {
    let mut kept: Vec<(u32, f64)> = logits.filter(|(id, _)| *id != MASK).collect();
    kept.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let top = kept[0].1;
    let sum: f64 = kept.iter().map(|(_, l)| (l - top).exp()).sum();
    kept.iter().map(|(id, l)| (*id, (l - top).exp() / sum)).collect()
}

fn widened(logits: &[f32]) -> impl Iterator<Item = (u32, f64)> {
    (0..).zip(logits.iter().map(|l| f64::from(*l)))
}

/// Dream's order: temperature, top-p, top-k. `None` if rounding could decide.
fn remaining(logits: &[f32], temperature: f64, filter: &Filter) -> Option<HashSet<u32>> {
    let all = softmax(widened(logits).map(|(id, l)| (id, l / temperature)));
    let (mut before, mut kept) = (0.0, HashSet::new());
    for (rank, (id, p)) in all.iter().enumerate() {
        let limit = f64::from(filter.top_p);
        if filter.top_p < 1.0 && rank > 0 {
            if (before - limit).abs() < 1e-5 {
                return None;
            }
            if before > limit {
                break;
            }
        }
        if filter.top_k > 0 && rank >= filter.top_k as usize {
            break;
        }
        before += p;
        kept.insert(*id);
    }
    Some(kept)
}

fn logits() -> impl Strategy<Value = Vec<f32>> {
    (2usize..300).prop_flat_map(|n| prop::collection::vec(-9.0f32..9.0, n))
}

proptest! {
    #[test]
    fn scores_are_of_what_the_filter_leaves(
        logits in logits(),
        temperature in prop::sample::select(vec![0.2f32, 0.7, 1.0, 2.0]),
        top_k in prop::sample::select(vec![0u32, 1, 2, 10, 64]),
        top_p in prop::sample::select(vec![1.0f32, 0.95, 0.5, 0.0]),
        tempered: bool,
        step in 0u32..1000,
    ) {
        let filter = Filter { tempered, top_k, top_p };
        let wide = f64::from(temperature);
        let Some(kept) = remaining(&logits, wide, &filter) else { return Ok(()) };
        let cuts = top_k > 0 || top_p < 1.0;
        prop_assume!(!cuts || kept.len() <= Filter::MOST);
        let current = (logits.len() - 1) as u32;
        let score = LogitRow { current, ..row(&logits) }.score(&sampling(temperature, step, filter)).unwrap();
        let divisor = if tempered { wide } else { 1.0 };
        let values = widened(&logits).map(|(id, l)| (id, l / divisor));
        let values: Vec<(u32, f64)> = values.filter(|(id, _)| kept.contains(id)).collect();
        let left = softmax(values.iter().copied());
        let value_of = |id: u32| values.iter().find(|value| value.0 == id).map(|value| value.1);
        let near = |a: f32, b: f64| (f64::from(a) - b).abs() < 2e-4 * b.abs().max(1.0);
        let top = value_of(left[0].0).unwrap();
        prop_assert!(near(score.top_logit, top));
        let sum: f64 = values.iter().filter(|(id, _)| *id != MASK).map(|(_, l)| (l - top).exp()).sum();
        prop_assert!(near(score.log_sum_exp, top + sum.ln()));
        let entropy: f64 = left.iter().map(|(_, p)| if *p > 0.0 { -p * p.ln() } else { 0.0 }).sum();
        prop_assert!(near(score.entropy, entropy));
        match left.get(1) {
            Some((id, _)) => prop_assert!(near(score.runner_up_logit, value_of(*id).unwrap())),
            None => prop_assert_eq!(score.runner_up_logit, f32::MIN),
        }
        prop_assert!(near(score.proposal_logit, value_of(score.proposal).expect("among what is left")));
        match value_of(current).filter(|_| current != MASK) {
            Some(value) => prop_assert!(near(score.current_logit, value)),
            None => prop_assert_eq!(score.current_logit, f32::MIN),
        }
        // The noise of an id does not depend on the filter.
        let free = row(&logits).score(&sampling(temperature, step, Filter::NONE)).unwrap();
        if kept.contains(&free.proposal) {
            prop_assert_eq!(score.proposal, free.proposal);
        }
    }

    #[test]
    fn a_tempered_row_is_the_row_of_the_quotients(
        logits in logits(), temperature in 0.1f32..4.0, step in 0u32..1000,
    ) {
        let tempered = Filter { tempered: true, ..Filter::NONE };
        let score = row(&logits).score(&sampling(temperature, step, tempered)).unwrap();
        let quotients: Vec<f32> = logits.iter().map(|l| l / temperature).collect();
        let expected = row(&quotients).score(&sampling(1.0, step, Filter::NONE)).unwrap();
        prop_assert_eq!(score, expected);
        let plain = row(&logits).score(&sampling(temperature, step, Filter::NONE)).unwrap();
        prop_assert_eq!(score.proposal, plain.proposal);
    }

    #[test]
    fn at_temperature_0_filters_do_not_matter(logits in logits(), top_k in 0u32..5) {
        let filter = Filter { tempered: true, top_k, top_p: 0.5 };
        prop_assert_eq!(
            row(&logits).score(&sampling(0.0, 0, filter)).unwrap(),
            row(&logits).score(&Sampling::GREEDY).unwrap()
        );
    }

    #[test]
    fn a_forbidden_token_takes_no_part(
        logits in logits(), id in 0u32..300, temperature in 0.0f32..2.0, step in 0u32..1000,
    ) {
        prop_assume!(logits.len() > 3);
        let id = id % logits.len() as u32;
        let forbidden = Some(id);
        let asked = Sampling { forbidden, ..sampling(temperature, step, Filter::NONE) };
        let score = row(&logits).score(&asked).unwrap();
        prop_assert!(score.proposal != id && score.top != id);
        let mut without = logits.clone();
        without[id as usize] = f32::NEG_INFINITY; // a missing id
        prop_assert_eq!(score, row(&without).score(&sampling(temperature, step, Filter::NONE)).unwrap());
    }

    #[test]
    fn a_bias_is_as_good_as_other_logits(
        logits in logits(),
        bias in prop::collection::vec((4u32..9, 0u32..300, -5.0f32..5.0), 0..12),
        step in 0u32..1000,
    ) {
        let mut all: Vec<LogitBias> =
            bias.into_iter().map(|(position, id, nats)| LogitBias { position, id, nats }).collect();
        all.sort_by_key(|bias| bias.position);
        let mut other = logits.clone();
        for bias in all.iter().filter(|bias| bias.position == 6) {
            if let Some(l) = other.get_mut(bias.id as usize) {
                *l += bias.nats;
            }
        }
        let asked = sampling(0.8, step, Filter { top_k: 20, ..Filter::NONE });
        let score = LogitRow { bias: &all, current: 3, ..row(&logits) }.score(&asked).unwrap();
        prop_assert_eq!(score, LogitRow { current: 3, ..row(&other) }.score(&asked).unwrap());
    }

    #[test]
    fn divergences_are_those_of_the_distributions(
        (now, then) in (2usize..300).prop_flat_map(|n| {
            let some = || prop::collection::vec(-9.0f32..9.0, n);
            (some(), some())
        }),
        shift in -20.0f32..20.0,
    ) {
        let (p, q) = (softmax(widened(&now)), softmax(widened(&then)));
        let of = |id: u32| q.iter().find(|other| other.0 == id).unwrap().1;
        let expected: f64 = p.iter().map(|(id, p)| p * (p / of(*id)).ln()).sum();
        let divergence = |now: &[f32], then: &[f32]| {
            LogitRow { previous: Some(then), ..row(now) }.score(&Sampling::GREEDY).unwrap().divergence
        };
        let got = divergence(&now, &then);
        prop_assert!((f64::from(got) - expected).abs() < 1e-4 * expected.max(1.0), "{} {}", got, expected);
        prop_assert_eq!(divergence(&now, &now), 0.0);
        let shifted: Vec<f32> = now.iter().map(|l| l + shift).collect();
        prop_assert!(divergence(&now, &shifted) < 1e-5, "the same distribution");
    }
}

#[test]
fn a_nucleus_is_cut_to_64_tokens() {
    // All equally probable: the lowest ids remain.
    let flat = [0.0; 200];
    let nucleus = Filter { top_p: 0.9, ..Filter::NONE };
    let many = Filter { top_k: 150, ..Filter::NONE };
    for filter in [nucleus, many] {
        let mut seen = HashSet::new();
        for step in 0..2000 {
            let score = row(&flat).score(&sampling(1.0, step, filter)).unwrap();
            assert!((score.entropy - 64f32.ln()).abs() < 1e-5);
            seen.insert(score.proposal);
        }
        let expected: HashSet<u32> = (0..65).filter(|id| *id != MASK).collect();
        assert_eq!(seen, expected);
    }
}

#[test]
fn draws_follow_what_is_left() {
    let logits = [1.0f32, 9.0, 0.5, 2.0, -1.0, 0.0];
    let filter = Filter { top_p: 0.9, top_k: 3, tempered: true };
    let mut counts = [0u32; 6];
    let (draws, temperature) = (20_000, 0.9f32);
    for step in 0..draws {
        let score = row(&logits).score(&sampling(temperature, step, filter)).unwrap();
        counts[score.proposal as usize] += 1;
        let wide = f64::from(temperature);
        let left = [3usize, 0, 2].map(|id| (f64::from(logits[id]) / wide).exp());
        let probability = (f64::from(logits[score.proposal as usize]) / wide).exp();
        let expected = probability / left.iter().sum::<f64>();
        assert!((f64::from(score.confidence()) - expected).abs() < 1e-5, "Dream's confidence");
    }
    let total: f64 =
        [3usize, 0, 2].iter().map(|id| f64::from(logits[*id] / temperature).exp()).sum();
    for (id, count) in counts.iter().enumerate() {
        let expected = match id {
            0 | 2 | 3 => f64::from(logits[id] / temperature).exp() / total,
            _ => 0.0,
        };
        assert!((f64::from(*count) / f64::from(draws) - expected).abs() < 0.015, "{counts:?}");
    }
}

#[test]
fn a_filter_that_makes_no_sense_leaves_the_best_token() {
    let logits = [1.0, 9.0, 0.5, 2.0];
    for top_p in [0.0, -3.0, f32::NAN, f32::NEG_INFINITY] {
        let filter = Filter { top_p, ..Filter::NONE };
        let score = row(&logits).score(&sampling(5.0, 0, filter)).unwrap();
        assert_eq!((score.proposal, score.confidence(), score.entropy), (3, 1.0, 0.0));
    }
    let everything = Filter { top_p: f32::INFINITY, ..Filter::NONE };
    let expected: Score = row(&logits).score(&sampling(5.0, 0, Filter::NONE)).unwrap();
    assert_eq!(row(&logits).score(&sampling(5.0, 0, everything)).unwrap(), expected);
    for bad in [f32::NAN, f32::INFINITY] {
        let filter = Filter { top_k: 1, ..Filter::NONE };
        assert!(row(&[0.0, 0.0, bad, 1.0]).score(&sampling(1.0, 0, filter)).is_err());
        let bias = [LogitBias { position: 6, id: 0, nats: bad }];
        assert!(LogitRow { bias: &bias, ..row(&logits) }.score(&Sampling::GREEDY).is_err());
    }
}
