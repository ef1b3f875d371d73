//! What changes when a text ends, step for step: Prophet, EOSER with ASS, stable prefixes, a canvas that ends
//! with the text (papers at each type).

use crate::common::Random;
use crate::fake_model::{EOS, MASK, Table, with_memory};
use crate::reference::rules::{self, Choose, even, threshold, top};
use crate::reference::{Case, Place, Situation, cases, compare, prompt, table};
use demask::cache::NoCache;
use demask::decode::{
    Ascending, CommitPolicy, CutAtEos, EosRamp, Even, FillAll, Prophet, StablePrefix, StopAtEos,
    SuppressLogit, SuppressRank, Threshold, TopQ, TruncateAtEos,
};
use demask::{Method, Options, Session};

#[test]
fn prophet_step_for_step() {
    let (mut fired, mut not) = (0, 0);
    let (passes, _) = cases(50, 2500, |random, case| {
        let gaps = [[7.5, 5.0, 2.5], [4.0, 3.0, 1.0], [9.0, 2.0, 0.2]][random.below(3)];
        let start = random.below(case.length);
        let part = start..start + 1 + random.below(9);
        let answer = [None, Some(part)][random.below(2)].clone();
        let counting = random.below(2) == 0;
        let inner = Choose(|at: &Situation<'_>| match counting {
            true => top(at, even(&at.place)),
            false => threshold(at, 0.8),
        });
        let planned = case.options.steps;
        let mut rule = rules::Prophet { inner, gaps, planned, answer: answer.clone(), fired: 0 };
        let (mut top_q, mut sure) = (TopQ, Threshold(0.8));
        let inner: &mut dyn CommitPolicy = if counting { &mut top_q } else { &mut sure };
        let plain = Prophet::new(inner).with_gaps(gaps);
        let policy = match answer {
            Some(answer) => plain.over(answer),
            None => plain,
        };
        let result = compare(&case, &mut rule, (policy, Even, FillAll));
        fired += rule.fired;
        not += usize::from(rule.fired == 0);
        result
    });
    assert!(passes > 5000 && fired > 300 && not > 300, "{passes} {fired} {not}");
}

/// ASS: step `s` of `floor(log2 L)` takes 2^s, the last one the rest.
fn ascending(at: &Place) -> usize {
    let steps = (at.masks as f64).log2().floor() as usize;
    if at.step + 1 >= steps { at.left } else { 2usize.pow(at.step as u32) }
}

/// EOSER with ASS.
fn ascending_gamma(at: &Place) -> f32 {
    let steps = (at.masks as f64).log2().floor() as i32;
    let i = (at.total as i32).min((steps - 1).max(0));
    (0.01 + 0.99 * (2f64.powi(i + 1) - 1.0) / 2f64.powi(steps)) as f32
}

#[test]
fn eoser_with_ascending_steps_step_for_step() {
    let (passes, _) = cases(51, 1500, |random, case| {
        let Case { model, options, .. } = case;
        let prompt = prompt(random, false);
        let length = 1 + random.below(50);
        let options = Options { block_length: length, steps: 1, ..options };
        let mut case = Case::new(model, &prompt, length, options);
        case.weight = ascending_gamma;
        let mut rule = Choose(|at: &Situation<'_>| top(at, ascending(&at.place)));
        compare(&case, &mut rule, (TopQ, Ascending, EosRamp::ascending()))
    });
    assert!(passes > 5000, "{passes}");
}

/// The lengths of blocks as the release deals them out, from the end.
fn ascending_sizes(length: usize, blocks: usize) -> Vec<usize> {
    let steps = length.ilog2();
    let mut sizes = vec![2usize.pow(steps - 1) + 1 + (length - 2usize.pow(steps))];
    for k in (0..steps - 1).rev().take(blocks - 2) {
        sizes.insert(0, 2usize.pow(k));
    }
    sizes.insert(0, length - sizes.iter().sum::<usize>());
    sizes
}

/// Blocks of different lengths: the small steps in the first one, one pass for each other.
#[test]
fn ascending_blocks_step_for_step() {
    assert_eq!(ascending_sizes(128, 4), [15, 16, 32, 65]);
    let (passes, _) = cases(52, 1500, |random, case| {
        let Case { model, options, .. } = case;
        let prompt = prompt(random, false);
        let length = 8 + random.below(44);
        // Any block length from which so many blocks follow.
        let blocks = 2 + random.below(length.ilog2() as usize - 1);
        let Some(block_length) = (1..length).find(|size| length.div_ceil(*size) == blocks) else {
            return (0, 0);
        };
        let options = Options { block_length, steps: 1, ..options };
        let mut case = Case::new(model, &prompt, length, options);
        case.sizes = ascending_sizes(length, blocks);
        let mut rule = Choose(|at: &Situation<'_>| {
            let first = at.place.index == 0 && at.place.left > 2usize.pow(at.place.step as u32);
            top(at, if first { 2usize.pow(at.place.step as u32) } else { at.place.left })
        });
        compare(&case, &mut rule, (TopQ, Ascending, FillAll))
    });
    assert!(passes > 5000, "{passes}");
}

#[test]
fn linear_ramp_and_suppressed_rank_step_for_step() {
    let (passes, _) = cases(53, 1500, |random, mut case| {
        case.stop_at_eos = random.below(2) == 0;
        let ramp = random.below(2) == 0;
        case.weight = match ramp {
            true => |at| match at.steps {
                1 => 1.0,
                steps => {
                    let last = steps as f64 - 1.0;
                    0.4f32 + (1.0 - 0.4f32) * ((at.step as f64).min(last) / last) as f32
                }
            },
            false => |_| 0.0,
        };
        let mut rule = Choose(|at: &Situation<'_>| top(at, even(&at.place)));
        match (ramp, case.stop_at_eos) {
            (true, true) => {
                compare(&case, &mut rule, (TopQ, Even, EosRamp::linear().then(StopAtEos)))
            }
            (true, false) => compare(&case, &mut rule, (TopQ, Even, EosRamp::linear())),
            (false, true) => compare(&case, &mut rule, (TopQ, Even, SuppressRank(StopAtEos))),
            (false, false) => compare(&case, &mut rule, (TopQ, Even, SuppressRank(FillAll))),
        }
    });
    assert!(passes > 6000, "{passes}");
}

#[test]
fn stable_prefix_step_for_step() {
    let (passes, _) = cases(54, 2000, |random, case| {
        let least = [0.2, 0.5, 0.9][random.below(3)];
        let remembers = random.below(2) == 0;
        let mut rule = rules::StablePrefix::new(least, remembers);
        let mut last = vec![7; case.model.max_canvas];
        let inner = Threshold(least);
        let policy = match remembers {
            true => StablePrefix::with_memory(inner, &mut last),
            false => StablePrefix::new(inner),
        };
        compare(&case, &mut rule, (policy, Even, FillAll))
    });
    assert!(passes > 8000, "{passes}");
}

/// Decodes with both ways of ending the canvas; the generated part.
fn generated(model: &Table, prompt: &[u32], length: usize, cut: bool) -> Vec<u32> {
    with_memory(model.max_canvas, |memory| {
        let options = Options::one_block(length);
        if cut {
            let policy = CutAtEos(Threshold(0.5));
            let method = Method { policy, schedule: Even, eos: FillAll, cache: NoCache };
            let mut session = Session::new(model.clone(), memory, method);
            session.begin(prompt, length, options).unwrap();
            session.run(&mut ()).unwrap();
            return session.generated().to_vec();
        }
        let policy = Threshold(0.5);
        let method = Method { policy, schedule: Even, eos: TruncateAtEos, cache: NoCache };
        let mut session = Session::new(model.clone(), memory, method);
        session.begin(prompt, length, options).unwrap();
        session.run(&mut ()).unwrap();
        session.generated().to_vec()
    })
}

#[test]
fn the_canvas_ends_with_the_text() {
    let mut random = Random(55);
    let mut shorter = 0;
    for _ in 0..500 {
        let model = table(&mut random);
        let prompt: Vec<u32> = (0..random.below(6)).map(|_| 2 + random.below(11) as u32).collect();
        let length = 1 + random.below(40);
        for cut in [true, false] {
            let text = generated(&model, &prompt, length, cut);
            assert!(!text.contains(&MASK));
            let end = text.iter().position(|id| *id == EOS);
            assert!(end.is_none_or(|end| end + 1 == text.len()), "{text:?}");
            assert!(end.is_some() || text.len() == length);
            shorter += usize::from(text.len() < length);
        }
    }
    assert!(shorter > 300, "{shorter}");
}

#[test]
fn a_suppressed_logit_is_never_proposed() {
    let mut random = Random(56);
    for _ in 0..200 {
        let model = table(&mut random);
        let length = 1 + random.below(40);
        with_memory(model.max_canvas, |memory| {
            let method = Method {
                policy: Threshold(0.5),
                schedule: Even,
                eos: SuppressLogit,
                cache: NoCache,
            };
            let mut session = Session::new(model.clone(), memory, method);
            session.begin(&[5], length, Options::one_block(length)).unwrap();
            session.run(&mut ()).unwrap();
            assert!(!session.canvas().contains(&EOS) && !session.canvas().contains(&MASK));
        });
    }
}
