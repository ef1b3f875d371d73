//! Sessions, step by step, against a slow reimplementation of the decoding rules: LLaDA's orders in
//! semi-autoregressive blocks with the even schedule, and Fast-dLLM's threshold (arXiv 2502.09992,
//! 2505.22618).

use crate::common::Random;
use crate::fake_model::MASK;
use crate::reference::rules::{Choose, commits, even, threshold, top};
use crate::reference::{Case, Situation, cases, compare, options, prompt, table};
use demask::decode::{Even, FillAll, RandomOrder, Sequential, StopAtEos, Threshold, TopQ};

#[test]
fn low_confidence_remasking_step_for_step() {
    let mut random = Random(1);
    let (mut forwards, mut close) = (0, 0);
    for case in 0..3000 {
        let mut model = table(&mut random);
        model.vocab = [3, 13, 70][random.below(3)];
        let (length, options) = options(&mut random);
        let with_masks = case % 3 == 0;
        let prompt = prompt(&mut random, with_masks).iter().map(|id| id % model.vocab).collect();
        let prompt: Vec<u32> =
            if with_masks { prompt } else { replace(prompt, MASK, model.vocab - 1) };
        let mut case = Case::new(&model, &prompt, length, options);
        let mut rule = Choose(|at: &Situation<'_>| top(at, even(&at.place)));
        let (steps, draws) = match random.below(2) {
            0 => compare(&case, &mut rule, (TopQ, Even, FillAll)),
            _ => {
                case.stop_at_eos = true;
                compare(&case, &mut rule, (TopQ, Even, StopAtEos))
            }
        };
        forwards += steps;
        close += draws;
    }
    println!("{forwards} forward passes compared, {close} draws too close to call");
    assert!(forwards > 20_000 && close < 100);
}

fn replace(mut tokens: Vec<u32>, from: u32, to: u32) -> Vec<u32> {
    tokens.iter_mut().filter(|id| **id == from).for_each(|id| *id = to);
    tokens
}

#[test]
fn threshold_step_for_step() {
    let (passes, close) = cases(2, 2000, |random, mut case| {
        let least = [0.0, 0.3, 0.6, 0.9, 2.0][random.below(5)];
        let mut rule = Choose(|at: &Situation<'_>| threshold(at, least));
        case.stop_at_eos = random.below(2) == 0;
        match case.stop_at_eos {
            false => compare(&case, &mut rule, (Threshold(least), Even, FillAll)),
            true => compare(&case, &mut rule, (Threshold(least), Even, StopAtEos)),
        }
    });
    assert!(passes > 10_000 && close < 100);
}

#[test]
fn random_order_step_for_step() {
    let (passes, _) = cases(3, 1000, |_, case| {
        let mut rule = Choose(|at: &Situation<'_>| {
            let mut all = at.candidates.clone();
            let rank = |position| at.place.uniform(position, 0);
            all.sort_by(|a, b| rank(b.position).total_cmp(&rank(a.position)));
            let chosen = all.iter().take(even(&at.place));
            chosen.map(|c| c.commit_by(rank(c.position) as f32)).collect()
        });
        compare(&case, &mut rule, (RandomOrder, Even, FillAll))
    });
    assert!(passes > 5000);
}

#[test]
fn left_to_right_step_for_step() {
    let (passes, _) = cases(4, 500, |_, case| {
        let mut rule = Choose(|at: &Situation<'_>| {
            let leftmost = commits(at.candidates.iter().take(even(&at.place)));
            leftmost
                .into_iter()
                .map(|commit| demask::decode::Commit { confidence: 1.0, ..commit })
                .collect()
        });
        compare(&case, &mut rule, (Sequential, Even, FillAll))
    });
    assert!(passes > 2500);
}
