//! Rules that commit as many as are sure, step for step: Fast-dLLM's factor, the entropy bound, LocalLeap,
//! SDAR and LLaDA2.0, dInfer, SlowFast (papers at each type).

use crate::reference::rules::{
    self, Choose, dynamic, entropy_bound, even, factor, hierarchical, local_leap, near_best,
};
use crate::reference::{Candidate, Situation, cases, compare};
use demask::decode::{
    Dynamic, EntropyBound, Even, Factor, FillAll, Hierarchical, LocalLeap, NearBest, Rank, SlowFast,
};

#[test]
fn factor_step_for_step() {
    let (passes, _) = cases(40, 1500, |random, case| {
        let f = [0.0, 0.3, 1.0, 1.5, 3.0][random.below(5)];
        let mut rule = Choose(|at: &Situation<'_>| factor(at, f));
        compare(&case, &mut rule, (Factor(f), Even, FillAll))
    });
    assert!(passes > 6000, "{passes}");
}

#[test]
fn entropy_bound_step_for_step() {
    type By = fn(&Candidate) -> f32;
    let ranks: [(Rank, By); 3] = [
        (Rank::Entropy, |c| -c.entropy),
        (Rank::Confidence, |c| c.confidence),
        (Rank::Margin, |c| c.margin),
    ];
    let (passes, _) = cases(41, 2000, |random, case| {
        let nats = [0.001, 0.1, 0.35, 2.0][random.below(4)];
        let (rank, by) = ranks[random.below(3)];
        let mut rule = Choose(|at: &Situation<'_>| entropy_bound(at, f64::from(nats), by));
        compare(&case, &mut rule, (EntropyBound::new(nats).by(rank), Even, FillAll))
    });
    assert!(passes > 8000, "{passes}");
}

#[test]
fn local_leap_step_for_step() {
    let (passes, _) = cases(42, 2000, |random, case| {
        let anchor = [0.5, 0.7, 0.9][random.below(3)];
        let relaxed = anchor * [0.3, 0.8, 1.0][random.below(3)];
        let window = [0, 1, 2, 4, 99][random.below(5)];
        let mut rule = Choose(|at: &Situation<'_>| local_leap(at, anchor, relaxed, window));
        compare(&case, &mut rule, (LocalLeap::new(anchor, relaxed, window), Even, FillAll))
    });
    assert!(passes > 8000, "{passes}");
}

#[test]
fn sdar_and_llada2_step_for_step() {
    let (passes, _) = cases(43, 2000, |random, case| {
        let threshold = [0.3, 0.6, 0.9, 1.0][random.below(4)];
        let n = random.below(4);
        let mut sdar = Choose(|at: &Situation<'_>| dynamic(at, threshold, even(&at.place).max(1)));
        let mut llada2 = Choose(|at: &Situation<'_>| dynamic(at, threshold, n));
        match n {
            0 => compare(&case, &mut sdar, (Dynamic::new(threshold), Even, FillAll)),
            _ => compare(&case, &mut llada2, (Dynamic::with_least(threshold, n), Even, FillAll)),
        }
    });
    assert!(passes > 8000, "{passes}");
}

#[test]
fn dinfer_step_for_step() {
    let (passes, _) = cases(44, 2000, |random, case| {
        let high = [0.5, 0.7, 0.92][random.below(3)];
        let low = high * [0.2, 0.6, 1.0][random.below(3)];
        let mut near = Choose(|at: &Situation<'_>| near_best(at, high));
        let mut runs = Choose(|at: &Situation<'_>| hierarchical(at, low, high));
        match random.below(2) {
            0 => compare(&case, &mut near, (NearBest(high), Even, FillAll)),
            _ => compare(&case, &mut runs, (Hierarchical::new(low, high), Even, FillAll)),
        }
    });
    assert!(passes > 7000, "{passes}");
}

#[test]
fn slow_fast_step_for_step() {
    let (passes, _) = cases(45, 2500, |_, case| {
        let mut rule = rules::SlowFast::default();
        compare(&case, &mut rule, (SlowFast::default(), Even, FillAll))
    });
    assert!(passes > 10_000, "{passes}");
}
