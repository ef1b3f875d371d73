//! Sessions beside the reference, on random cases.

use super::{Case, Reference, Rule};
use crate::common::Random;
use crate::fake_model::{EOS, MASK, Table, with_memory};
use demask::cache::NoCache;
use demask::decode::{Commit, CommitPolicy, EosPolicy, Schedule};
use demask::{Method, Options, Session, StepEvent};

/// Runs a session and the reference side by side; passes, and draws too close to call.
pub fn compare<P: CommitPolicy, S: Schedule, X: EosPolicy>(
    case: &Case<'_>,
    rule: &mut dyn Rule,
    (policy, schedule, eos): (P, S, X),
) -> (u32, usize) {
    let end = case.prompt.len() + case.length;
    let mut canvas = case.prompt.to_vec();
    canvas.resize(end, MASK);
    let mut reference = Reference {
        case,
        canvas,
        region: case.prompt.len()..end,
        forward: 0,
        total: 0,
        block: None,
        close_draws: 0,
    };
    with_memory(case.model.max_canvas, |memory| {
        let method = Method { policy, schedule, eos, cache: NoCache };
        let mut session = Session::new(case.model.clone(), memory, method);
        session.begin(case.prompt, case.length, case.options).unwrap();
        assert_eq!(session.canvas(), reference.canvas);
        let mut check = |event: &StepEvent<'_>| {
            assert_eq!(event.forward, reference.forward);
            let (block, commits) = reference.pass(rule, event).expect("one pass too many");
            assert_eq!(event.block, block);
            assert!(event.commits.is_sorted_by(|a, b| {
                a.confidence > b.confidence
                    || (a.confidence == b.confidence && a.position < b.position)
            }));
            let mut made = event.commits.to_vec();
            made.sort_by_key(|commit| commit.position);
            let pairs = |all: &[Commit]| -> Vec<(u32, u32)> {
                all.iter().map(|commit| (commit.position, commit.token)).collect()
            };
            assert_eq!(pairs(&made), pairs(&commits), "pass {}", event.forward);
            for (made, expected) in made.iter().zip(&commits) {
                let tolerance = 1e-4 * expected.confidence.abs().max(1.0);
                let difference = (made.confidence - expected.confidence).abs();
                assert!(difference <= tolerance, "{made:?} {expected:?}");
            }
            assert_eq!(event.canvas, reference.canvas);
            assert_eq!(event.masks, reference.masks(0..end).len());
        };
        session.run(&mut check).unwrap();
        assert_eq!(session.canvas(), reference.canvas);
        assert!(reference.find_block().is_none(), "stopped too early");
        assert!(!session.canvas().contains(&MASK));
        assert_eq!(session.forwards(), reference.forward);
        (session.forwards(), reference.close_draws)
    })
}

/// A random prompt, with masks in it if asked for, few enough to stay below the step cap.
pub fn prompt(random: &mut Random, masks: bool) -> Vec<u32> {
    let length = random.below(12);
    let mut prompt: Vec<u32> = (0..length).map(|_| 2 + random.below(11) as u32).collect();
    if masks {
        for _ in 0..3.min(length) {
            prompt[random.below(length)] = MASK;
        }
    }
    if random.below(4) == 0 && length > 0 {
        prompt[random.below(length)] = EOS;
    }
    prompt
}

/// Random lengths, blocks and steps that are legal.
pub fn options(random: &mut Random) -> (usize, Options) {
    let (block_length, blocks) = (1 + random.below(9), 1 + random.below(4));
    let steps = blocks * (1 + random.below(block_length + 3));
    let temperature = [0.0, 0.0, 0.3, 1.0, 2.5][random.below(5)];
    let seed = random.next();
    let options = Options { block_length, steps, temperature, seed, ..Options::one_block(1) };
    (block_length * blocks, options)
}

/// A random table, its rows repeating in some of them.
pub fn table(random: &mut Random) -> Table {
    let mut model = Table::of_all_rows(random.next());
    model.rows = [0, 2, 7][random.below(3)];
    model.scale = [0.5, 3.0, 6.0, 12.0][random.below(4)];
    model
}

/// Many random cases, each decoded by what `one` makes of it; passes compared, and draws too close to call.
pub fn cases(
    seed: u64,
    number: usize,
    mut one: impl FnMut(&mut Random, Case<'_>) -> (u32, usize),
) -> (u32, usize) {
    let mut random = Random(seed);
    let (mut passes, mut close) = (0, 0);
    for case in 0..number {
        let model = table(&mut random);
        let (length, options) = options(&mut random);
        let prompt = prompt(&mut random, case % 3 == 0);
        let (more, draws) = one(&mut random, Case::new(&model, &prompt, length, options));
        passes += more;
        close += draws;
    }
    println!("{passes} forward passes compared, {close} draws too close to call");
    (passes, close)
}
