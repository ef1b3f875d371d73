//! Dream's four algorithms step for step against its rules as they are told (arXiv 2508.15487): one
//! canvas, its time grid, a forward pass in every step of the reference that commits something.

use crate::reference::rules::{Choose, dream_grid, dream_share};
use crate::reference::{Candidate, Case, Situation, cases, compare};
use demask::Options;
use demask::decode::{Commit, Dream, DreamGrid, Even, FillAll, Origin, Rank};

/// As Dream decodes, in one block; in some cases in several.
fn as_dream<'a>(case: Case<'a>, one_block: bool) -> Case<'a> {
    let Case { model, prompt, length, options, .. } = case;
    let block_length = if one_block { length } else { options.block_length };
    Case::new(model, prompt, length, Options { block_length, ..options })
}

fn rank_of(rank: Rank) -> fn(&Candidate) -> f32 {
    match rank {
        Rank::Confidence => |c| c.confidence,
        Rank::Margin => |c| c.margin,
        Rank::Entropy => |c| -c.entropy,
    }
}

const RANKS: [Rank; 3] = [Rank::Confidence, Rank::Margin, Rank::Entropy];

#[test]
fn highest_ranks_step_for_step() {
    for (seed, rank) in (10..).zip(RANKS) {
        let (passes, close) = cases(seed, 700, |random, case| {
            let case = as_dream(case, random.below(4) > 0);
            let by = rank_of(rank);
            let mut rule = Choose(|at: &Situation<'_>| {
                let ranked = at.ranked(by);
                ranked.iter().take(dream_grid(&at.place)).map(|c| c.commit_by(by(c))).collect()
            });
            compare(&case, &mut rule, (Dream::new(rank), DreamGrid::default(), FillAll))
        });
        assert!(passes > 3000 && close < 50, "{passes} {close}");
    }
}

/// `alg_temp`: draws without replacement, one after the other, each from the softmax of those that are left,
/// by the largest sum of weight and noise.
#[test]
fn drawn_positions_step_for_step() {
    let mut close_keys = 0;
    for (seed, rank) in (20..).zip(RANKS) {
        let (passes, _) = cases(seed, 700, |random, case| {
            let case = as_dream(case, random.below(4) > 0);
            let temperature = [0.05f32, 0.3, 2.0][random.below(3)];
            let by = rank_of(rank);
            let mut rule = Choose(|at: &Situation<'_>| {
                let key = |c: &Candidate| {
                    f64::from(by(c)) / f64::from(temperature) + at.place.gumbel(c.position)
                };
                let mut left = at.candidates.clone();
                let mut chosen = Vec::new();
                for _ in 0..dream_grid(&at.place).min(left.len()) {
                    left.sort_by(|a, b| key(b).total_cmp(&key(a)));
                    let next = left.remove(0);
                    chosen.push(next.commit_by(key(&next) as f32));
                }
                let close = match (chosen.last(), left.iter().map(key).reduce(f64::max)) {
                    (Some(last), Some(next)) => f64::from(last.confidence) - next < 1e-4,
                    _ => false,
                };
                if close {
                    close_keys += 1;
                    return at.observed.to_vec();
                }
                chosen
            });
            let policy = Dream::new(rank).with_temperature(temperature);
            compare(&case, &mut rule, (policy, DreamGrid::default(), FillAll))
        });
        assert!(passes > 3000);
    }
    assert!(close_keys < 20, "{close_keys}");
}

#[test]
fn origin_step_for_step() {
    let (passes, _) = cases(30, 2000, |random, case| {
        let case = as_dream(case, random.below(4) > 0);
        let mut rule = Choose(|at: &Situation<'_>| {
            let drawn = |c: &&Candidate| {
                at.place.uniform(c.position, at.place.step) < dream_share(&at.place)
            };
            at.candidates.iter().filter(drawn).map(Candidate::commit).collect::<Vec<Commit>>()
        });
        compare(&case, &mut rule, (Origin::default(), Even, FillAll))
    });
    assert!(passes > 8000, "{passes}");
}
